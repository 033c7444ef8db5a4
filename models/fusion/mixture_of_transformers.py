"""Mixture-of-Transformers (arXiv 2411.04996): weights of each modality's own, one self-attention over all tokens."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn

from models.fusion.base import Fusion, FusionOutput, SideBySide, moments
from models.fusion.block_sparse import block_sparse_attention, dense_attention
from models.fusion_config import MixtureOfTransformersConfig
from models.transformer import FeedForward

Attend = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Queries, keys and values ``(B, heads, n, d)`` to ``(B, heads, n, d)``."""


class MixtureLayer(nn.Module):
    """A pre-norm layer: norms, projections and feed-forwards by modality, attention over all of them at once."""

    def __init__(self, modalities: Sequence[str], *, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.modalities = tuple(modalities)
        self.heads = heads
        self.attention_norms = nn.ModuleDict({name: nn.LayerNorm(width) for name in modalities})
        self.projections = nn.ModuleDict({name: nn.Linear(width, 3 * width) for name in modalities})
        self.outputs = nn.ModuleDict({name: nn.Linear(width, width) for name in modalities})
        self.feed_forward_norms = nn.ModuleDict({name: nn.LayerNorm(width) for name in modalities})
        self.feed_forwards = nn.ModuleDict({name: FeedForward(width, dropout) for name in modalities})

    def forward(self, tokens: Mapping[str, Tensor], attend: Attend) -> dict[str, Tensor]:
        """Transform each modality's ``(B, n, D)``; ``attend`` works on all of them, one after the other."""
        projected = [self.projections[name](self.attention_norms[name](tokens[name])) for name in self.modalities]
        query, key, value = torch.cat(projected, dim=1).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        attended = attend(query, key, value).transpose(1, 2).flatten(2)
        lengths = [part.shape[1] for part in projected]
        result: dict[str, Tensor] = {}
        for name, part in zip(self.modalities, attended.split(lengths, dim=1), strict=True):
            updated = tokens[name] + self.outputs[name](part)
            result[name] = updated + self.feed_forwards[name](self.feed_forward_norms[name](updated))
        return result


class MixtureOfTransformersFusion(Fusion):
    """Layers that share nothing but the attention; the modalities' embeddings stand side by side.

    For block-sparse attention the tokens are put in the order of their moments, so that a local block holds what is
    near in time of every modality, and hops that are added at the end leave the blocks before them as they are.

    Args:
        modalities: the names, in the order of their embeddings.
        config: depth, heads, and the blocks.
        width: D.
        dropout: probability in the feed-forwards.
    """

    def __init__(
        self, modalities: Sequence[str], config: MixtureOfTransformersConfig, *, width: int, dropout: float
    ) -> None:
        super().__init__(modalities, config, width=width)
        self.output_width = width * len(self.modalities)
        self.block_size = config.block_size
        self.neighbours = config.neighbours
        self.layers = nn.ModuleList(
            MixtureLayer(modalities, width=width, heads=config.heads, dropout=dropout) for _ in range(config.depth)
        )
        self.readout = SideBySide(modalities, width=width)

    def forward(self, tokens: Mapping[str, Tensor], masks: Mapping[str, Tensor]) -> FusionOutput:
        """Fuse windows: ``fused`` is ``(B, num_modalities * D)``; arguments as in :class:`Fusion`."""
        flat, flat_masks = self.flatten(tokens, masks)
        joined_mask = self.join(flat_masks)
        attend = self._dense(joined_mask)
        if self.block_size is not None:
            attend = self._block_sparse(joined_mask, self._order(tokens).to(joined_mask.device), self.block_size)
        for layer in self.layers:
            flat = layer(flat, attend)
        output: FusionOutput = self.readout(flat, flat_masks)
        return output

    def _order(self, tokens: Mapping[str, Tensor]) -> Tensor:
        """The places of the joined tokens in the order of their moments: ``(n,)`` int64."""
        times = torch.cat([moments(tokens[name].shape[1], tokens[name].shape[2]) for name in self.modalities])
        return times.argsort(stable=True)

    @staticmethod
    def _dense(mask: Tensor) -> Attend:
        return lambda query, key, value: dense_attention(query, key, value, mask[:, None, None, :])

    def _block_sparse(self, mask: Tensor, order: Tensor, block_size: int) -> Attend:
        back = order.argsort()

        def attend(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
            query, key, value = (part[:, :, order] for part in (query, key, value))
            attended = block_sparse_attention(
                query, key, value, mask[:, order], block_size=block_size, neighbours=self.neighbours
            )
            return attended[:, :, back]

        return attend
