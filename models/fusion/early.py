"""Early fusion: the tokens of all modalities in one transformer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor

from models.fusion.base import Fusion, FusionOutput
from models.fusion_config import EarlyConfig
from models.transformer import Transformer, masked_mean


class EarlyFusion(Fusion):
    """Each token attends to each other one, of its own modality or not; the mean of all is the window's embedding.

    Args:
        modalities: the names, in the order in which their tokens are put one after the other.
        config: depth and heads.
        width: D.
        dropout: probability in the feed-forwards.
    """

    def __init__(self, modalities: Sequence[str], config: EarlyConfig, *, width: int, dropout: float) -> None:
        super().__init__(modalities, config, width=width)
        self.output_width = width
        self.transformer = Transformer(config.depth, width, config.heads, dropout)

    def forward(self, tokens: Mapping[str, Tensor], masks: Mapping[str, Tensor]) -> FusionOutput:
        """Fuse windows: ``fused`` is ``(B, D)``; arguments as in :class:`~models.fusion.base.Fusion`."""
        flat, flat_masks = self.flatten(tokens, masks)
        joined_mask = self.join(flat_masks)
        joined = self.transformer(self.join(flat), joined_mask)
        parts = self.split(joined, flat)
        embeddings = {name: masked_mean(parts[name], flat_masks[name]) for name in self.modalities}
        return FusionOutput(masked_mean(joined, joined_mask), embeddings)
