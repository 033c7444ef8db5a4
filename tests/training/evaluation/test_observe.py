"""Which windows are judged, what counts as a change, and what noise does."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from handler.windows import Span
from tests.training.clips import TINY
from training.dataset import LabelledClip
from training.evaluation.observe import count_changes, decide, inside_windows, judged_windows, subsets_of
from training.manifest import LabelledSegment


def test_windows_across_a_boundary_are_left_out(tiny_clips: list[LabelledClip]) -> None:
    schedule = replace(tiny_clips[0].clip.schedule, span=Span(10.0, 15.0), num_hops=10)
    clip = replace(tiny_clips[0].clip, schedule=schedule)
    truth = (LabelledSegment(10.0, 12.5, "a"), LabelledSegment(12.5, 15.0, "b"))
    labelled = LabelledClip(replace(tiny_clips[0].entry, segments=truth), clip)
    # Windows of 2 s each 0.5 s: those that start at 11, 11.5 and 12 see both.
    assert schedule.num_windows == 7
    assert inside_windows(labelled) == [(0, "a"), (1, "a"), (5, "b"), (6, "b")]
    almost = (replace(truth[0], stop_seconds=12.4999995), replace(truth[1], start_seconds=12.5000005))
    assert len(inside_windows(replace(labelled, entry=replace(labelled.entry, segments=almost)))) == 4
    gap = (replace(truth[0], start_seconds=10.1, stop_seconds=12.4), truth[1])
    assert inside_windows(replace(labelled, entry=replace(labelled.entry, segments=gap))) == [(5, "b"), (6, "b")]


def test_the_last_window_is_judged_by_what_it_sees(tiny_clips: list[LabelledClip]) -> None:
    """The clip ends within its last hop, and so does the activity."""
    schedule = replace(tiny_clips[0].clip.schedule, span=Span(0.0, 2.3), num_hops=5)
    labelled = LabelledClip(
        replace(tiny_clips[0].entry, segments=(LabelledSegment(0.0, 2.3, "a"),)),
        replace(tiny_clips[0].clip, schedule=schedule),
    )
    assert inside_windows(labelled) == [(0, "a"), (1, "a")]


def test_judged_windows_have_one_label_or_all_that_hold(tiny_clips: list[LabelledClip]) -> None:
    rows, targets = judged_windows(tiny_clips[0], TINY)
    inside = inside_windows(tiny_clips[0])
    assert rows == [window for window, _ in inside]
    assert [TINY.labels[row.argmax()] for row in targets] == [label for _, label in inside]
    assert (targets.sum(axis=1) == 1).all()

    multi = TINY.model_copy(update={"head": TINY.head.model_copy(update={"task": "multi_label"})})
    overlap = replace(tiny_clips[0].entry.segments[0], stop_seconds=9.0)
    both = replace(tiny_clips[0].entry, segments=(overlap, *tiny_clips[0].entry.segments[1:]))
    rows, targets = judged_windows(LabelledClip(both, tiny_clips[0].clip), multi)
    assert rows == list(range(tiny_clips[0].clip.schedule.num_windows))
    assert targets.sum(axis=1).tolist() == sorted(targets.sum(axis=1).tolist())
    assert set(targets.sum(axis=1).tolist()) == {1, 2}


def test_changes_by_hand() -> None:
    scores = np.array([[0.9, 0.1], [0.6, 0.4], [0.2, 0.8], [0.7, 0.6], [0.6, 0.7]])
    single = decide(scores, "single_label", 0.5)
    assert single.argmax(axis=1).tolist() == [0, 0, 1, 0, 1]
    assert count_changes(single, "single_label") == 3
    multi = decide(scores, "multi_label", 0.5)
    assert multi.tolist() == [[1, 0], [1, 0], [0, 1], [1, 1], [1, 1]]
    assert count_changes(multi, "multi_label") == 3  # both at once, then one
    assert count_changes(single[:1], "single_label") == 0


def test_subsets_are_all_and_small_ones_first() -> None:
    assert subsets_of(("a", "b", "c")) == [("a",), ("b",), ("c",), ("a", "b"), ("a", "c"), ("b", "c"), ("a", "b", "c")]
    assert [len(subsets_of("abcdefg"[:n])) for n in range(1, 8)] == [2**n - 1 for n in range(1, 8)]


def test_the_best_of_equal_scores_is_the_earlier_label() -> None:
    assert decide(np.array([[0.5, 0.5]]), "single_label", 0.3).tolist() == [[True, False]]
