"""Recall at k: how often something relevant is among the first k that are found, ties and chance counted exactly."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def recall_at(scores: NDArray[np.floating], relevant: NDArray[np.bool_], k: int) -> NDArray[np.float64]:
    """How likely the first ``k`` candidates hold a relevant one, those of equal scores being in random order.

    Args:
        scores: ``(Q, N)``, of each query with each candidate; minus infinity for a candidate that is never found.
        relevant: ``(Q, N)`` bool.
        k: at least 1.

    Returns:
        ``(Q,)`` float64 in [0, 1]; 0 or 1 without ties, NaN where nothing is relevant.
    """
    best = np.where(relevant, scores, -np.inf).max(axis=1, keepdims=True)
    before = (~relevant & (scores > best)).sum(axis=1)
    tied = scores == best
    good, bad = (tied & relevant).sum(axis=1), (tied & ~relevant).sum(axis=1)
    found = 1.0 - _miss(good, bad, np.maximum(k - before, 0))
    return np.where(relevant.any(axis=1), found, np.nan)


def chance_at(relevant: NDArray[np.bool_], k: int) -> NDArray[np.float64]:
    """What :func:`recall_at` gives for candidates in random order: ``(Q,)`` float64, NaN where nothing is relevant."""
    return recall_at(np.zeros(relevant.shape), relevant, k)


def _miss(good: NDArray[np.int64], bad: NDArray[np.int64], draws: NDArray[np.int64]) -> NDArray[np.float64]:
    """The probability that so many draws without putting back hold none of the good: hypergeometric."""
    missed = np.ones(len(good))
    for drawn in range(int(draws.max(initial=0))):
        left = np.maximum(good + bad - drawn, 1)
        missed *= np.where(drawn < draws, np.maximum(bad - drawn, 0) / left, 1.0)
    return missed
