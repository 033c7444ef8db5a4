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

from handler.rolling.decision import Decided, DecisionRules, RollingDecision
from handler.rolling.segments import SegmentRules, in_order
from handler.segments import Activity, Segment, Task, build_segments, rank_activities
from handler.smoothing import ActivitySmoothing
from handler.windows import Schedule, Span, build_schedule
from models.config import WindowConfig

LABELS = ("a", "b", "c", "d")
TOP_K = 3


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
    """All, not the best alone: of labels that a rounding tells apart either may be the better one."""
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
    rules = DecisionRules(made, ActivitySmoothing(*smoothing), stride_windows, TOP_K, window_hops)
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
        min_segment_seconds=draw(st.sampled_from([0.0, 0.1, 0.3, 0.5, 1.0, 1.7, 2.0, 3.0, 5.0, 50.0])),
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
    best = expected[:TOP_K]
    assert [activity.score for activity in found] == pytest.approx([each.score for each in best], abs=1e-9)
    scores = {activity.label: activity.score for activity in expected}
    assert [scores[activity.label] for activity in found] == pytest.approx([each.score for each in best], abs=1e-9)
    assert len({activity.label for activity in found}) == len(found)


def check_windows(parts: list[Decided], expected: Whole) -> None:
    assert tuple(index for part in parts for index in part.windows.indexes) == expected.indexes
    assert tuple(span for part in parts for span in part.windows.spans) == expected.spans
    assert (np.concatenate([part.windows.scores for part in parts]) == expected.scores).all()
    assert (np.concatenate([part.windows.smoothed for part in parts]) == expected.smoothed).all()


def check_whole(parts: list[Decided], expected: Whole) -> None:
    check_same(in_order(segment for part in parts for segment in part.segments), expected.segments)
    check_windows(parts, expected)
    check_ranking(parts[-1].activities, expected.activities)


@settings(max_examples=400)
@given(streams(), st.lists(st.integers(0, 40), max_size=12))
def test_in_pieces_it_is_the_whole(stream: Stream, cuts: list[int]) -> None:
    decision = stream.begin()
    parts = []
    for rows in cut(stream, cuts):
        parts.append(decision.push(rows))
        decision = RollingDecision.restore(stream.rules, sent(decision.export()))
    parts.append(decision.finish(stream.stop_seconds))
    check_whole(parts, whole(stream))
    assert decision.activities() == parts[-1].activities


@settings(max_examples=150)
@given(streams(), st.integers(1, 40), st.integers(0, 3))
def test_the_preview_is_what_a_clip_that_ends_there_is(stream: Stream, length: int, more: int) -> None:
    length = min(length, len(stream.scores))
    rows = stream.scores[:length]
    hops = length + stream.rules.window_hops - 1
    span = Span(stream.schedule.span.start_seconds, stream.schedule.hop_span(hops - 1).stop_seconds)
    windows = WindowConfig(stride_seconds=stream.schedule.stride_seconds, hops=stream.rules.window_hops)
    ended = Stream(stream.rules, build_schedule(span, windows), rows)
    decision = stream.begin()
    pushed = decision.push(rows[: length - more] if more < length else rows[:0])
    before = sent(decision.export())
    preview = decision.preview(span.stop_seconds, rows[length - more if more < length else 0 :])
    check_whole([pushed, preview], whole(ended))
    assert equal(decision.export(), before)


def equal(one: Any, other: Any) -> bool:
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(equal(one[key], other[key]) for key in one)
    return np.array_equal(one, other) if isinstance(one, np.ndarray) else bool(one == other)


def one_hot(pattern: str) -> NDArray[np.float64]:
    """A row of certainty for each letter; a dot is a row of zeros."""
    return np.array([[float(letter == label) for label in LABELS[:3]] for letter in pattern])


def told(pattern: str, **options: Any) -> list[str]:
    """What each window of a pattern makes final, as ``label start-stop``; the last entry is what finishing does."""
    stream = stream_of(one_hot(pattern), **options)
    decision = stream.begin()
    parts = [decision.push(stream.scores[place : place + 1]) for place in range(len(pattern))]
    parts.append(decision.finish(stream.stop_seconds))
    return [" ".join(f"{s.label}{s.start_seconds:g}-{s.stop_seconds:g}" for s in part.segments) for part in parts]


