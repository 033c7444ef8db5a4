"""Rows of all processes, with gradients that find their way back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, distributed


class _GatherRows(torch.autograd.Function):
    """All-gather along the first axis; backward sums what every process has of a row's gradient."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor) -> Tensor:  # noqa: ARG004 - the interface of torch
        parts = [torch.empty_like(rows) for _ in range(distributed.get_world_size())]
        distributed.all_gather(parts, rows.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:  # noqa: ARG004
        total = gradients[0].contiguous().clone()
        distributed.all_reduce(total)
        return total.chunk(distributed.get_world_size())[distributed.get_rank()]


@dataclass(frozen=True)
class Processes:
    """How many rows each process has; with a single process, gathering changes nothing."""

    sizes: tuple[int, ...]
    rank: int

    @classmethod
    def of_rows(cls, num_rows: int, device: torch.device) -> Processes:
        """Ask all processes; every one of them has to call this, and then :meth:`gather` as often as the others."""
        if not (distributed.is_available() and distributed.is_initialized()):
            return cls((num_rows,), 0)
        sizes = [torch.empty(1, dtype=torch.int64, device=device) for _ in range(distributed.get_world_size())]
        distributed.all_gather(sizes, torch.tensor([num_rows], device=device))
        return cls(tuple(int(size) for size in sizes), distributed.get_rank())

    @property
    def offset(self) -> int:
        """Where this process's rows begin among all."""
        return sum(self.sizes[: self.rank])

    def gather(self, rows: Tensor) -> Tensor:
        """All processes' rows, one process after the other: ``(n, ...)`` to ``(N, ...)``, n may differ by process."""
        if len(self.sizes) == 1:
            return rows
        longest = max(self.sizes)
        padded = torch.cat([rows, rows.new_zeros(longest - len(rows), *rows.shape[1:])])
        gathered = cast("Tensor", _GatherRows.apply(padded))  # type: ignore[no-untyped-call]
        return torch.cat([part[:size] for part, size in zip(gathered.split(longest), self.sizes, strict=True)])
