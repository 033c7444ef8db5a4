"""Segments while the windows still come: :func:`handler.segments.build_segments` with a memory of fixed size.

A segment is given as soon as nothing that may follow can change it, and never before. What has to be kept for that, for
each sequence of labels, is the last run that was long enough, what was dropped right behind it (which becomes part of
it when the same label follows), the run that goes on, and, while the edge between two segments that touch may still
move, the one before.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from handler.segments import DURATION_TOLERANCE_SECONDS, NO_LABEL, Segment, Task, assign_labels


@dataclass(frozen=True)
class SegmentRules:
    """What makes a segment, as :func:`handler.segments.build_segments` has it."""

    task: Task
    labels: tuple[str, ...]
    """K labels."""
    threshold: float
    """Smallest smoothed score of a segment's window, in [0, 1]."""
    min_segment_seconds: float
    allowed: tuple[bool, ...]
    """K flags; other labels make no segment."""
    stride_seconds: float
    """Between two windows of the schedule."""


@dataclass(frozen=True)
class WindowRow:
    """One window whose scores and times are final."""

    scores: NDArray[np.float64]
    """``(K,)`` smoothed, in [0, 1]."""
    start_seconds: float
    """Where the part of the timeline that it decides begins."""
    stop_seconds: float
    centre_seconds: float


@dataclass
class _Stretch:
    """Neighbouring windows of one label."""

    label: int
    start_seconds: float
    stop_seconds: float
    total: float
    """Sum of the label's smoothed scores."""
    windows: int

    @property
    def seconds(self) -> float:
        return self.stop_seconds - self.start_seconds

    def add(self, stop_seconds: float, total: float, windows: int) -> None:
        self.stop_seconds = stop_seconds
        self.total += total
        self.windows += windows


@dataclass
class _Sequence:
    """The memory of one sequence of labels: the one of ``single_label``, or that of one label of ``multi_label``."""

    closing: _Stretch | None = None
    """The segment before ``kept``, which it touches, while their common edge waits for the length of ``kept``."""
    wanted_seconds: float = 0.0
    """Where that edge lies if ``kept`` becomes long enough."""
    kept: _Stretch | None = None
    """The last run that is long enough, with all that was joined to it."""
    gap_total: float = 0.0
    """Sum of the scores of ``kept.label`` over the windows dropped right behind it."""
    gap_windows: int = 0
    run: _Stretch | None = None
    """The run that goes on and is not long enough yet."""
    run_total: float = 0.0
    """Sum of the scores of ``kept.label`` over it."""
    crossing_seconds: float | None = None
    """Where the scores of ``kept.label`` and of the run's label cross, if the run touches ``kept``."""
    longest: _Stretch | None = None
    """The first longest of the dropped runs, as long as the clip may turn out to be shorter than a segment."""