def test_a_segment_is_final_when_nothing_can_be_joined_to_it_any_more() -> None:
    # A window's part of the timeline ends where the next one's begins: each is decided one window later.
    assert told("aab.") == ["", "", "", "a0-2", "b2-3"]
    assert told("aa.b") == ["", "", "", "a0-2", "b3-4"]
    assert told("aa..") == ["", "", "", "a0-2", ""]


def test_a_window_is_final_when_the_smoothing_has_seen_ahead() -> None:
    for smoothing, ahead in (((5, 2), 2), ((5, 4), 4), ((5, 1), 1), ((5, 0), 1), ((1, 0), 1)):
        stream = stream_of(one_hot("aabbccaab"), smoothing=smoothing)
        decision = stream.begin()
        told = [decision.push(stream.scores[place : place + 1]).windows.indexes for place in range(9)]
        assert told == [()] * ahead + [(place,) for place in range(9 - ahead)]
        assert decision.finish(9.0).windows.indexes == tuple(range(9 - ahead, 9))


def test_ties_leave_no_segment_without_time() -> None:
    """Both edges of the middle window lie at its centre."""
    scores = np.array([[0.0, 1.0, 0.0], [0.4, 0.4, 0.4], [0.0, 0.0, 1.0]])
    stream = stream_of(scores)
    decision = stream.begin()
    parts = [decision.push(scores), decision.finish(3.0)]
    assert [s.stop_seconds for part in parts for s in part.segments] == [1.5, 2.0, 3.0]
    check_whole(parts, whole(stream))


def test_what_is_dropped_behind_a_segment_may_still_become_part_of_it() -> None:
    assert told("aabcaa", min_segment_seconds=2.0) == ["", "", "", "", "", "", "a0-6"]
    assert told("aabc.", min_segment_seconds=2.0) == ["", "", "", "", "", "a0-2"]
    assert told("aabc..", min_segment_seconds=2.0) == ["", "", "", "", "", "a0-2", ""]
    assert told("aabccc", min_segment_seconds=2.0) == ["", "", "", "", "", "a0-2", "c3-6"]
    assert told("bcaabaa.", min_segment_seconds=2.0) == ["", "", "", "", "", "", "", "", "a2-7"]


def test_a_joined_segment_has_the_mean_of_all_its_windows() -> None:
    of_a = [0.9, 0.7, 0.2, 0.3, 0.8, 0.6]
    scores = np.array([[score, 0.0, 0.0] for score in of_a])
    scores[2, 1], scores[3, 2] = 0.8, 0.4
    stream = stream_of(scores, min_segment_seconds=2.0)
    decision = stream.begin()
    assert decision.push(scores).segments == ()
    (segment,) = decision.finish(6.0).segments
    assert segment.label == "a"
    assert segment.score == pytest.approx(sum(of_a) / 6)


def test_an_edge_waits_for_the_length_of_the_segment_behind_it() -> None:
    """The scores cross at 3.2 s, but b is to keep its 3 s: it has to become longer first."""
    scores = np.array([[0.9, 0.0]] * 3 + [[0.5, 0.6], [0.0, 0.9], [0.0, 0.9], [0.0, 0.9], [0.0, 0.9]])
    crossing = 2.5 + 0.9 / (0.9 + 0.1)
    stream = stream_of(scores, min_segment_seconds=3.0)
    decision = stream.begin()
    assert decision.push(scores[:7]).segments == ()
    (first,) = decision.push(scores[7:]).segments
    assert first.start_seconds == 0.0
    assert first.stop_seconds == pytest.approx(crossing)
    short = stream.begin()
    short.push(scores[:6])
    assert [s.stop_seconds for s in short.finish(6.0).segments] == [3.0, 6.0]
    middle = stream.begin()
    middle.push(scores[:6])
    assert [s.stop_seconds for s in middle.finish(6.25).segments] == [3.25, 6.25]


