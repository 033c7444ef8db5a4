"""Smoothing, segments and activities while the windows still come, with a memory of fixed size.

Once finished, what :meth:`RollingDecision.push` gave and what :meth:`RollingDecision.finish` gives are together what
:class:`handler.smoothing.ActivitySmoothing`, :func:`handler.segments.build_segments` and
:func:`handler.segments.rank_activities` give for the whole clip at once. What ``push`` gives never changes again;
:meth:`RollingDecision.preview` says what the rest would be if the clip ended now.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from handler.options import ResolvedOptions
from handler.rolling.segments import RollingSegments, SegmentRules, WindowRow, in_order
from handler.segments import Activity, Segment
from handler.smoothing import ActivitySmoothing
from handler.windows import Schedule, Span
from models.config import ModelConfig


@dataclass(frozen=True)
class DecisionRules:
    """How scores become segments and activities; the same for all windows of a stream."""

    segments: SegmentRules
    smoothing: ActivitySmoothing
    stride_windows: int
    """Every how many of the schedule's windows one is kept, at least 1."""
    top_k: int
    window_hops: int
    """Hops in a window."""

    @classmethod
    def of(cls, config: ModelConfig, options: ResolvedOptions) -> Self:
        """The rules of a request's options."""
        return cls(
            segments=SegmentRules(
                task=config.head.task,
                labels=options.labels,
                threshold=options.threshold,
                min_segment_seconds=options.min_segment_seconds,
                allowed=options.allowed,
                stride_seconds=config.windows.stride_seconds,
            ),
            smoothing=ActivitySmoothing(options.smoothing_windows, options.lookahead_windows),
            stride_windows=options.stride_windows,
            top_k=options.top_k,
            window_hops=config.windows.hops,
        )


@dataclass(frozen=True)
class DecidedWindows:
    """Windows of the answer, in the order of time; W of them, or none."""

    indexes: tuple[int, ...]
    """The schedule's window at each position."""
    spans: tuple[Span, ...]
    """What each of them sees, cut at the clip's end."""
    scores: NDArray[np.float64]
    """``(W, K)`` in [0, 1], as the model gives them."""
    smoothed: NDArray[np.float64]
    """``(W, K)`` in [0, 1]."""


@dataclass(frozen=True)
class Decided:
    """What became known at one step."""

    segments: tuple[Segment, ...]
    """By start, then stop, then the order of the labels."""
    windows: DecidedWindows
    activities: tuple[Activity, ...]
    """Of all that was decided up to here, best first."""


