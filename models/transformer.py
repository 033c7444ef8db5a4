"""The pre-norm transformer block that every encoder and the fusion share, and its positions.

Attention: Vaswani et al. 2017 (arXiv 1706.03762); pre-norm: Xiong et al. 2020 (arXiv 2002.04745). All tensors are
batch-first.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional


def sinusoidal_at(moments: Tensor, width: int) -> Tensor:
    """Sine and cosine positions (arXiv 1706.03762, section 3.5) at any moments.

    Args:
        moments: ``(S,)`` float32, not only whole numbers.
        width: D.

    Returns:
        ``(S, D)`` float32 in [-1, 1].
    """
    frequencies = torch.exp(torch.arange(0, width, 2, dtype=torch.float32) * (-math.log(10_000.0) / width))
    angles = moments[:, None] * frequencies[None, :]
    return torch.stack((angles.sin(), angles.cos()), dim=-1).flatten(1)[:, :width]


def sinusoidal_positions(length: int, width: int) -> Tensor:
    """The positions 0 to ``length - 1``, of any length: ``(length, width)`` float32 in [-1, 1]."""
    return sinusoidal_at(torch.arange(length, dtype=torch.float32), width)


def grid_positions(rows: int, columns: int, width: int) -> Tensor:
    """2-D positions: half of the width says the row, the other half the column.

    Returns:
        ``(rows * columns, width)`` float32 in [-1, 1], row by row.
    """
    half = width // 2
    row = sinusoidal_positions(rows, half)[:, None, :].expand(rows, columns, half)
    column = sinusoidal_positions(columns, width - half)[None, :, :].expand(rows, columns, width - half)
    return torch.cat((row, column), dim=-1).reshape(rows * columns, width)


def masked_mean(tokens: Tensor, mask: Tensor) -> Tensor:
    """Mean over the tokens that are there.

    Args:
        tokens: ``(B, S, D)`` float.
        mask: ``(B, S)`` bool, True = keep.

    Returns:
        ``(B, D)`` float; zeros where a row keeps nothing.
    """
    kept = tokens.masked_fill(~mask[..., None], 0.0)
    count = mask.sum(dim=1, keepdim=True).clamp(min=1)
    return kept.sum(dim=1) / count


class Attention(nn.Module):
    """Multi-head attention from queries to keys, with a mask over the keys."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        if width % heads:
            raise ValueError(f"width {width} must be a multiple of heads {heads}")
        self.heads = heads
        self.query = nn.Linear(width, width)
        self.key_value = nn.Linear(width, 2 * width)
        self.output = nn.Linear(width, width)

    def forward(self, queries: Tensor, keys: Tensor, key_mask: Tensor | None = None) -> Tensor:
        """Attend.

        Args:
            queries: ``(B, Sq, D)`` float.
            keys: ``(B, Sk, D)`` float.
            key_mask: ``(B, Sk)`` bool, True = may be attended to. A row that keeps nothing gives zeros, never NaN.

        Returns:
            ``(B, Sq, D)`` float.
        """
        batch, num_queries, width = queries.shape
        query = self._split(self.query(queries))
        key, value = (self._split(part) for part in self.key_value(keys).chunk(2, dim=-1))
        if key_mask is None:
            attended = functional.scaled_dot_product_attention(query, key, value)
            return self._merge(attended, batch, num_queries, width)
        nothing_kept = ~key_mask.any(dim=1)
        usable = key_mask | nothing_kept[:, None]  # a softmax over no key is NaN: let such a row through, then zero it
        attended = functional.scaled_dot_product_attention(query, key, value, attn_mask=usable[:, None, None, :])
        return self._merge(attended, batch, num_queries, width).masked_fill(nothing_kept[:, None, None], 0.0)

    def weights(self, queries: Tensor, keys: Tensor, key_mask: Tensor) -> Tensor:
        """How much each query takes from each key, the mean over the heads; :meth:`forward` does not need to know.

        Args:
            queries: ``(B, Sq, D)`` float.
            keys: ``(B, Sk, D)`` float.
            key_mask: ``(B, Sk)`` bool, True = may be attended to.

        Returns:
            ``(B, Sq, Sk)`` float32; rows sum to 1, and to 0 where there is no key.
        """
        query = self._split(self.query(queries))
        key = self._split(self.key_value(keys).chunk(2, dim=-1)[0])
        usable = key_mask | ~key_mask.any(dim=1, keepdim=True)
        likeness = (query @ key.transpose(-1, -2)).float() / math.sqrt(query.shape[-1])
        shares = likeness.masked_fill(~usable[:, None, None, :], -torch.inf).softmax(dim=-1).mean(dim=1)
        return shares * key_mask[:, None, :]

    def _split(self, tokens: Tensor) -> Tensor:
        batch, length, width = tokens.shape
        return tokens.view(batch, length, self.heads, width // self.heads).transpose(1, 2)

    def _merge(self, attended: Tensor, batch: int, length: int, width: int) -> Tensor:
        merged: Tensor = self.output(attended.transpose(1, 2).reshape(batch, length, width))
        return merged


class FeedForward(nn.Sequential):
    """Linear, GELU, linear, with the usual factor of four between."""

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width), nn.Dropout(dropout))


class TransformerBlock(nn.Module):
    """Pre-norm self-attention and feed-forward, each with a residual connection."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(width)
        self.attention = Attention(width, heads)
        self.feed_forward_norm = nn.LayerNorm(width)
        self.feed_forward = FeedForward(width, dropout)

    def forward(self, tokens: Tensor, mask: Tensor | None = None) -> Tensor:
        """Transform ``(B, S, D)`` to ``(B, S, D)``; ``mask`` is ``(B, S)`` bool, True = keep."""
        normed = self.attention_norm(tokens)
        tokens = tokens + self.attention(normed, normed, mask)
        result: Tensor = tokens + self.feed_forward(self.feed_forward_norm(tokens))
        return result


class Transformer(nn.Module):
    """A stack of :class:`TransformerBlock`, each with weights of its own."""

    def __init__(self, depth: int, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(TransformerBlock(width, heads, dropout) for _ in range(depth))

    def forward(self, tokens: Tensor, mask: Tensor | None = None) -> Tensor:
        """Transform ``(B, S, D)`` to ``(B, S, D)``; ``mask`` is ``(B, S)`` bool, True = keep."""
        for block in self.blocks:
            tokens = block(tokens, mask)
        return tokens
