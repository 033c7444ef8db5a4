"""A run's hops of sound as one waveform, and back.

Consecutive hops share ``context`` samples (``handler.decode.cut_samples``), so whatever is added to a run has to be
made on its one waveform: else two hops would hear different noise at the same instant.
"""

from __future__ import annotations

import torch
from torch import Tensor


def join_hops(hops: Tensor, masks: Tensor, *, context: int) -> Tensor:
    """The waveform that hops were cut from.

    Args:
        hops: ``(C, R, P)``, each ``context`` samples longer than the step between two.
        masks: ``(C, R)`` bool: the other hops are left out.
        context: samples that a hop shares with the next.

    Returns:
        ``(C, L)``, L = R * (P - context) + context; 0 where no kept hop reaches.
    """
    num_runs, num_hops, length = hops.shape
    step = length - context
    joined = hops.new_zeros(num_runs, num_hops * step + context)
    for hop in range(num_hops):
        part = joined[:, hop * step : hop * step + length]
        part.copy_(torch.where(masks[:, hop, None], hops[:, hop], part))
    return joined


def cut_hops(joined: Tensor, *, hop_samples: int, context: int) -> Tensor:
    """Cut waveforms ``(C, L)`` into hops ``(C, R, hop_samples + context)``: a view."""
    return joined.unfold(1, hop_samples + context, hop_samples)


def stretches(masks: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Where each run's hops are that are there.

    Args:
        masks: ``(C, R)`` bool.

    Returns:
        ``first`` and ``count`` ``(C,)`` int64, and ``whole`` ``(C,)`` bool: there are some, without a gap.
    """
    count = masks.sum(dim=1)
    first = masks.to(torch.uint8).argmax(dim=1)
    last = masks.shape[1] - 1 - masks.flip(1).to(torch.uint8).argmax(dim=1)
    return first, count, (count > 0) & (last - first + 1 == count)
