"""Hierarchical fusion: two modalities first, then the third, and so on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from models.fusion.base import Fusion, FusionOutput
from models.fusion_config import HierarchicalConfig
from models.transformer import Transformer, masked_mean


class HierarchicalFusion(Fusion):
    """A transformer a modality; then stage by stage a joint transformer over what is fused and the next modality.

    With M modalities there are M - 1 stages. The mean of the last one's tokens is the window's embedding.

    Args:
        modalities: the names, in the order of the model.
        config: the order of fusing, depths and heads.
        width: D.
        dropout: probability in the feed-forwards.
    """

    def __init__(self, modalities: Sequence[str], config: HierarchicalConfig, *, width: int, dropout: float) -> None:
        super().__init__(config.order or modalities, config, width=width)
        self.output_width = width
        self.temporal = nn.ModuleDict(
            {name: Transformer(config.temporal_depth, width, config.heads, dropout) for name in self.modalities}
        )
        self.stages = nn.ModuleList(
            Transformer(config.depth, width, config.heads, dropout) for _ in self.modalities[1:]
        )
        self.output_norm = nn.LayerNorm(width)

    def forward(self, tokens: Mapping[str, Tensor], masks: Mapping[str, Tensor]) -> FusionOutput:
        """Fuse windows: ``fused`` is ``(B, D)``; arguments as in :class:`~models.fusion.base.Fusion`."""
        flat, flat_masks = self.flatten(tokens, masks)
        flat = {name: self.temporal[name](flat[name], flat_masks[name]) for name in self.modalities}
        joined, joined_mask = flat[self.modalities[0]], flat_masks[self.modalities[0]]
        for name, stage in zip(self.modalities[1:], self.stages, strict=True):
            joined_mask = torch.cat((joined_mask, flat_masks[name]), dim=1)
            joined = stage(torch.cat((joined, flat[name]), dim=1), joined_mask)
        parts = self.split(joined, flat)
        embeddings = {name: masked_mean(parts[name], flat_masks[name]) for name in self.modalities}
        return FusionOutput(self.output_norm(masked_mean(joined, joined_mask)), embeddings)
