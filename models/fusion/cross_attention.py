"""Cross-modal attention in every direction over the tokens of a window (after MulT, arXiv 1906.00295)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

import torch
from torch import Tensor, nn

from models.config import Modality
from models.fusion.base import Fusion, FusionOutput, build_pools, embed, learned_vectors, weights_by_hop
from models.fusion_config import CrossAttentionConfig
from models.transformer import Attention, FeedForward, Transformer


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
        """Exchange between the modalities; ``(B, n, D)`` tokens and ``(B, n)`` masks a modality."""
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

    def weights(
        self, tokens: Mapping[Modality, Tensor], masks: Mapping[Modality, Tensor]
    ) -> dict[tuple[Modality, Modality], Tensor]:
        """What each modality takes from each other one in :meth:`forward`: ``(B, n, m)`` float32 a direction."""
        normed = {name: self.norms[name](tokens[name]) for name in self.modalities}
        return {
            (target, source): cast("Attention", self.directions[f"{target}_from_{source}"]).weights(
                normed[target], normed[source], masks[source]
            )
            for target in self.modalities
            for source in self.modalities
            if source != target
        }


class CrossModalFusion(Fusion):
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
        super().__init__(modalities, config, width=width)
        self.output_width = width * len(self.modalities)
        self.absent = learned_vectors(modalities, width)
        self.temporal = nn.ModuleDict(
            {name: Transformer(config.temporal_depth, width, config.heads, dropout) for name in modalities}
        )
        self.layers = nn.ModuleList(
            CrossModalLayer(modalities, width=width, heads=config.heads, dropout=dropout)
            for _ in range(config.cross_depth)
        )
        self.pools = build_pools(modalities, width=width, pooling=config.pooling)
        self.output_norms = nn.ModuleDict({name: nn.LayerNorm(width) for name in modalities})

    def forward(self, tokens: Mapping[Modality, Tensor], masks: Mapping[Modality, Tensor]) -> FusionOutput:
        """Fuse windows: ``fused`` is ``(B, num_modalities * D)``, the embeddings side by side.

        Args:
            tokens: for each modality ``(B, hops, S, D)`` float.
            masks: for each modality ``(B, hops)`` or ``(B, hops, S)`` bool, True = keep.
        """
        flat, flat_masks = self._begin(tokens, masks)
        for layer in self.layers:
            flat = layer(flat, flat_masks)
        embeddings = {
            name: embed(
                self.pools[name](flat[name], flat_masks[name]),
                flat_masks[name],
                self.output_norms[name],
                self.absent[name],
            )
            for name in self.modalities
        }
        return FusionOutput(torch.cat([embeddings[name] for name in self.modalities], dim=-1), embeddings)

    def attend(self, tokens: Mapping[str, Tensor], masks: Mapping[str, Tensor]) -> dict[tuple[str, str], Tensor]:
        """Cross-modal attention in every direction, as :meth:`~models.fusion.base.Fusion.attend` says."""
        flat, flat_masks = self._begin(tokens, masks)
        found: dict[tuple[str, str], list[Tensor]] = {}
        for layer in self.layers:
            for pair, weights in cast("CrossModalLayer", layer).weights(flat, flat_masks).items():
                hops = (tokens[pair[0]].shape[1], tokens[pair[1]].shape[1])
                found.setdefault(pair, []).append(weights_by_hop(weights, flat_masks[pair[0]], hops=hops))
            flat = layer(flat, flat_masks)
        return {pair: torch.stack(layers).mean(dim=0) for pair, layers in found.items()}

    def _begin(
        self, tokens: Mapping[Modality, Tensor], masks: Mapping[Modality, Tensor]
    ) -> tuple[dict[Modality, Tensor], dict[Modality, Tensor]]:
        """Each modality for itself: ``(B, n, D)`` tokens and ``(B, n)`` masks."""
        flat, flat_masks = self.flatten(tokens, masks)
        return {name: self.temporal[name](flat[name], flat_masks[name]) for name in self.modalities}, flat_masks
