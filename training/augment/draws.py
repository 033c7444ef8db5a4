"""Random numbers, one a run, from torch's global generator unless another is given."""

from __future__ import annotations

import torch
from torch import Tensor


def chosen_runs(num_runs: int, probability: float, device: torch.device) -> Tensor:
    """Which runs are changed: ``(C,)`` bool, each with ``probability``; nothing is drawn where it is 1."""
    if probability >= 1.0:
        return torch.ones(num_runs, dtype=torch.bool, device=device)
    return torch.rand(num_runs, device=device) < probability


def uniform(num_runs: int, limits: tuple[float, float], like: Tensor) -> Tensor:
    """A value a run, drawn evenly between ``limits``: ``(C,)`` float of the device of ``like``."""
    low, high = limits
    return torch.rand(num_runs, device=like.device) * (high - low) + low


def of_runs(values: Tensor, like: Tensor) -> Tensor:
    """``(C,)`` to ``(C, 1, ...)``, with as many axes as ``like``."""
    return values.reshape(-1, *(1,) * (like.dim() - 1))
