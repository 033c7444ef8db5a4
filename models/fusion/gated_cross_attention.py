"""Gated cross-attention (Flamingo, arXiv 2204.14198): a main modality attends to the others through tanh gates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

import torch
from torch import Tensor, nn

from models.fusion.base import Fusion, FusionOutput, weights_by_hop
from models.fusion_config import GatedCrossAttentionConfig
from models.transformer import Attention, FeedForward, Transformer, masked_mean


class GatedLayer(nn.Module):
    """Cross-attention and feed-forward, each added through a gate of its own: ``tanh`` of a number that starts at 0."""

    def __init__(self, *, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(width)
        self.attention = Attention(width, heads)
        self.attention_gate = nn.Parameter(torch.zeros(()))
        self.feed_forward_norm = nn.LayerNorm(width)
        self.feed_forward = FeedForward(width, dropout)
        self.feed_forward_gate = nn.Parameter(torch.zeros(()))

    def forward(self, stream: Tensor, keys: Tensor, key_mask: Tensor, wide_open: Tensor) -> Tensor:
        """Let ``stream`` attend to ``keys``.

        Args:
            stream: ``(B, n, D)`` float.
            keys: ``(B, m, D)`` float.
            key_mask: ``(B, m)`` bool, True = keep.
            wide_open: ``(B,)`` bool, True where the gates do not hold.
        """
        opened = wide_open[:, None, None]
        one = torch.ones_like(self.attention_gate)
        gate = torch.where(opened, one, self.attention_gate.tanh())
        stream = stream + gate * self.attention(self.attention_norm(stream), keys, key_mask)
        gate = torch.where(opened, one, self.feed_forward_gate.tanh())
        result: Tensor = stream + gate * self.feed_forward(self.feed_forward_norm(stream))
        return result

    def weights(self, stream: Tensor, keys: Tensor, key_mask: Tensor) -> Tensor:
        """What each token of ``stream`` takes from each key in :meth:`forward`: ``(B, n, m)`` float32."""
        return self.attention.weights(self.attention_norm(stream), keys, key_mask)


class GatedCrossAttentionFusion(Fusion):
    """The main modality's transformer; before each of its blocks it attends to the others through gates.

    The gates start shut, so that training starts from the main modality alone. A summary token, which is always there,
    leads the main stream. Where the main modality is absent, the summary alone reads the others and the gates stand
    wide open: there is nothing for them to preserve.

    Args:
        modalities: the names, in the order of the model.
        config: the main modality, depths and heads.
        width: D.
        dropout: probability in the feed-forwards.
    """

    def __init__(
        self, modalities: Sequence[str], config: GatedCrossAttentionConfig, *, width: int, dropout: float
    ) -> None:
        super().__init__(modalities, config, width=width)
        self.output_width = width
        self.main = config.main or self.modalities[0]
        self.others = tuple(name for name in self.modalities if name != self.main)
        self.summary = nn.Parameter(torch.randn(width) * 0.02)
        self.temporal = nn.ModuleDict(
            {name: Transformer(config.temporal_depth, width, config.heads, dropout) for name in self.others}
        )
        self.other_norms = nn.ModuleDict({name: nn.LayerNorm(width) for name in self.others})
        self.stream = Transformer(config.depth, width, config.heads, dropout)
        self.gated = nn.ModuleList(
            GatedLayer(width=width, heads=config.heads, dropout=dropout)
            for _ in range(config.depth if self.others else 0)
        )
        self.output_norm = nn.LayerNorm(width)

    def forward(self, tokens: Mapping[str, Tensor], masks: Mapping[str, Tensor]) -> FusionOutput:
        """Fuse windows: ``fused`` is ``(B, D)``; arguments as in :class:`~models.fusion.base.Fusion`."""
        flat, flat_masks, stream, stream_mask = self._begin(tokens, masks)
        if self.others:
            stream = self._read_others(stream, stream_mask, flat, flat_masks)
        else:
            stream = self.stream(stream, stream_mask)
        flat[self.main] = stream[:, 1:]
        embeddings = {name: masked_mean(flat[name], flat_masks[name]) for name in self.modalities}
        return FusionOutput(self.output_norm(masked_mean(stream, stream_mask)), embeddings)

    def attend(self, tokens: Mapping[str, Tensor], masks: Mapping[str, Tensor]) -> dict[tuple[str, str], Tensor]:
        """What the main modality takes from the others, as :meth:`~models.fusion.base.Fusion.attend` says.

        It attends to all of them at once: of a row that sums to 1 each has its part, and they sum to 1 together.
        """
        if not self.others:
            return {}
        flat, flat_masks, stream, stream_mask = self._begin(tokens, masks)
        layers: list[Tensor] = []
        self._read_others(stream, stream_mask, flat, flat_masks, layers)
        weights, main_mask = torch.stack(layers).mean(dim=0)[:, 1:], flat_masks[self.main]
        parts = weights.split([flat[name].shape[1] for name in self.others], dim=2)
        main_hops = tokens[self.main].shape[1]
        return {
            (self.main, name): weights_by_hop(part, main_mask, hops=(main_hops, tokens[name].shape[1]))
            for name, part in zip(self.others, parts, strict=True)
        }

    def _begin(
        self, tokens: Mapping[str, Tensor], masks: Mapping[str, Tensor]
    ) -> tuple[dict[str, Tensor], dict[str, Tensor], Tensor, Tensor]:
        """Tokens ``(B, n, D)`` and masks ``(B, n)`` a modality; the main stream, which the summary leads, and its mask.

        The others have passed their own transformers.
        """
        flat, flat_masks = self.flatten(tokens, masks)
        for name in self.others:
            flat[name] = self.other_norms[name](self.temporal[name](flat[name], flat_masks[name]))
        main, main_mask = flat[self.main], flat_masks[self.main]
        stream = torch.cat((self.summary.expand(main.shape[0], 1, -1), main), dim=1)
        return flat, flat_masks, stream, torch.cat((torch.ones_like(main_mask[:, :1]), main_mask), dim=1)

    def _read_others(
        self,
        stream: Tensor,
        stream_mask: Tensor,
        flat: Mapping[str, Tensor],
        flat_masks: Mapping[str, Tensor],
        weights: list[Tensor] | None = None,
    ) -> Tensor:
        """The stream after all blocks; each layer's attention ``(B, 1 + n, m)`` is added to ``weights``."""
        keys = torch.cat([flat[name] for name in self.others], dim=1)
        key_mask = torch.cat([flat_masks[name] for name in self.others], dim=1)
        main_absent = ~flat_masks[self.main].any(dim=1)
        for gated, block in zip(self.gated, self.stream.blocks, strict=True):
            if weights is not None:
                weights.append(cast("GatedLayer", gated).weights(stream, keys, key_mask))
            stream = block(gated(stream, keys, key_mask, main_absent), stream_mask)
        return stream
