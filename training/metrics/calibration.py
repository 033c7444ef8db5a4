"""Whether a score of 0.8 is right eight times in ten: Guo et al., "On Calibration of Modern Neural Networks" (2017)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

NUM_BINS = 15
"""Bins of equal width, as in Guo et al."""


@dataclass(frozen=True)
class ReliabilityBin:
    """The predictions whose confidence is in ``(low, high]``."""

    low: float
    high: float
    count: int
    confidence: float | None
    """Their mean confidence, in [0, 1]; None where there is none."""
    accuracy: float | None
    """The share of them that is right."""


def expected_calibration_error(
    confidences: NDArray[np.floating], correct: NDArray[np.bool_], *, num_bins: int = NUM_BINS
) -> float:
    """How far confidence and accuracy are apart.

    Predictions are sorted into bins ``((m - 1) / M, m / M]``; the error is the mean over the bins, weighted by their
    counts, of the distance between mean confidence and accuracy.

    Args:
        confidences: ``(N,)`` score of the predicted label, in [0, 1]; 0 goes to the first bin.
        correct: ``(N,)`` whether that label is right.
        num_bins: M.

    Returns:
        The error in 0..1.

    Raises:
        ValueError: when the shapes differ, nothing is given or a confidence is out of range.
    """
    bins = assign_bins(confidences, correct, num_bins=num_bins)
    surplus = np.bincount(bins, weights=confidences - correct, minlength=num_bins)
    return float(np.abs(surplus).sum() / len(confidences))


def reliability_bins(
    confidences: NDArray[np.floating], correct: NDArray[np.bool_], *, num_bins: int = NUM_BINS
) -> tuple[ReliabilityBin, ...]:
    """The bins of :func:`expected_calibration_error`, which takes the same arguments, for a diagram."""
    bins = assign_bins(confidences, correct, num_bins=num_bins)
    counts = np.bincount(bins, minlength=num_bins)
    confidence = np.bincount(bins, weights=confidences, minlength=num_bins)
    accuracy = np.bincount(bins, weights=correct.astype(np.float64), minlength=num_bins)
    return tuple(
        ReliabilityBin(
            low=m / num_bins,
            high=(m + 1) / num_bins,
            count=int(counts[m]),
            confidence=float(confidence[m] / counts[m]) if counts[m] else None,
            accuracy=float(accuracy[m] / counts[m]) if counts[m] else None,
        )
        for m in range(num_bins)
    )


def assign_bins(
    confidences: NDArray[np.floating], correct: NDArray[np.bool_], *, num_bins: int = NUM_BINS
) -> NDArray[np.int64]:
    """The bin of each prediction, ``(N,)`` int64; raises what :func:`expected_calibration_error` says."""
    if confidences.shape != correct.shape:
        raise ValueError(f"confidences {confidences.shape} and correct {correct.shape} must have one shape")
    if not len(confidences):
        raise ValueError("a calibration error needs at least one prediction")
    if not ((confidences >= 0) & (confidences <= 1)).all():
        raise ValueError("confidences must be in [0, 1]")
    upper_edges = np.arange(1, num_bins + 1) / num_bins
    return np.asarray(np.searchsorted(upper_edges, confidences, side="left"), dtype=np.int64)