def test_a_clip_shorter_than_a_segment_keeps_its_first_longest_run() -> None:
    assert told("abb.cc", min_segment_seconds=9.0) == ["", "", "", "", "", "", "b1-3"]
    assert told("abbacc", min_segment_seconds=6.5) == ["", "", "", "", "", "", "b1-3"]
    assert told("abb.cc", min_segment_seconds=6.0) == [""] * 7
    assert told("cabb", min_segment_seconds=9.0) == ["", "", "", "", "b2-4"]


def test_the_activities_are_those_so_far() -> None:
    stream = stream_of(one_hot("aab"))
    decision = stream.begin()
    assert decision.activities() == decision.push(stream.scores[:1]).activities == ()
    assert decision.push(stream.scores[1:]).activities[0] == Activity("a", 1.0)
    assert decision.preview(3.0).activities[:2] == (Activity("a", 2 / 3), Activity("b", 1 / 3))
    assert decision.finish(5.0).activities[:2] == (Activity("b", 0.6), Activity("a", 0.4))


def test_a_clip_of_one_image_has_activities() -> None:
    stream = stream_of(np.array([[0.25, 0.75]]), num_hops=1, part_of_last_hop=0.0)
    decision = stream.begin()
    decision.push(stream.scores)
    decided = decision.finish(0.0)
    assert decided.activities == (Activity("b", 0.75), Activity("a", 0.25)) == whole(stream).activities
    assert decided.windows.spans == (Span(0.0, 0.0),)


def test_a_stream_of_no_window_has_nothing() -> None:
    decision = stream_of(one_hot("a")).begin()
    for decided in (decision.push(np.zeros((0, 3))), decision.preview(0.2), decision.finish(0.2)):
        assert (decided.segments, decided.activities, decided.windows.indexes) == ((), (), ())
        assert decided.windows.scores.shape == decided.windows.smoothed.shape == (0, 3)


@pytest.mark.parametrize("task", ["single_label", "multi_label"])
def test_the_memory_does_not_grow(task: Task) -> None:
    rng = np.random.default_rng(0)
    scores = np.repeat(rng.random((5_000, 4)), rng.integers(1, 8, 5_000), axis=0)[:10_000]
    stream = stream_of(scores, task=task, min_segment_seconds=3.0, smoothing=(5, 2), stride_windows=3)
    decision = stream.begin()
    sizes = []
    for rows in np.array_split(scores, 200):
        decision.push(rows)
        memory = decision.export()
        plain = len(json.dumps(memory, default=lambda array: array.nbytes))
        arrays = (memory["recent"], memory["unkept"], memory["sums"], memory["highest"])
        sizes.append((sum(array.nbytes for array in arrays), plain))
    assert decision.num_windows == 10_000
    assert max(size for size, _ in sizes) <= 8 * 4 * ((5 - 1 + 2) + 1 + 2)
    assert max(plain for _, plain in sizes[100:]) <= max(plain for _, plain in sizes[:100]) + 50  # digits


def test_a_memory_of_other_rules_is_refused() -> None:
    memory = stream_of(one_hot("aab")).begin()
    memory.push(one_hot("aab"))
    wider = stream_of(np.zeros((3, 4)))
    with pytest.raises(ValueError, match="of 4 labels"):
        RollingDecision.restore(wider.rules, memory.export())
    several = stream_of(one_hot("aab"), task="multi_label")
    with pytest.raises(ValueError, match="1 sequences of labels"):
        RollingDecision.restore(several.rules, memory.export())


def test_scores_of_another_width_are_refused() -> None:
    with pytest.raises(ValueError, match=r"scores must be \(n, 3\), got \(2, 4\)"):
        stream_of(one_hot("aab")).begin().push(np.zeros((2, 4)))


def test_a_clip_cannot_end_before_its_last_window() -> None:
    decision = stream_of(one_hot("aab")).begin()
    decision.push(one_hot("aab"))
    with pytest.raises(ValueError, match=r"cannot end at 1.5 s"):
        decision.finish(1.5)
