"""Cross-modal attention in every direction over the tokens of a window (after MulT, arXiv 1906.00295)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from models.config import Modality
from models.fusion_config import CrossAttentionConfig
from models.transformer import Attention, FeedForward, Transformer, masked_mean, sinusoidal_positions


@dataclass(frozen=True)
class FusionOutput:
    """What the fusion gives for a batch of windows."""

    fused: Tensor
    """``(B, num_modalities * D)`` float: the modalities' embeddings side by side."""
    embeddings: dict[Modality, Tensor]
    """For each modality ``(B, D)`` float; the learned embedding of its absence where it is absent."""


class CrossModalLayer(nn.Module):
    """Each modality attends to each other one, along an attention of its own, then passes its own feed-forward."""

    def __init__(self, modalities: Sequence[Modality], *, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.modalities = tuple(modalities)
        self.norms = nn.ModuleDict({name: nn.LayerNorm(width) for name in modalities})
        self.directions = nn.ModuleDict(
            {
                f"{target}_from_{source}": Attention(width, heads)
                for target in modalities
                for source in modalities
                if source != target
            }
        )
        self.feed_forward_norms = nn.ModuleDict({name: nn.LayerNorm(width) for name in modalities})
        self.feed_forwards = nn.ModuleDict({name: FeedForward(width, dropout) for name in modalities})

    def forward(self, tokens: Mapping[Modality, Tensor], masks: Mapping[Modality, Tensor]) -> dict[Modality, Tensor]:
        """Exchange between the modalities; shapes as in :meth:`CrossModalFusion.forward`, flattened over hops."""
        normed = {name: self.norms[name](tokens[name]) for name in self.modalities}
        result: dict[Modality, Tensor] = {}
        for target in self.modalities:
            updated = tokens[target]
            for source in self.modalities:
                if source != target:
                    attention = self.directions[f"{target}_from_{source}"]
                    updated = updated + attention(normed[target], normed[source], masks[source])
            result[target] = updated + self.feed_forwards[target](self.feed_forward_norms[target](updated))
        return result


class CrossModalFusion(nn.Module):
    """The window's reader: a temporal transformer a modality, cross-modal layers, and one embedding a modality.

    Args:
        modalities: the names, in the order in which their embeddings are put side by side.
        config: depths and heads.
        width: D.
        dropout: probability in the feed-forwards.
    """

    def __init__(
        self, modalities: Sequence[Modality], config: CrossAttentionConfig, *, width: int, dropout: float
    ) -> None:
        super().__init__()
        self.modalities = tuple(modalities)
        self.width = width
        self.modality_tokens = nn.ParameterDict({name: nn.Parameter(torch.randn(width) * 0.02) for name in modalities})
        self.absent = nn.ParameterDict({name: nn.Parameter(torch.randn(width) * 0.02) for name in modalities})
        self.temporal = nn.ModuleDict(
            {name: Transformer(config.temporal_depth, width, config.heads, dropout) for name in modalities}
        )
        self.layers = nn.ModuleList(
            CrossModalLayer(modalities, width=width, heads=config.heads, dropout=dropout)
            for _ in range(config.cross_depth)
        )
        self.output_norms = nn.ModuleDict({name: nn.LayerNorm(width) for name in modalities})

    @property
    def output_width(self) -> int:
        """Width of :attr:`FusionOutput.fused`."""
        return self.width * len(self.modalities)

    def forward(self, tokens: Mapping[Modality, Tensor], masks: Mapping[Modality, Tensor]) -> FusionOutput:
        """Fuse windows.

        Args:
            tokens: for each modality ``(B, hops, S, D)`` float; what stands where the mask is False cannot change
                the output.
            masks: for each modality ``(B, hops)`` bool, True where the hop has it.
        """
        flat: dict[Modality, Tensor] = {}
        flat_masks: dict[Modality, Tensor] = {}
        for name in self.modalities:
            flat[name], flat_masks[name] = self._with_positions(name, tokens[name], masks[name])
            flat[name] = self.temporal[name](flat[name], flat_masks[name])
        for layer in self.layers:
            flat = layer(flat, flat_masks)
        embeddings = {name: self._embed(name, flat[name], flat_masks[name]) for name in self.modalities}
        return FusionOutput(torch.cat([embeddings[name] for name in self.modalities], dim=-1), embeddings)

    def _with_positions(self, name: Modality, tokens: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Add time and modality, zero what is masked, and flatten hops: ``(B, hops * S, D)`` and its mask."""
        batch, hops, per_hop, width = tokens.shape
        positions = sinusoidal_positions(hops * per_hop, width).to(tokens)
        flat_mask = mask[:, :, None].expand(batch, hops, per_hop).reshape(batch, hops * per_hop)
        flat = tokens.reshape(batch, hops * per_hop, width) + positions + self.modality_tokens[name].to(tokens)
        return flat.masked_fill(~flat_mask[..., None], 0.0), flat_mask

    def _embed(self, name: Modality, tokens: Tensor, mask: Tensor) -> Tensor:
        pooled = self.output_norms[name](masked_mean(tokens, mask))
        return torch.where(mask.any(dim=1, keepdim=True), pooled, self.absent[name].to(pooled))
