"""InfoNCE in one direction (arXiv 1807.03748), whole or in chunks.

Whole, the similarities of n queries to N keys are held at once, and autograd keeps them. In chunks they are made block
by block, with a running logarithm of the sum of exponentials, and made again for the gradients: memory grows with
n + N, at the price of one more product of matrices.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor


@dataclass(frozen=True)
class Pairing:
    """Which keys stand against which queries: n queries, N keys."""

    query_clips: Tensor
    """``(n,)`` int64."""
    key_clips: Tensor
    """``(N,)`` int64."""
    key_counted: Tensor
    """``(N,)`` bool: keys that may be negatives."""
    own: Tensor
    """``(n,)`` int64: each query's own key, its positive, which is always allowed."""

    def allowed(self, rows: slice, columns: slice) -> Tensor:
        """A block of the mask: counted keys of other clips, and one's own."""
        other_clip = self.query_clips[rows, None] != self.key_clips[None, columns]
        index = torch.arange(columns.start, columns.stop, device=self.own.device)
        return (other_clip & self.key_counted[None, columns]) | (self.own[rows, None] == index[None])


def info_nce(queries: Tensor, keys: Tensor, pairing: Pairing, chunk_size: int | None = None) -> Tensor:
    """The loss of each query: minus the log-probability of its own key among those allowed.

    Args:
        queries: ``(n, E)`` float, already divided by the temperature.
        keys: ``(N, E)`` float.
        pairing: which keys count for which queries.
        chunk_size: most rows and columns of a block; None holds all n * N similarities.

    Returns:
        ``(n,)`` float, at least 0 but for rounding.
    """
    own = (queries * keys[pairing.own]).sum(dim=-1)
    if chunk_size is None:
        everything = pairing.allowed(slice(0, len(queries)), slice(0, len(keys)))
        return (queries @ keys.T).masked_fill(~everything, -torch.inf).logsumexp(dim=1) - own
    total = _ChunkedLogSumExp.apply(queries, keys, pairing, chunk_size)  # type: ignore[no-untyped-call]
    return cast("Tensor", total) - own


class _ChunkedLogSumExp(torch.autograd.Function):
    """``logsumexp`` over the allowed keys of each query, block by block."""

    @staticmethod
    def forward(ctx: Any, queries: Tensor, keys: Tensor, pairing: Pairing, chunk_size: int) -> Tensor:
        result = torch.full_like(queries[:, 0], -torch.inf)
        for rows in _chunks(len(queries), chunk_size):
            for columns in _chunks(len(keys), chunk_size):
                block = _similarities(queries, keys, pairing, rows, columns)
                result[rows] = torch.logaddexp(result[rows], block.logsumexp(dim=1))
        ctx.save_for_backward(queries, keys, result)
        ctx.pairing, ctx.chunk_size = pairing, chunk_size
        return result

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None, None]:
        queries, keys, result = ctx.saved_tensors
        query_gradient, key_gradient = torch.zeros_like(queries), torch.zeros_like(keys)
        for rows in _chunks(len(queries), ctx.chunk_size):
            for columns in _chunks(len(keys), ctx.chunk_size):
                block = _similarities(queries, keys, ctx.pairing, rows, columns)
                shares = (block - result[rows, None]).exp() * gradients[0][rows, None]
                query_gradient[rows] += shares @ keys[columns]
                key_gradient[columns] += shares.T @ queries[rows]
        return query_gradient, key_gradient, None, None


def _similarities(queries: Tensor, keys: Tensor, pairing: Pairing, rows: slice, columns: slice) -> Tensor:
    return (queries[rows] @ keys[columns].T).masked_fill_(~pairing.allowed(rows, columns), -torch.inf)


def _chunks(length: int, chunk_size: int) -> Iterator[slice]:
    for start in range(0, length, chunk_size):
        yield slice(start, min(start + chunk_size, length))