class RollingSegments:
    """Segments of a stream of windows.

    Args:
        rules: what makes a segment.
        start_seconds: the clip's start.
    """

    def __init__(self, rules: SegmentRules, start_seconds: float) -> None:
        self.rules = rules
        self._start_seconds = start_seconds
        self._shortest_seconds = max(rules.min_segment_seconds, rules.stride_seconds / 2)
        self._columns = np.flatnonzero(rules.allowed).tolist() if rules.task == "multi_label" else [None]
        self._sequences = [_Sequence() for _ in self._columns]
        self._before: tuple[NDArray[np.float64], float] | None = None

    def push(self, rows: Sequence[WindowRow]) -> list[Segment]:
        """Take the next windows, in the order of time.

        Returns:
            The segments that became final, by start, then stop, then the order of the labels.
        """
        found: list[Segment] = []
        if not rows:
            return found
        assigned = assign_labels(
            np.stack([row.scores for row in rows]),
            task=self.rules.task,
            threshold=self.rules.threshold,
            allowed=self.rules.allowed,
        )
        for position, row in enumerate(rows):
            for sequence, labels in zip(self._sequences, assigned, strict=True):
                found += self._step(sequence, row, int(labels[position]))
            self._before = (row.scores, row.centre_seconds)
        return in_order(found)

    def finish(self) -> list[Segment]:
        """Take the last window that was pushed as the clip's last one.

        Returns:
            The segments that were not final before, in the order of :meth:`push`.
        """
        if self._before is None:
            return []
        found: list[Segment] = []
        for sequence in self._sequences:
            self._end_run(sequence)
            if sequence.kept is None and sequence.longest is not None:
                found.append(self._segment(sequence.longest))
            found += self._close(sequence)
        return in_order(found)

    @property
    def pending_seconds(self) -> float:
        """Where the first segment begins that is not final, or may become one; infinity where there is none."""
        stretches = [(it.closing, it.kept, it.run) for it in self._sequences]
        starts = [stretch.start_seconds for each in stretches for stretch in each if stretch is not None]
        if any(it.longest is not None for it in self._sequences):
            starts.append(self._start_seconds)
        return min(starts, default=math.inf)

    def export(self) -> dict[str, Any]:
        """The memory: JSON values, and arrays."""
        values: dict[str, Any] = {"sequences": [_flat(sequence) for sequence in self._sequences]}
        if self._before is not None:
            values |= {"before_scores": self._before[0], "before_centre_seconds": self._before[1]}
        return values

    @classmethod
    def restore(cls, rules: SegmentRules, start_seconds: float, memory: Mapping[str, Any]) -> Self:
        """Go on from what :meth:`export` gave under the same rules.

        Raises:
            ValueError: when the memory is of other rules.
        """
        segments = cls(rules, start_seconds)
        if len(memory["sequences"]) != len(segments._sequences):
            raise ValueError(f"the memory has {len(memory['sequences'])} sequences of labels")
        segments._sequences = [_unflat(flat) for flat in memory["sequences"]]
        if "before_scores" in memory:
            before = np.asarray(memory["before_scores"], dtype=np.float64)
            if before.shape != (len(rules.labels),):
                raise ValueError(f"the memory has scores {before.shape} of {len(rules.labels)} labels")
            segments._before = (before, memory["before_centre_seconds"])
        return segments

    def _step(self, sequence: _Sequence, row: WindowRow, label: int) -> list[Segment]:
        kept = sequence.kept
        if label == NO_LABEL:
            self._end_run(sequence)
            found = self._close(sequence)
        elif sequence.run is not None and sequence.run.label == label:
            self._extend_run(sequence, sequence.run, row)
            found = self._promote(sequence, sequence.run)
        elif sequence.run is None and kept is not None and kept.label == label:
            kept.add(row.stop_seconds, float(row.scores[label]), 1)
            found = self._settle(sequence, last=False)
        else:
            self._end_run(sequence)
            run = _Stretch(label, row.start_seconds, row.start_seconds, 0.0, 0)
            sequence.run = run
            if kept is not None and not sequence.gap_windows:
                sequence.crossing_seconds = self._crossing(kept.label, label, row)
            self._extend_run(sequence, run, row)
            found = self._promote(sequence, run)
        if row.stop_seconds - self._start_seconds >= self.rules.min_segment_seconds:
            sequence.longest = None
        return found

    def _extend_run(self, sequence: _Sequence, run: _Stretch, row: WindowRow) -> None:
        run.add(row.stop_seconds, float(row.scores[run.label]), 1)
        if sequence.kept is not None:
            sequence.run_total += float(row.scores[sequence.kept.label])

    def _end_run(self, sequence: _Sequence) -> None:
        """Drop the run that goes on: it was too short."""
        run = sequence.run
        if run is None:
            return
        if run.stop_seconds - self._start_seconds < self.rules.min_segment_seconds and (
            sequence.longest is None or run.seconds > sequence.longest.seconds
        ):
            sequence.longest = run
        if sequence.kept is not None:
            sequence.gap_total += sequence.run_total
            sequence.gap_windows += run.windows
        _forget_run(sequence)

    def _promote(self, sequence: _Sequence, run: _Stretch) -> list[Segment]:
        """Keep the run that goes on if it has become long enough."""
        if run.seconds < self.rules.min_segment_seconds - DURATION_TOLERANCE_SECONDS:
            return []
        kept, crossing, found = sequence.kept, sequence.crossing_seconds, []
        if kept is not None and kept.label == run.label:
            kept.add(run.stop_seconds, sequence.gap_total + run.total, sequence.gap_windows + run.windows)
        elif kept is not None and crossing is not None:
            found = self._settle(sequence, last=True)
            sequence.closing, sequence.kept = kept, run
            sequence.wanted_seconds = max(crossing, min(kept.stop_seconds, kept.start_seconds + self._shortest_seconds))
        else:
            found = self._close(sequence)
            sequence.kept = run
        sequence.gap_total, sequence.gap_windows = 0.0, 0
        _forget_run(sequence)
        return found + self._settle(sequence, last=False)

    def _settle(self, sequence: _Sequence, *, last: bool) -> list[Segment]:
        """Fix the edge between the last two segments if their lengths allow no other; ``last``: they grow no more."""
        closing, kept = sequence.closing, sequence.kept
        if closing is None or kept is None:
            return []
        latest = max(kept.start_seconds, kept.stop_seconds - self._shortest_seconds)
        if latest < sequence.wanted_seconds and not last:
            return []
        closing.stop_seconds = kept.start_seconds = min(sequence.wanted_seconds, latest)
        sequence.closing = None
        return [self._segment(closing)]

    def _close(self, sequence: _Sequence) -> list[Segment]:
        """Nothing that follows can be joined to the last segment."""
        found = self._settle(sequence, last=True)
        if sequence.kept is not None:
            found.append(self._segment(sequence.kept))
        sequence.kept, sequence.gap_total, sequence.gap_windows = None, 0.0, 0
        return found

    def _crossing(self, label: int, other: int, row: WindowRow) -> float:
        """Where between the last window and this one the scores of ``label`` fall below those of ``other``."""
        if self._before is None:
            raise ValueError("the first window has none before it")
        before, centre = self._before
        lead = float(before[label] - before[other]), float(row.scores[label] - row.scores[other])
        way = lead[0] / (lead[0] - lead[1]) if lead[0] > lead[1] else 0.5
        return centre + way * (row.centre_seconds - centre)

    def _segment(self, stretch: _Stretch) -> Segment:
        score = stretch.total / stretch.windows
        return Segment(stretch.start_seconds, stretch.stop_seconds, self.rules.labels[stretch.label], score)


def in_order(segments: Iterable[Segment]) -> list[Segment]:
    """By start, then stop, then as they come."""
    return sorted(segments, key=lambda segment: (segment.start_seconds, segment.stop_seconds))


def _forget_run(sequence: _Sequence) -> None:
    sequence.run, sequence.run_total, sequence.crossing_seconds = None, 0.0, None


def _flat(sequence: _Sequence) -> dict[str, Any] | None:
    return None if sequence == _Sequence() else asdict(sequence)


def _unflat(flat: Mapping[str, Any] | None) -> _Sequence:
    values = dict(flat or {})
    for name in ("closing", "kept", "run", "longest"):
        if values.get(name) is not None:
            values[name] = _Stretch(**values[name])
    return _Sequence(**values)
