"""From cosines to a ranking: evidence of different modalities made comparable and added, overlaps merged.

The cosines of two modalities lie in different ranges (towers keep their modalities apart: arXiv 2203.02053), so they
are not added as they are. Each is said in standard deviations above what the query has with the index's windows in
general, and these are added as independent z-scores are: their sum over the square root of their number (Stouffer
1949). A window that lacks a modality is thus compared by those it has.

A few windows are no sample: where all that an index has of a modality is one file's words, these would be the
average, and an exact match no evidence. So a channel counts as having some more windows, in directions that have
nothing to do with the query.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

UNRELATED_WINDOWS = 32
"""How many a channel counts as having beside its own."""


@dataclass(frozen=True)
class Spread:
    """How a query's cosines with a channel's windows are spread."""

    mean: NDArray[np.float64]
    """``(Q,)`` float64."""
    deviation: NDArray[np.float64]
    """``(Q,)`` float64, above 0."""

    def standardise(self, cosines: NDArray[np.float64]) -> NDArray[np.float64]:
        """Cosines ``(Q, R)`` in standard deviations above the mean."""
        return np.asarray((cosines - self.mean[:, None]) / self.deviation[:, None])


def spread_of(cosines: NDArray[np.float64], width: int) -> Spread:
    """The spread of cosines ``(Q, N)`` of vectors of ``width`` numbers, with those of the unrelated windows.

    A random direction has a mean cosine of 0 with any other, and a mean square of 1 / width.
    """
    total = cosines.shape[1] + UNRELATED_WINDOWS
    mean = cosines.sum(axis=1) / total
    square = ((cosines**2).sum(axis=1) + UNRELATED_WINDOWS / width) / total
    return Spread(mean, np.sqrt(square - mean**2))


def combine(evidence: NDArray[np.float64]) -> NDArray[np.float64]:
    """Add z-scores.

    Args:
        evidence: ``(M, R)`` float64, one row a source of evidence; NaN where a candidate has none.

    Returns:
        ``(R,)`` float64; minus infinity where a candidate has no evidence at all.
    """
    there = ~np.isnan(evidence)
    counts = there.sum(axis=0)
    sums = np.where(there, evidence, 0.0).sum(axis=0)
    return np.where(counts > 0, sums / np.sqrt(np.maximum(counts, 1)), -np.inf)


@dataclass(frozen=True)
class Span:
    """A scored span of a file."""

    file: str
    start_seconds: float
    stop_seconds: float
    score: float

    def overlaps(self, other: Span) -> bool:
        """Whether both share some time of one file."""
        return (
            self.file == other.file
            and self.start_seconds < other.stop_seconds
            and other.start_seconds < self.stop_seconds
        )


def suppress(spans: Sequence[Span], limit: int) -> list[int]:
    """Non-maximum suppression in time: of spans that overlap, the best one stands for the others.

    Args:
        spans: of any files, in any order.
        limit: how many are kept at most.

    Returns:
        The places of those that are kept, best first; equal scores in the order of file and start.
    """
    order = sorted(
        range(len(spans)), key=lambda i: (-spans[i].score, spans[i].file, spans[i].start_seconds, spans[i].stop_seconds)
    )
    kept: list[int] = []
    by_file: dict[str, list[int]] = {}
    for place in order:
        if len(kept) == limit:
            break
        beside = by_file.setdefault(spans[place].file, [])
        if not _overlaps_any(spans[place], (spans[other] for other in beside)):
            kept.append(place)
            beside.append(place)
    return kept


def _overlaps_any(span: Span, others: Iterable[Span]) -> bool:
    return any(span.overlaps(other) for other in others)
