"""Smoothing of scores over the neighbouring windows of one request."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class ActivitySmoothing:
    """Moving mean over ``num_windows`` windows, of which ``lookahead`` lie ahead.

    Window ``i`` becomes the mean of windows ``i - (num_windows - 1 - lookahead) .. i + lookahead``; at the clip's
    edges it is the mean of those that are there. The default is centred; ``lookahead=0`` is causal.

    Each mean is added up afresh in the order of time rather than taken from a running sum, whose rounding would depend
    on all that came before: a window's value depends on its neighbours only, to the last bit, and so a stream gives
    what the whole file gives.
    """

    num_windows: int = 5
    lookahead: int = 2

    def __post_init__(self) -> None:
        if self.num_windows < 1:
            raise ValueError(f"num_windows must be at least 1, got {self.num_windows}")
        if not 0 <= self.lookahead < self.num_windows:
            raise ValueError(f"lookahead must be 0 .. {self.num_windows - 1}, got {self.lookahead}")

    def __call__(self, scores: NDArray[np.floating]) -> NDArray[np.float64]:
        """Smooth the scores of one request.

        Args:
            scores: ``(W, K)`` float, finite, in the order of time.

        Returns:
            ``(W, K)`` float64. Rows that sum to 1 still do.

        Raises:
            ValueError: when the shape is another one.
        """
        if scores.ndim != 2:
            raise ValueError(f"scores must be (W, K), got {scores.shape}")
        num_scores = len(scores)
        total = np.zeros(scores.shape, dtype=np.float64)
        count = np.zeros((num_scores, 1), dtype=np.float64)
        for offset in range(self.lookahead + 1 - self.num_windows, self.lookahead + 1):
            first, stop = max(0, -offset), min(num_scores, num_scores - offset)
            if first < stop:
                total[first:stop] += scores[first + offset : stop + offset]
                count[first:stop] += 1.0
        return total / count
