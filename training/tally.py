"""Means over an epoch, over all processes of a training."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


class Tally:
    """Sums by name, kept on the device so that no step waits for them."""

    def __init__(self) -> None:
        self._sums: dict[str, Tensor] = {}

    def add(self, name: str, mean: Tensor, count: Tensor | int = 1) -> None:
        """Count a mean over ``count`` values."""
        weight = torch.as_tensor(count, dtype=torch.float64, device=mean.device)
        entry = torch.stack((mean.detach().double() * weight, weight))
        self._sums[name] = self._sums[name] + entry if name in self._sums else entry

    def means(self, gather: Callable[[Tensor], Tensor]) -> dict[str, float]:
        """The mean of each name, 0 where nothing was counted, and a fresh start.

        Args:
            gather: gives for ``(N, 2)`` the same of all processes, ``(processes, N, 2)``, or as it was of the only one.
        """
        if not self._sums:
            return {}
        entries = gather(torch.stack(list(self._sums.values())))
        totals = entries.view(-1, len(self._sums), 2).sum(dim=0).tolist()
        means = {name: total / max(count, 1e-300) for name, (total, count) in zip(self._sums, totals, strict=True)}
        self._sums = {}
        return means
