"""From cosines to a ranking: the evidence of different modalities made comparable and added, overlaps merged.

Towers are trained so that ``exp(scale * cosine)`` is proportional to how much more likely a query and a window belong
together than two at random (InfoNCE, arXiv 1807.03748). Divided by its mean over the index's windows it is that ratio
itself, and its logarithm, in nats, is evidence: of modalities that are independent given what they show it is added. A
modality whose towers tell little has a small scale, and then counts little; a window that lacks one is compared by
those it has.

A few windows are no sample: where all that an index has of a modality is one file's words, these would be the
average, and an exact match no evidence. So a channel counts as having some more windows, whose cosine is 0.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

UNRELATED_WINDOWS = 32
"""How many a channel counts as having beside its own."""


@dataclass(frozen=True)
class Background:
    """What a query has with a channel's windows in general."""

    scale: float
    log_mean: NDArray[np.float64]
    """``(Q,)`` float64: the logarithm of the mean of ``exp(scale * cosine)``."""

    def evidence(self, cosines: NDArray[np.float64]) -> NDArray[np.float64]:
        """Cosines ``(Q, R)`` as nats above the windows in general."""
        return np.asarray(self.scale * cosines - self.log_mean[:, None])


def background_of(cosines: NDArray[np.float64], scale: float) -> Background:
    """The background of queries whose cosines with a channel's windows are ``(Q, N)``.

    Args:
        cosines: of all windows, or of a sample of them; N at least 1.
        scale: what a cosine is multiplied by.
    """
    total = np.logaddexp(np.logaddexp.reduce(scale * cosines, axis=1), np.log(UNRELATED_WINDOWS))
    return Background(scale, np.asarray(total - np.log(cosines.shape[1] + UNRELATED_WINDOWS)))


def combine(evidence: NDArray[np.float64]) -> NDArray[np.float64]:
    """Add evidence.

    Args:
        evidence: ``(M, R)`` float64, one row a source of it; NaN where a candidate has none.

    Returns:
        ``(R,)`` float64; minus infinity where a candidate has no evidence at all.
    """
    there = ~np.isnan(evidence)
    return np.where(there.any(axis=0), np.where(there, evidence, 0.0).sum(axis=0), -np.inf)


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