class RollingDecision:
    """The decision over a stream of windows.

    Args:
        rules: how scores become segments and activities.
        start_seconds: the clip's start.
    """

    def __init__(self, rules: DecisionRules, start_seconds: float) -> None:
        num_labels = len(rules.segments.labels)
        self.rules = rules
        # Only centres are asked of it, and these do not depend on where the clip ends.
        self._schedule = Schedule(
            Span(start_seconds, start_seconds), rules.segments.stride_seconds, rules.window_hops, num_hops=1
        )
        self._segments = RollingSegments(rules.segments, start_seconds)
        self._num_rows = 0
        self._decided = 0
        self._recent = np.zeros((0, num_labels))
        self._unkept = np.zeros((0, num_labels))
        self._sums = np.zeros(num_labels)
        self._sum_seconds = 0.0
        self._highest = np.zeros(num_labels)

    @classmethod
    def begin(cls, config: ModelConfig, options: ResolvedOptions, start_seconds: float) -> Self:
        """The decision of a stream that begins at ``start_seconds``."""
        return cls(DecisionRules.of(config, options), start_seconds)

    @property
    def num_windows(self) -> int:
        """How many of the schedule's windows were pushed."""
        return self._num_rows

    @property
    def final_until_seconds(self) -> float:
        """What lies before is decided, and no segment that begins before is still to come."""
        decided = self._schedule.span.start_seconds if not self._decided else self._edge_seconds(self._decided)
        return min(decided, self._segments.pending_seconds)

    def push(self, scores: NDArray[np.floating]) -> Decided:
        """Take the scores of the schedule's next windows.

        Args:
            scores: ``(n, K)`` float, finite, in the order of time; a row for each window of the schedule, also where
                the answer keeps every n-th only. n may be 0.

        Returns:
            What became final.

        Raises:
            ValueError: when the shape is another one.
        """
        rows = np.asarray(scores, dtype=np.float64)
        if rows.shape[1:] != (len(self.rules.segments.labels),):
            raise ValueError(f"scores must be (n, {len(self.rules.segments.labels)}), got {rows.shape}")
        if len(rows):
            stride = self.rules.stride_windows
            self._recent = np.concatenate([self._recent, rows[-self._num_rows % stride :: stride]])
            self._num_rows += len(rows)
            self._unkept = rows[-1:].copy() if (self._num_rows - 1) % stride else rows[:0]
        return self._decide()

    def preview(self, stop_seconds: float, scores: NDArray[np.floating] | None = None) -> Decided:
        """What :meth:`finish` would give now. Nothing changes by it.

        Args:
            stop_seconds: where the clip would end.
            scores: ``(n, K)``, as if they had been pushed before; None for none.
        """
        decision = copy.deepcopy(self)
        pushed = decision.push(self._unkept[:0] if scores is None else scores)
        return _joined(pushed, decision.finish(stop_seconds))

    def finish(self, stop_seconds: float) -> Decided:
        """Take the last window that was pushed as the clip's last one; nothing can be pushed after.

        Args:
            stop_seconds: where the clip ends.

        Returns:
            What was not final before, and the activities of the whole clip.

        Raises:
            ValueError: when the clip would end before its last window's part of it begins.
        """
        self._recent = np.concatenate([self._recent, self._unkept])
        decided = self._decide(stop_seconds)
        return Decided(
            tuple(in_order([*decided.segments, *self._segments.finish()])), decided.windows, decided.activities
        )

    def activities(self) -> tuple[Activity, ...]:
        """The activities of all windows that were decided, best first; none where there are none."""
        if not self._decided:
            return ()
        rules = self.rules.segments
        # A clip of one image has no length, and one window.
        by_mean = rules.task == "single_label" and self._sum_seconds > 0
        scores = self._sums / self._sum_seconds if by_mean else self._highest
        order = [index for index in np.argsort(-scores, kind="stable") if rules.allowed[index]]
        return tuple(Activity(rules.labels[index], float(scores[index])) for index in order[: self.rules.top_k])

    def export(self) -> dict[str, Any]:
        """The memory: JSON values, and arrays. Its size does not grow with the stream."""
        return {
            "start_seconds": self._schedule.span.start_seconds,
            "num_rows": self._num_rows,
            "decided": self._decided,
            "recent": self._recent,
            "unkept": self._unkept,
            "sums": self._sums,
            "sum_seconds": self._sum_seconds,
            "highest": self._highest,
            "segments": self._segments.export(),
        }

    @classmethod
    def restore(cls, rules: DecisionRules, memory: Mapping[str, Any]) -> Self:
        """Go on from what :meth:`export` gave under the same rules.

        Raises:
            ValueError: when the memory is of other rules.
        """
        decision = cls(rules, memory["start_seconds"])
        decision._num_rows, decision._decided = memory["num_rows"], memory["decided"]
        decision._recent, decision._unkept = memory["recent"], memory["unkept"]
        decision._sums, decision._highest = memory["sums"], memory["highest"]
        decision._sum_seconds = memory["sum_seconds"]
        shapes = [array.shape[-1:] for array in (decision._recent, decision._unkept, decision._sums, decision._highest)]
        if set(shapes) != {(len(rules.segments.labels),)}:
            raise ValueError(f"the memory has scores {shapes} of {len(rules.segments.labels)} labels")
        decision._segments = RollingSegments.restore(rules.segments, memory["start_seconds"], memory["segments"])
        return decision

    @property
    def _first_recent(self) -> int:
        """Position of the oldest window that is remembered: the smoothing of the next one looks back no further."""
        return max(0, self._decided - (self.rules.smoothing.num_windows - 1 - self.rules.smoothing.lookahead))

    def _decide(self, stop_seconds: float = math.inf) -> Decided:
        """Decide what can be; all that is there where ``stop_seconds`` says the clip's end."""
        base = self._first_recent
        num_kept = base + len(self._recent)
        # Where a window's part of the timeline ends is known with the next one only.
        ahead = max(self.rules.smoothing.lookahead, 1) if math.isinf(stop_seconds) else 0
        first, stop = self._decided, max(self._decided, num_kept - ahead)
        indexes = [self._index(position) for position in range(first, stop)]
        scores = self._recent[first - base : stop - base]
        smoothed = self.rules.smoothing(self._recent)[first - base : stop - base]
        rows = [
            WindowRow(
                scores=row,
                start_seconds=self._edge_seconds(position),
                stop_seconds=self._edge_seconds(position + 1) if position + 1 < num_kept else stop_seconds,
                centre_seconds=self._schedule.centre_seconds(self._index(position)),
            )
            for position, row in zip(range(first, stop), smoothed, strict=True)
        ]
        self._add_up(rows)
        segments = tuple(self._segments.push(rows))
        self._decided = stop
        self._recent = self._recent[self._first_recent - base :].copy()
        windows = DecidedWindows(
            tuple(indexes), tuple(self._window_span(index, stop_seconds) for index in indexes), scores, smoothed
        )
        return Decided(segments, windows, self.activities())

    def _index(self, position: int) -> int:
        """The schedule's window at a position; the last one is kept wherever it lies."""
        return min(position * self.rules.stride_windows, self._num_rows - 1)

    def _edge_seconds(self, position: int) -> float:
        if position == 0:
            return self._schedule.span.start_seconds
        return self._schedule.centre_seconds((self._index(position - 1) + self._index(position)) / 2)

    def _window_span(self, index: int, stop_seconds: float) -> Span:
        start = self._schedule.span.start_seconds + index * self._schedule.stride_seconds
        return Span(start, max(start, min(start + self._schedule.window_seconds, stop_seconds)))

    def _add_up(self, rows: Sequence[WindowRow]) -> None:
        for row in rows:
            seconds = row.stop_seconds - row.start_seconds
            if seconds < 0:
                raise ValueError(f"the clip cannot end at {row.stop_seconds:g} s, before its last window's part of it")
            self._sums = self._sums + seconds * row.scores
            self._sum_seconds += seconds
            self._highest = np.maximum(self._highest, row.scores)


def _joined(first: Decided, then: Decided) -> Decided:
    windows = DecidedWindows(
        first.windows.indexes + then.windows.indexes,
        first.windows.spans + then.windows.spans,
        np.concatenate([first.windows.scores, then.windows.scores]),
        np.concatenate([first.windows.smoothed, then.windows.smoothed]),
    )
    return Decided(tuple(in_order([*first.segments, *then.segments])), windows, then.activities)
