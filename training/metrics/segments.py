"""How good timed activity labels are: by segment, by order and by boundary.

Everything is in continuous time, so no frame rate enters. The segmental measures are those of Lea et al., "Temporal
Convolutional Networks for Action Segmentation and Detection" (CVPR 2017), in the definitions of the evaluation code of
MS-TCN (Farha and Gall, CVPR 2019), on which published numbers rest; all are given in 0..1 where that code prints
0..100.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

DEFAULT_CAP_SECONDS = 5.0
"""The largest error that one boundary can count; also what it counts where nothing is predicted."""


class LabelledSpan(Protocol):
    """Anything with a label and a half-open interval: a segment of an answer, or of a manifest."""

    @property
    def start_seconds(self) -> float:
        """Start on the clip's timeline."""

    @property
    def stop_seconds(self) -> float:
        """End, not included."""

    @property
    def label(self) -> str:
        """The activity."""


Spans = Sequence[LabelledSpan]


@dataclass(frozen=True)
class MatchCounts:
    """How many segments were found; counts of several clips add up."""

    true_positives: int = 0
    false_positives: int = 0
    false_negatives: int = 0

    def __add__(self, other: MatchCounts) -> MatchCounts:
        return MatchCounts(
            self.true_positives + other.true_positives,
            self.false_positives + other.false_positives,
            self.false_negatives + other.false_negatives,
        )

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall, in 0..1; 1 where there was nothing to find and nothing was found."""
        total = 2 * self.true_positives + self.false_positives + self.false_negatives
        return 2 * self.true_positives / total if total else 1.0


def match_segments(predicted: Spans, truth: Spans, min_iou: float) -> MatchCounts:
    """Match one clip's segments.

    In the order given, each predicted segment is compared with the true segment of its label that it overlaps most
    (intersection over union in time; the earlier one of equals). It is right when that overlap is at least
    ``min_iou`` and no prediction before it has taken this true segment; a second one is wrong, even where another
    true segment would still be free.

    Args:
        predicted: the clip's predicted segments.
        truth: its true segments.
        min_iou: in (0, 1].

    Raises:
        ValueError: when ``min_iou`` is out of range.
    """
    if not 0 < min_iou <= 1:
        raise ValueError(f"min_iou must be above 0 and at most 1, got {min_iou}")
    taken = [False] * len(truth)
    for segment in predicted:
        overlaps = [_iou(segment, other) if segment.label == other.label else 0.0 for other in truth]
        best = max(range(len(truth)), key=overlaps.__getitem__, default=None)
        if best is not None and overlaps[best] >= min_iou:
            taken[best] = True
    found = sum(taken)  # taken twice counts once
    return MatchCounts(found, len(predicted) - found, len(truth) - found)


def clip_edit_score(predicted: Spans, truth: Spans) -> float:
    """One clip's edit score in 0..1: whether the right activities come in the right order, whatever their times.

    One minus the Levenshtein distance between the two sequences of labels, divided by the longer one's length; 1 when
    both are empty.
    """
    longer = max(len(predicted), len(truth))
    if not longer:
        return 1.0
    distance = _levenshtein([segment.label for segment in predicted], [segment.label for segment in truth])
    return 1.0 - distance / longer


def clip_boundary_errors(
    predicted: Spans, truth: Spans, *, cap_seconds: float = DEFAULT_CAP_SECONDS
) -> NDArray[np.float64]:
    """For each true inner boundary of one clip, how far the nearest predicted inner boundary is.

    Inner boundaries are the starts of all segments but the earliest and the stops of all but the latest; where one
    segment ends as the next begins, that is one boundary. The clip's own ends are left out: they are given, not found.

    Args:
        predicted: the clip's predicted segments.
        truth: its true segments.
        cap_seconds: an error counts at most this; so does a boundary where no inner boundary is predicted.

    Returns:
        ``(B,)`` float64 seconds, one for each of the B true inner boundaries in the order of time.
    """
    true_seconds, predicted_seconds = _inner_boundaries(truth), _inner_boundaries(predicted)
    if not len(predicted_seconds):
        return np.full(len(true_seconds), cap_seconds)
    distances = np.abs(true_seconds[:, None] - predicted_seconds[None, :]).min(axis=1)
    return np.asarray(np.minimum(distances, cap_seconds), dtype=np.float64)


def _iou(first: LabelledSpan, second: LabelledSpan) -> float:
    stop, start = min(first.stop_seconds, second.stop_seconds), max(first.start_seconds, second.start_seconds)
    union = max(first.stop_seconds, second.stop_seconds) - min(first.start_seconds, second.start_seconds)
    return max(0.0, stop - start) / union if union > 0 else 0.0


def _levenshtein(first: Sequence[str], second: Sequence[str]) -> int:
    """The fewest insertions, deletions and replacements that turn one sequence into the other."""
    above = list(range(len(second) + 1))
    for row, left_label in enumerate(first, start=1):
        current = [row]
        for column, (corner, over) in enumerate(pairwise(above)):
            replaced = corner + (left_label != second[column])
            current.append(min(over + 1, current[column] + 1, replaced))
        above = current
    return above[-1]


def _inner_boundaries(segments: Spans) -> NDArray[np.float64]:
    """Inner boundaries in seconds, rising, to the microsecond, so that the same time in two roundings is one."""
    starts = sorted(segment.start_seconds for segment in segments)[1:]
    stops = sorted(segment.stop_seconds for segment in segments)[:-1]
    return np.unique(np.round(np.array([*starts, *stops], dtype=np.float64), 6))
