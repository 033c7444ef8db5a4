"""Segments: from the smoothed scores of a request's windows to labelled spans of its timeline."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from handler.windows import WindowSelection

Task = Literal["single_label", "multi_label"]

NO_LABEL = -1
"""Index of no label at all."""
DURATION_TOLERANCE_SECONDS = 1e-9


@dataclass(frozen=True)
class Segment:
    """A labelled span of the answer, ``[start_seconds, stop_seconds)``."""

    start_seconds: float
    stop_seconds: float
    label: str
    score: float
    """Mean smoothed score of the label over the segment's windows, in [0, 1]."""
    description: str | None = None
    """One line of words about what is seen; None where none was asked for or made."""

    def __post_init__(self) -> None:
        if not all(map(math.isfinite, (self.start_seconds, self.stop_seconds, self.score))):
            raise ValueError(f"a segment must be finite, got {self}")
        if self.stop_seconds < self.start_seconds:
            raise ValueError(f"a segment must not stop before it starts, got {self}")


@dataclass(frozen=True)
class Activity:
    """One label's score for the whole clip."""

    label: str
    score: float

    def __post_init__(self) -> None:
        if not math.isfinite(self.score):
            raise ValueError(f"a score must be finite, got {self}")


@dataclass(frozen=True)
class _Run:
    """Neighbouring windows ``first .. stop - 1`` of one label."""

    first: int
    stop: int
    label: int


def rank_activities(
    scores: NDArray[np.float64],
    windows: WindowSelection,
    labels: Sequence[str],
    *,
    task: Task,
    top_k: int,
    allowed: Sequence[bool],
) -> tuple[Activity, ...]:
    """The clip's activities, best first; of equal scores the model's earlier label first.

    With ``single_label`` a label's score is its mean over the clip's time, so the scores of all labels sum to 1; with
    ``multi_label``, where labels do not compete for time, its highest score.

    Args:
        scores: ``(W, K)`` float64, smoothed.
        windows: the W windows.
        labels: the K labels.
        task: how the scores are normalised.
        top_k: at most so many are given.
        allowed: K flags; others are left out.
    """
    if task == "multi_label":
        clip_scores = scores.max(axis=0)
    else:
        seconds = np.diff(windows.edges_seconds)
        weights = seconds if seconds.sum() > 0 else np.ones(len(windows))  # a clip of one image has no length
        clip_scores = np.average(scores, axis=0, weights=weights)
    order = [index for index in np.argsort(-clip_scores, kind="stable") if allowed[index]]
    return tuple(Activity(labels[index], float(clip_scores[index])) for index in order[:top_k])


def build_segments(
    scores: NDArray[np.float64],
    windows: WindowSelection,
    labels: Sequence[str],
    *,
    task: Task,
    threshold: float,
    min_segment_seconds: float,
    allowed: Sequence[bool],
) -> tuple[Segment, ...]:
    """Segments of one request, by start, then stop, then the order of the labels.

    With ``single_label`` a window has the best allowed label, if that reaches ``threshold``; with ``multi_label`` it
    has each allowed label that does. A run of windows with one label is a segment: the spans that its windows decide.
    A run shorter than ``min_segment_seconds`` is dropped, except that a clip shorter than that keeps its longest run.
    Two runs of one label that have nothing but dropped runs between them are one segment. Between two segments that
    touch, the edge is refined (:func:`_refine_edges`).

    Args:
        scores: ``(W, K)`` float64, smoothed.
        windows: the W windows; their decided spans tile the clip.
        labels: the K labels.
        task: how the scores are normalised.
        threshold: smallest smoothed score of a segment's window, in [0, 1].
        min_segment_seconds: smallest length of a segment.
        allowed: K flags; other labels make no segment.

    Raises:
        ValueError: when the shapes do not agree.
    """
    if scores.shape != (len(windows), len(labels)) or len(allowed) != len(labels):
        raise ValueError(f"scores {scores.shape} must be {len(windows)} windows by {len(labels)} labels")
    edges = windows.edges_seconds
    segments: list[Segment] = []
    for assigned in assign_labels(scores, task=task, threshold=threshold, allowed=allowed):
        runs = _runs(_without_short_runs(assigned, edges, min_segment_seconds))
        starts = np.array([edges[run.first] for run in runs])
        stops = np.array([edges[run.stop] for run in runs])
        if task == "single_label":
            starts, stops = _refine_edges(runs, scores, windows, (starts, stops), min_segment_seconds)
        for run, start, stop in zip(runs, starts.tolist(), stops.tolist(), strict=True):
            score = float(scores[run.first : run.stop, run.label].mean())
            segments.append(Segment(start, stop, labels[run.label], score))
    return tuple(sorted(segments, key=lambda segment: (segment.start_seconds, segment.stop_seconds)))


