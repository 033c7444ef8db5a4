from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby, pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from handler.segments import Activity, Segment, Task, build_segments, rank_activities
from handler.smoothing import ActivitySmoothing
from handler.windows import Span, WindowSelection, build_schedule
from models.config import WindowConfig

LABELS = ("a", "b", "c")
ALL = (True, True, True)


def one_second_windows(num_windows: int, start_seconds: float = 0.0) -> WindowSelection:
    """Windows of one hop of a second: window k sees and decides [k, k + 1)."""
    schedule = build_schedule(
        Span(start_seconds, start_seconds + num_windows), WindowConfig(stride_seconds=1.0, hops=1)
    )
    return schedule.windows_every(1)


def segments_of(
    scores: Sequence[Sequence[float]] | NDArray[np.float64],
    *,
    task: Task = "single_label",
    threshold: float = 0.3,
    min_segment_seconds: float = 0.0,
    allowed: Sequence[bool] = ALL,
    windows: WindowSelection | None = None,
) -> list[tuple[float, float, str, float]]:
    array = np.array(scores, dtype=np.float64)
    segments = build_segments(
        array,
        windows or one_second_windows(len(array)),
        LABELS,
        task=task,
        threshold=threshold,
        min_segment_seconds=min_segment_seconds,
        allowed=allowed,
    )
    return [(round(s.start_seconds, 9), round(s.stop_seconds, 9), s.label, round(s.score, 9)) for s in segments]


def one_hot(pattern: str) -> NDArray[np.float64]:
    """A row of certainty for each letter; a dot is a row of zeros."""
    return np.array([[float(letter == label) for label in LABELS] for letter in pattern])


def test_runs_of_one_label() -> None:
    assert segments_of(one_hot("aaabb.c")) == [
        (0.0, 3.0, "a", 1.0),
        (3.0, 5.0, "b", 1.0),
        (6.0, 7.0, "c", 1.0),
    ]


def test_times_are_on_the_clips_own_timeline() -> None:
    windows = one_second_windows(3, start_seconds=-1.5)
    assert segments_of(one_hot("aab"), windows=windows) == [(-1.5, 0.5, "a", 1.0), (0.5, 1.5, "b", 1.0)]


def test_the_score_is_the_mean_of_the_windows() -> None:
    assert segments_of([[0.9, 0.1, 0.0], [0.6, 0.3, 0.1], [0.1, 0.2, 0.7]])[0] == (0.0, 1.954545455, "a", 0.75)


def test_the_threshold_itself_counts() -> None:
    scores = [[0.5, 0.25, 0.25], [0.25, 0.375, 0.375], [0.25, 0.25, 0.5]]
    assert [label for *_, label, _ in segments_of(scores, threshold=0.375)] == ["a", "b", "c"]
    assert segments_of(scores, threshold=0.5) == [(0.0, 1.0, "a", 0.5), (2.0, 3.0, "c", 0.5)]
    assert segments_of(scores, threshold=0.6) == []


def test_a_window_goes_to_the_best_allowed_label() -> None:
    scores = [[0.6, 0.4, 0.0], [0.7, 0.1, 0.2]]
    assert segments_of(scores, allowed=(False, True, True)) == [(0.0, 1.0, "b", 0.4)]


def test_short_runs_are_dropped() -> None:
    assert segments_of(one_hot("aaa.b.ccc"), min_segment_seconds=2.0) == [(0.0, 3.0, "a", 1.0), (6.0, 9.0, "c", 1.0)]


def test_what_is_as_long_as_the_minimum_stays() -> None:
    schedule = build_schedule(Span(0.0, 3.0), WindowConfig(stride_seconds=0.1, hops=1))
    pattern = "aaa" * 9 + "bbb"  # the last run lasts 0.3 s, give or take a rounding
    found = segments_of(one_hot(pattern), windows=schedule.windows_every(1), min_segment_seconds=0.3)
    assert [label for *_, label, _ in found] == ["a", "b"]


def test_one_label_closes_a_gap_that_a_short_run_leaves() -> None:
    assert segments_of(one_hot("aaabaa"), min_segment_seconds=2.0) == [(0.0, 6.0, "a", 0.833333333)]
    assert segments_of(one_hot("aaabcaa"), min_segment_seconds=2.0) == [(0.0, 7.0, "a", 0.714285714)]


def test_a_gap_without_any_label_stays_open() -> None:
    assert segments_of(one_hot("aaab.aa"), min_segment_seconds=2.0) == [(0.0, 3.0, "a", 1.0), (5.0, 7.0, "a", 1.0)]


def test_a_dropped_run_between_two_labels_leaves_a_gap() -> None:
    assert segments_of(one_hot("aaabccc"), min_segment_seconds=2.0) == [(0.0, 3.0, "a", 1.0), (4.0, 7.0, "c", 1.0)]
    assert segments_of(one_hot("baaac"), min_segment_seconds=2.0) == [(1.0, 4.0, "a", 1.0)]


