"""Perceiver resampling (arXiv 2103.03206, 2107.14795): a fixed number of latents read all tokens once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from models.fusion.base import Fusion, FusionOutput
from models.fusion_config import PerceiverConfig
from models.transformer import Attention, FeedForward, Transformer, masked_mean


class PerceiverFusion(Fusion):
    """One cross-attention from the latents to the tokens of all modalities, then a transformer over the latents.

    Beyond that cross-attention (its keys, values and scores) the cost does not depend on how many tokens there are.

    Args:
        modalities: the names.
        config: the number of latents, depth and heads.
        width: D.
        dropout: probability in the feed-forwards.
    """

    def __init__(self, modalities: Sequence[str], config: PerceiverConfig, *, width: int, dropout: float) -> None:
        super().__init__(modalities, config, width=width)
        self.output_width = width
        self.latents = nn.Parameter(torch.randn(config.num_latents, width) * 0.02)
        self.latent_norm = nn.LayerNorm(width)
        self.token_norm = nn.LayerNorm(width)
        self.cross_attention = Attention(width, config.heads)
        self.feed_forward_norm = nn.LayerNorm(width)
        self.feed_forward = FeedForward(width, dropout)
        self.transformer = Transformer(config.depth, width, config.heads, dropout)
        self.output_norm = nn.LayerNorm(width)

    def forward(self, tokens: Mapping[str, Tensor], masks: Mapping[str, Tensor]) -> FusionOutput:
        """Fuse windows: ``fused`` is ``(B, D)``, the mean of the latents.

        The latents belong to no modality: a modality's embedding is the mean of its own normed tokens. Arguments as in
        :class:`~models.fusion.base.Fusion`.
        """
        flat, flat_masks = self.flatten(tokens, masks)
        normed = self.token_norm(self.join(flat))
        latents = self.latents.repeat(normed.shape[0], 1, 1)  # a view of a parameter breaks the counting of FLOPs
        latents = latents + self.cross_attention(self.latent_norm(latents), normed, self.join(flat_masks))
        latents = latents + self.feed_forward(self.feed_forward_norm(latents))
        fused = self.output_norm(self.transformer(latents).mean(dim=1))
        parts = self.split(normed, flat)
        embeddings = {name: masked_mean(parts[name], flat_masks[name]) for name in self.modalities}
        return FusionOutput(fused, embeddings)