def assign_labels(
    scores: NDArray[np.float64], *, task: Task, threshold: float, allowed: Sequence[bool]
) -> list[NDArray[np.int64]]:
    """The label of each window: one sequence with ``single_label``, one for each allowed label with ``multi_label``.

    Args:
        scores: ``(W, K)`` float64, smoothed.
        task: how the scores are normalised.
        threshold: smallest smoothed score of a window that has a label.
        allowed: K flags; a window has no other label.

    Returns:
        Label indexes, each ``(W,)``, or :data:`NO_LABEL`.
    """
    columns = np.flatnonzero(allowed)
    if task == "multi_label":
        return [np.where(scores[:, column] >= threshold, column, NO_LABEL) for column in columns]
    best = columns[np.argmax(scores[:, columns], axis=1)]
    reached = scores[np.arange(len(best)), best] >= threshold
    return [np.where(reached, best, NO_LABEL)]


def _runs(assigned: NDArray[np.int64]) -> list[_Run]:
    """The runs of equal labels in ``(W,)`` label indexes, without those of no label."""
    changes = (np.flatnonzero(np.diff(assigned)) + 1).tolist()
    bounds = zip([0, *changes], [*changes, len(assigned)], strict=True)
    runs = [_Run(first, stop, int(assigned[first])) for first, stop in bounds]
    return [run for run in runs if run.label != NO_LABEL]


def _without_short_runs(
    assigned: NDArray[np.int64], edges: NDArray[np.float64], min_segment_seconds: float
) -> NDArray[np.int64]:
    """``assigned`` (W,) without the runs that are too short; a gap that they leave inside one label is closed."""
    runs = _runs(assigned)
    durations = [float(edges[run.stop] - edges[run.first]) for run in runs]
    kept = [duration >= min_segment_seconds - DURATION_TOLERANCE_SECONDS for duration in durations]
    if runs and edges[-1] - edges[0] < min_segment_seconds:
        kept[durations.index(max(durations))] = True
    result = assigned.copy()
    dropped = np.zeros(len(assigned), dtype=np.int64)
    for run, keep in zip(runs, kept, strict=True):
        if not keep:
            result[run.first : run.stop] = NO_LABEL
            dropped[run.first : run.stop] = 1
    for gap in _runs(dropped - 1):
        inside = gap.first > 0 and gap.stop < len(result)
        if inside and result[gap.first - 1] == result[gap.stop]:
            result[gap.first : gap.stop] = result[gap.stop]
    return result


def _refine_edges(
    runs: Sequence[_Run],
    scores: NDArray[np.float64],
    windows: WindowSelection,
    bounds: tuple[NDArray[np.float64], NDArray[np.float64]],
    min_segment_seconds: float,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Move the edge between two runs that touch to where their labels' smoothed scores cross.

    Decided spans meet half-way between two centres, so an edge made of them is true to half a stride at best. The
    scores say more: the one label's falls and the other's rises around the change, and on the straight lines between
    the two centres they cross at one time. An edge stays between its two centres, so order and tiling hold, and no
    segment becomes shorter than ``min_segment_seconds`` or half a stride by it.

    Args:
        runs: R runs in the order of time.
        scores: ``(W, K)`` float64, smoothed.
        windows: the W windows.
        bounds: the runs' starts and stops, each ``(R,)`` seconds.
        min_segment_seconds: smallest length of a segment.

    Returns:
        The runs' starts and stops, each ``(R,)`` seconds.
    """
    starts, stops = bounds[0].copy(), bounds[1].copy()
    centres = windows.centres_seconds
    shortest = max(min_segment_seconds, windows.schedule.stride_seconds / 2)  # ties would leave a window no time
    for index, (run, after) in enumerate(pairwise(runs)):
        if run.stop != after.first:
            continue
        lead = scores[run.stop - 1 : run.stop + 1, run.label] - scores[run.stop - 1 : run.stop + 1, after.label]
        way = float(lead[0] / (lead[0] - lead[1])) if lead[0] > lead[1] else 0.5
        crossing = centres[run.stop - 1] + way * (centres[run.stop] - centres[run.stop - 1])
        earliest = min(stops[index], starts[index] + shortest)
        latest = max(starts[index + 1], stops[index + 1] - shortest)
        starts[index + 1] = stops[index] = min(max(crossing, earliest), latest)
    return starts, stops