def test_a_clip_shorter_than_the_minimum_keeps_its_longest_segment() -> None:
    assert segments_of(one_hot("a"), min_segment_seconds=9.0) == [(0.0, 1.0, "a", 1.0)]
    assert segments_of(one_hot("abb"), min_segment_seconds=9.0) == [(1.0, 3.0, "b", 1.0)]
    assert segments_of(one_hot("ab"), min_segment_seconds=9.0) == [(0.0, 1.0, "a", 1.0)]
    assert segments_of(one_hot(".."), min_segment_seconds=9.0) == []


def test_an_edge_lies_where_the_scores_cross() -> None:
    scores = [[0.9, 0.1, 0], [0.7, 0.3, 0], [0.2, 0.8, 0]]
    # Centres 1.5 and 2.5: a is 0.4 ahead, then 0.6 behind.
    assert segments_of(scores) == [(0.0, 1.9, "a", 0.8), (1.9, 3.0, "b", 0.8)]


def test_an_edge_beside_a_gap_is_not_moved() -> None:
    assert segments_of([[0.9, 0.1, 0], [0.2, 0.25, 0.2], [0.1, 0.4, 0]]) == [
        (0.0, 1.0, "a", 0.9),
        (2.0, 3.0, "b", 0.4),
    ]


def test_ties_leave_every_segment_half_a_stride() -> None:
    scores = [[0.0, 0.5, 0.0], [0.5, 0.5, 0.5], [0.0, 0.0, 0.5]]
    # a wins its only window by its place alone: both its edges would lie at that window's centre.
    assert segments_of(scores) == [(0.0, 1.5, "b", 0.5), (1.5, 2.0, "a", 0.5), (2.0, 3.0, "c", 0.5)]


def test_a_moved_edge_respects_the_minimum() -> None:
    scores = [[0.55, 0.45, 0.0], [0.55, 0.45, 0.0], [0.0, 1.0, 0.0], [0.0, 1.0, 0.0]]
    assert segments_of(scores)[0][1] == pytest.approx(1.5 + 1 / 11)
    assert segments_of(scores, min_segment_seconds=1.8)[0][1] == 1.8
    assert segments_of(scores, min_segment_seconds=2.0)[0][1] == 2.0


def test_smoothed_scores_find_a_change_between_two_windows() -> None:
    """A change at 5.3 s, of which each window of 2 s sees its share: the edge is true to a fiftieth of the stride."""
    schedule = build_schedule(Span(0.0, 10.0), WindowConfig(stride_seconds=0.5, hops=4))
    windows = schedule.windows_every(1)
    spans = [windows.window_span(position) for position in range(len(windows))]
    share = [min(max(5.3 - span.start_seconds, 0.0), 2.0) / 2.0 for span in spans]
    scores = np.array([[part, 1 - part, 0.0] for part in share])
    found = segments_of(ActivitySmoothing()(scores), windows=windows, min_segment_seconds=1.0)
    assert [label for *_, label, _ in found] == ["a", "b"]
    assert found[0][1] == found[1][0] == pytest.approx(5.3, abs=0.01)


def test_multi_label_has_a_run_for_each_label() -> None:
    scores = [[0.9, 0.8, 0.1], [0.9, 0.1, 0.1], [0.1, 0.7, 0.1], [0.1, 0.7, 0.6]]
    assert segments_of(scores, task="multi_label", threshold=0.5) == [
        (0.0, 1.0, "b", 0.8),
        (0.0, 2.0, "a", 0.9),
        (2.0, 4.0, "b", 0.7),
        (3.0, 4.0, "c", 0.6),
    ]
    assert segments_of(scores, task="multi_label", threshold=0.5, min_segment_seconds=2.0) == [
        (0.0, 2.0, "a", 0.9),
        (2.0, 4.0, "b", 0.7),
    ]
    assert segments_of(scores, task="multi_label", threshold=0.5, allowed=(False, False, True)) == [
        (3.0, 4.0, "c", 0.6)
    ]


def test_equal_spans_stand_in_the_order_of_the_labels() -> None:
    found = segments_of([[0.5, 0.9, 0.7]], task="multi_label", threshold=0.5)
    assert [label for *_, label, _ in found] == ["a", "b", "c"]


def test_a_clip_without_length_has_a_segment_without_length() -> None:
    windows = build_schedule(Span(2.0, 2.0), WindowConfig()).windows_every(1)
    assert segments_of([[0.9, 0.1, 0.0]], windows=windows, min_segment_seconds=1.0) == [(2.0, 2.0, "a", 0.9)]
    scores = np.array([[0.9, 0.1, 0.0]])
    assert rank_activities(scores, windows, LABELS, task="single_label", top_k=1, allowed=ALL) == (Activity("a", 0.9),)


