"""Late fusion: a transformer a modality, and only their embeddings meet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from models.fusion.base import Fusion, FusionOutput, SideBySide
from models.fusion_config import LateConfig
from models.transformer import Transformer


class LateFusion(Fusion):
    """The embeddings' mean, a two-layer perceptron over them, or a learned gate between them.

    Mean and gate are over the modalities that are there; where none is, over the learned embeddings of their absence.
    The gate weighs each modality in each feature by a softmax over the modalities, from all embeddings (after the
    gated multimodal unit, arXiv 1702.01992).

    Args:
        modalities: the names.
        config: depth, heads, and how the embeddings are combined.
        width: D.
        dropout: probability in the feed-forwards and the perceptron.
    """

    def __init__(self, modalities: Sequence[str], config: LateConfig, *, width: int, dropout: float) -> None:
        super().__init__(modalities, config, width=width)
        self.output_width = width
        self.combine = config.combine
        self.temporal = nn.ModuleDict(
            {name: Transformer(config.temporal_depth, width, config.heads, dropout) for name in modalities}
        )
        self.readout = SideBySide(modalities, width=width, pooling=config.pooling)
        total = width * len(self.modalities)
        if config.combine == "concat":
            self.perceptron = nn.Sequential(
                nn.Linear(total, width), nn.GELU(), nn.Dropout(dropout), nn.Linear(width, width)
            )
        elif config.combine == "gating":
            self.gate = nn.Linear(total, total)

    def forward(self, tokens: Mapping[str, Tensor], masks: Mapping[str, Tensor]) -> FusionOutput:
        """Fuse windows: ``fused`` is ``(B, D)``; arguments as in :class:`~models.fusion.base.Fusion`."""
        flat, flat_masks = self.flatten(tokens, masks)
        flat = {name: self.temporal[name](flat[name], flat_masks[name]) for name in self.modalities}
        output: FusionOutput = self.readout(flat, flat_masks)
        if self.combine == "concat":
            return FusionOutput(self.perceptron(output.fused), output.embeddings)
        present = torch.stack([flat_masks[name].any(dim=1) for name in self.modalities], dim=1)
        weights = self._weights(output.fused, present)
        fused = (weights * output.fused.unflatten(1, (len(self.modalities), self.width))).sum(dim=1)
        return FusionOutput(fused, output.embeddings)

    def _weights(self, embeddings: Tensor, present: Tensor) -> Tensor:
        """How much of each modality, ``(B, M, D)`` or ``(B, M, 1)``; sums to 1 over the modalities."""
        counted = (present | ~present.any(dim=1, keepdim=True))[..., None]
        if self.combine == "mean":
            return counted / counted.sum(dim=1, keepdim=True)
        logits: Tensor = self.gate(embeddings).unflatten(1, (len(self.modalities), self.width))
        return logits.masked_fill(~counted, -torch.inf).softmax(dim=1)
