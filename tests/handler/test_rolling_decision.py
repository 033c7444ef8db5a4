from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from handler.rolling_decision import Decided, DecisionRules, RollingDecision
from handler.rolling_segments import SegmentRules, in_order
from handler.segments import Activity, Segment, Task, build_segments, rank_activities
from handler.smoothing import ActivitySmoothing
from handler.windows import Schedule, Span, build_schedule
from models.config import WindowConfig

LABELS = ("a", "b", "c", "d")


@dataclass(frozen=True)
class Stream:
    """A clip's scores and how they are decided."""

    rules: DecisionRules
    schedule: Schedule
    scores: NDArray[np.float64]

    @property
    def stop_seconds(self) -> float:
        return self.schedule.span.stop_seconds

    def begin(self) -> RollingDecision:
        return RollingDecision(self.rules, self.schedule.span.start_seconds)


@dataclass(frozen=True)
class Whole:
    """What the offline code says."""

    segments: tuple[Segment, ...]
    activities: tuple[Activity, ...]
    indexes: tuple[int, ...]
    spans: tuple[Span, ...]
    scores: NDArray[np.float64]
    smoothed: NDArray[np.float64]


def whole(stream: Stream) -> Whole:
    rules, made = stream.rules, stream.rules.segments
    windows = stream.schedule.windows_every(rules.stride_windows)
    scores = stream.scores[list(windows.indexes)]
    smoothed = rules.smoothing(scores)
    segments = build_segments(
        smoothed,
        windows,
        made.labels,
        task=made.task,
        threshold=made.threshold,
        min_segment_seconds=made.min_segment_seconds,
        allowed=made.allowed,
    )
    activities = rank_activities(
        smoothed, windows, made.labels, task=made.task, top_k=rules.top_k, allowed=made.allowed
    )
    spans = tuple(windows.window_span(position) for position in range(len(windows)))
    return Whole(segments, activities, windows.indexes, spans, scores, smoothed)


def stream_of(
    scores: NDArray[np.float64],
    *,
    task: Task = "single_label",
    threshold: float = 0.3,
    min_segment_seconds: float = 0.0,
    allowed: tuple[bool, ...] | None = None,
    smoothing: tuple[int, int] = (1, 0),
    stride_windows: int = 1,
    window_hops: int = 1,
    stride_seconds: float = 1.0,
    start_seconds: float = 0.0,
    part_of_last_hop: float = 1.0,
    num_hops: int | None = None,
) -> Stream:
    """Scores of all windows of a clip; ``part_of_last_hop`` in (0.5, 1.5] is how much of the last hop is there."""
    labels = LABELS[: scores.shape[1]]
    hops = len(scores) + window_hops - 1 if num_hops is None else num_hops
    span = Span(start_seconds, start_seconds + (hops - 1 + part_of_last_hop) * stride_seconds)
    schedule = build_schedule(span, WindowConfig(stride_seconds=stride_seconds, hops=window_hops))
    assert schedule.num_windows == len(scores)
    made = SegmentRules(task, labels, threshold, min_segment_seconds, allowed or (True,) * len(labels), stride_seconds)
    rules = DecisionRules(made, ActivitySmoothing(*smoothing), stride_windows, 3, window_hops)
    return Stream(rules, schedule, scores)


@st.composite
def streams(draw: st.DrawFn) -> Stream:
    num_labels = draw(st.integers(1, 4))
    num_windows = draw(st.integers(1, 40))
    # Few levels make ties, long and short runs, and windows below the threshold.
    levels = draw(st.sampled_from([(0.0, 1.0), (0.1, 0.4, 0.7), (0.0, 0.25, 0.5, 0.75, 1.0)]))
    cells = st.sampled_from(levels) if draw(st.booleans()) else st.floats(0, 1)
    row = st.lists(cells, min_size=num_labels, max_size=num_labels)
    runs = draw(st.lists(st.tuples(row, st.integers(1, 6)), min_size=1, max_size=num_windows))
    rows = [values for values, length in runs for _ in range(length)][:num_windows]
    smoothing = draw(st.integers(1, 6))
    window_hops = draw(st.integers(1, 4))
    short = draw(st.booleans()) and len(rows) == 1
    return stream_of(
        np.array(rows, dtype=np.float64),
        task=draw(st.sampled_from(["single_label", "multi_label"])),
        threshold=draw(st.sampled_from([0.0, 0.3, 0.5, 0.7])),
        min_segment_seconds=draw(st.sampled_from([0.0, 0.5, 1.0, 1.7, 2.0, 3.0, 5.0, 50.0])),
        allowed=tuple(draw(st.lists(st.booleans(), min_size=num_labels, max_size=num_labels).filter(any))),
        smoothing=(smoothing, draw(st.integers(0, smoothing - 1))),
        stride_windows=draw(st.integers(1, 4)),
        window_hops=window_hops,
        stride_seconds=draw(st.sampled_from([0.1, 0.5, 1.0])),
        start_seconds=draw(st.sampled_from([0.0, -0.3, 1234.567])),
        part_of_last_hop=draw(st.sampled_from([0.55, 0.8, 1.0, 1.45])),
        num_hops=draw(st.integers(1, window_hops)) if short else None,
    )


def cut(stream: Stream, cuts: Iterable[int]) -> list[NDArray[np.float64]]:
    places = [0, *sorted(min(cut, len(stream.scores)) for cut in cuts), len(stream.scores)]
    return [stream.scores[first:stop] for first, stop in pairwise(places)]


def sent(memory: Any) -> Any:
    """Through JSON and back, arrays as they are."""
    if isinstance(memory, dict):
        return {key: sent(value) for key, value in memory.items()}
    return memory.copy() if isinstance(memory, np.ndarray) else json.loads(json.dumps(memory, allow_nan=False))


def check_same(segments: Iterable[Segment], expected: Iterable[Segment]) -> None:
    assert [(s.label, *map(float, (s.start_seconds, s.stop_seconds, s.score))) for s in segments] == [
        (s.label, *(pytest.approx(value, abs=1e-9) for value in (s.start_seconds, s.stop_seconds, s.score)))
        for s in expected
    ]


def check_ranking(found: tuple[Activity, ...], expected: tuple[Activity, ...]) -> None:
    assert [activity.score for activity in found] == pytest.approx([each.score for each in expected], abs=1e-9)
    scores = {activity.label: activity.score for activity in expected}
    assert [scores.get(activity.label) for activity in found] == [
        pytest.approx(each.score, abs=1e-9) for each in expected
    ]


def check_windows(parts: list[Decided], expected: Whole) -> None:
    assert tuple(index for part in parts for index in part.windows.indexes) == expected.indexes
    assert tuple(span for part in parts for span in part.windows.spans) == expected.spans
    assert (np.concatenate([part.windows.scores for part in parts]) == expected.scores).all()
    assert (np.concatenate([part.windows.smoothed for part in parts]) == expected.smoothed).all()


@settings(max_examples=400)
@given(streams(), st.lists(st.integers(0, 40), max_size=12))
def test_in_pieces_it_is_the_whole(stream: Stream, cuts: list[int]) -> None:
    decision = stream.begin()
    parts = []
    for rows in cut(stream, cuts):
        parts.append(decision.push(rows))
        decision = RollingDecision.restore(stream.rules, sent(decision.export()))
    parts.append(decision.finish(stream.stop_seconds))
    expected = whole(stream)
    check_same(in_order(segment for part in parts for segment in part.segments), expected.segments)
    check_windows(parts, expected)
    check_ranking(parts[-1].activities, expected.activities)
    check_ranking(decision.activities(), expected.activities)