def test_shapes_must_agree() -> None:
    with pytest.raises(ValueError, match=r"scores \(2, 3\) must be 4 windows by 3 labels"):
        segments_of(one_hot("ab"), windows=one_second_windows(4))


@pytest.mark.parametrize("score", [float("nan"), float("inf")])
def test_results_are_finite(score: float) -> None:
    with pytest.raises(ValueError, match="must be finite"):
        Segment(0.0, 1.0, "a", score)
    with pytest.raises(ValueError, match="must be finite"):
        Activity("a", score)


def test_a_segment_does_not_stop_before_it_starts() -> None:
    with pytest.raises(ValueError, match="before it starts"):
        Segment(1.0, 0.0, "a", 0.5)


def test_single_label_activities_are_weighted_by_time() -> None:
    # Windows of 2 s each second over 4 s decide 1.5, 1.0 and 1.5 s.
    windows = build_schedule(Span(0.0, 4.0), WindowConfig(stride_seconds=1.0, hops=2)).windows_every(1)
    scores = np.array([[0.8, 0.2, 0.0], [0.0, 0.4, 0.6], [0.2, 0.2, 0.6]])
    ranked = rank_activities(scores, windows, LABELS, task="single_label", top_k=2, allowed=ALL)
    assert [activity.label for activity in ranked] == ["a", "c"]
    assert [activity.score for activity in ranked] == pytest.approx([0.375, 0.375])
    rest = rank_activities(scores, windows, LABELS, task="single_label", top_k=9, allowed=(True, True, False))
    assert [activity.label for activity in rest] == ["a", "b"]
    assert rest[1].score == pytest.approx(0.25)


def test_multi_label_activities_are_the_highest_scores() -> None:
    scores = np.array([[0.9, 0.2, 0.5], [0.1, 0.2, 0.5]])
    ranked = rank_activities(scores, one_second_windows(2), LABELS, task="multi_label", top_k=5, allowed=ALL)
    assert ranked == (Activity("a", 0.9), Activity("c", 0.5), Activity("b", 0.2))


def test_equal_activities_stand_in_the_order_of_the_labels() -> None:
    labels = [f"label {index}" for index in range(40)]
    scores = np.array([[float(index % 3) for index in range(40)]])
    ranked = rank_activities(scores, one_second_windows(1), labels, task="multi_label", top_k=40, allowed=[True] * 40)
    assert [activity.label for activity in ranked] == labels[2::3] + labels[1::3] + labels[0::3]


# --- against a slow reference -----------------------------------------------------------------------------------


def slow_groups(values: Sequence[int | None] | Sequence[bool]) -> list[tuple[int | None, list[int]]]:
    """Runs of equal values, each with the windows that it holds."""
    groups = groupby(range(len(values)), key=lambda window: values[window])
    return [(value, list(members)) for value, members in groups]


def slow_best(scores: NDArray[np.float64], threshold: float, columns: Sequence[int]) -> list[int | None]:
    assigned: list[int | None] = []
    for row in scores:
        best = columns[0]
        for column in columns[1:]:
            if row[column] > row[best]:
                best = column
        assigned.append(best if row[best] >= threshold else None)
    return assigned


def slow_dropped(assigned: Sequence[int | None], edges: Sequence[float], min_segment_seconds: float) -> set[int]:
    """The windows of runs that are too short."""
    runs = [
        (edges[members[-1] + 1] - edges[members[0]], members)
        for label, members in slow_groups(assigned)
        if label is not None
    ]
    dropped = {window for seconds, members in runs for window in members if seconds < min_segment_seconds - 1e-9}
    if runs and edges[-1] - edges[0] < min_segment_seconds:
        longest = max(seconds for seconds, _ in runs)
        dropped.difference_update(next(members for seconds, members in runs if seconds == longest))
    return dropped


def slow_assignment(
    scores: NDArray[np.float64],
    edges: Sequence[float],
    threshold: float,
    min_segment_seconds: float,
    columns: Sequence[int],
) -> list[int | None]:
    """The label of each window, when the labels of ``columns`` compete for it."""
    best = slow_best(scores, threshold, columns)
    dropped = slow_dropped(best, edges, min_segment_seconds)
    kept = [None if window in dropped else label for window, label in enumerate(best)]
    settled = list(kept)
    for is_gap, members in slow_groups([window in dropped for window in range(len(kept))]):
        if not is_gap:
            continue
        left = kept[members[0] - 1] if members[0] > 0 else None
        right = kept[members[-1] + 1] if members[-1] + 1 < len(kept) else None
        if left == right:
            for window in members:
                settled[window] = left
    return settled


def slow_segments(
    scores: NDArray[np.float64], assigned: Sequence[int | None], edges: Sequence[float]
) -> list[tuple[float, float, str, float]]:
    segments = []
    for label, members in slow_groups(assigned):
        if label is not None:
            mean = sum(float(scores[window, label]) for window in members) / len(members)
            segments.append((edges[members[0]], edges[members[-1] + 1], LABELS[label], mean))
    return segments


score_arrays = st.integers(1, 16).flatmap(
    lambda num_windows: arrays(np.float64, (num_windows, 3), elements=st.sampled_from([0.0, 0.2, 0.4, 0.5, 0.7, 1.0]))
)
thresholds = st.sampled_from([0.0, 0.3, 0.4, 0.6])
minimums = st.sampled_from([0.0, 0.5, 1.0, 2.0, 3.0, 30.0])
allowed_flags = st.tuples(st.booleans(), st.booleans(), st.booleans()).filter(any)


def windows_for(scores: NDArray[np.float64], data: st.DataObject) -> WindowSelection:
    """Some selection of as many windows as there are scores."""
    hops, stride_windows = data.draw(st.integers(1, 4)), data.draw(st.integers(1, 3))
    tail = data.draw(st.sampled_from([0.0, 0.1, 0.24]))
    num_hops = (len(scores) - 1) * stride_windows + hops
    span = Span(3.0, 3.0 + num_hops * 0.5 - tail)
    return build_schedule(span, WindowConfig(stride_seconds=0.5, hops=hops)).windows_every(stride_windows)


@given(score_arrays, thresholds, minimums, allowed_flags, st.data())
def test_single_label_equals_the_slow_reference(
    scores: NDArray[np.float64],
    threshold: float,
    min_segment_seconds: float,
    allowed: tuple[bool, ...],
    data: st.DataObject,
) -> None:
    windows = windows_for(scores, data)
    edges = windows.edges_seconds.tolist()
    columns = [column for column in range(3) if allowed[column]]
    assigned = slow_assignment(scores, edges, threshold, min_segment_seconds, columns)
    expected = slow_segments(scores, assigned, edges)
    found = build_segments(
        scores,
        windows,
        LABELS,
        task="single_label",
        threshold=threshold,
        min_segment_seconds=min_segment_seconds,
        allowed=allowed,
    )
    assert [segment.label for segment in found] == [label for *_, label, _ in expected]
    assert [segment.score for segment in found] == pytest.approx([score for *_, score in expected])
    # Edges may move between neighbours that touch, by half a step between two centres; all others stay.
    touching = [before[1] == after[0] for before, after in pairwise(expected)]
    for segment, (start, stop, _, _), moved in zip(found, expected, [False, *touching], strict=False):
        assert segment.start_seconds == pytest.approx(start, abs=0.75 if moved else 1e-12)
        assert segment.stop_seconds > segment.start_seconds
        shortest = min(stop - start, max(min_segment_seconds, 0.25))
        assert segment.stop_seconds - segment.start_seconds >= shortest - 1e-9
    for (before, after), touch in zip(pairwise(found), touching, strict=True):
        assert (before.stop_seconds == after.start_seconds) == touch
        assert before.stop_seconds <= after.start_seconds
    if found:
        assert found[-1].stop_seconds == expected[-1][1]


@given(score_arrays, thresholds, minimums, allowed_flags, st.data())
def test_multi_label_equals_the_slow_reference(
    scores: NDArray[np.float64],
    threshold: float,
    min_segment_seconds: float,
    allowed: tuple[bool, ...],
    data: st.DataObject,
) -> None:
    windows = windows_for(scores, data)
    edges = windows.edges_seconds.tolist()
    expected = []
    for column in range(3):
        if allowed[column]:
            assigned = slow_assignment(scores, edges, threshold, min_segment_seconds, [column])
            expected += slow_segments(scores, assigned, edges)
    found = build_segments(
        scores,
        windows,
        LABELS,
        task="multi_label",
        threshold=threshold,
        min_segment_seconds=min_segment_seconds,
        allowed=allowed,
    )
    got = [(s.start_seconds, s.stop_seconds, s.label, round(s.score, 9)) for s in found]
    assert got == sorted((start, stop, label, round(score, 9)) for start, stop, label, score in expected)


@given(score_arrays, st.data())
def test_without_threshold_and_minimum_the_segments_tile_the_clip(
    scores: NDArray[np.float64], data: st.DataObject
) -> None:
    windows = windows_for(scores, data)
    found = segments_of(scores, threshold=0.0, windows=windows)
    assert (found[0][0], found[-1][1]) == (3.0, round(windows.schedule.span.stop_seconds, 9))
    assert all(before[1] == after[0] and before[2] != after[2] for before, after in pairwise(found))
