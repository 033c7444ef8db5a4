from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.metrics.segments import (
    MatchCounts,
    clip_boundary_errors,
    clip_edit_score,
    match_segments,
)


@dataclass(frozen=True)
class Piece:
    start_seconds: float
    stop_seconds: float
    label: str


def pieces(*spans: tuple[float, float, str]) -> list[Piece]:
    return [Piece(*span) for span in spans]


def tiled(labels: str, edges: Sequence[float]) -> list[Piece]:
    return [Piece(*span, label) for span, label in zip(pairwise(edges), labels, strict=True)]


TRUTH = tiled("abc", [0.0, 4.0, 6.0, 10.0])


# --- segments ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("predicted", "min_iou", "expected"),
    [
        (TRUTH, 1.0, MatchCounts(3, 0, 0)),
        ([], 0.1, MatchCounts(0, 0, 3)),
        # a: 3/4, b: 2/4 (3..7 against 4..6), c: 3/4
        (tiled("abc", [0.0, 3.0, 7.0, 10.0]), 0.5, MatchCounts(3, 0, 0)),
        (tiled("abc", [0.0, 3.0, 7.0, 10.0]), 0.51, MatchCounts(2, 1, 1)),
        (tiled("abc", [0.0, 3.0, 7.0, 10.0]), 0.75, MatchCounts(2, 1, 1)),
        (tiled("abc", [0.0, 3.0, 7.0, 10.0]), 0.76, MatchCounts(0, 3, 3)),
        # the right span with the wrong label
        (tiled("xbc", [0.0, 4.0, 6.0, 10.0]), 0.1, MatchCounts(2, 1, 1)),
        # two predictions for one truth: the first is right, the second is not
        (tiled("aabc", [0.0, 2.0, 4.0, 6.0, 10.0]), 0.5, MatchCounts(3, 1, 0)),
        (tiled("aabc", [0.0, 1.0, 4.0, 6.0, 10.0]), 0.5, MatchCounts(3, 1, 0)),
        # a label that is there, but elsewhere
        (pieces((6.0, 10.0, "a")), 0.1, MatchCounts(0, 1, 3)),
    ],
)
def test_matches(predicted: list[Piece], min_iou: float, expected: MatchCounts) -> None:
    assert match_segments(predicted, TRUTH, min_iou) == expected


def test_a_prediction_is_compared_with_its_best_truth_only() -> None:
    """As in MS-TCN's code: where the best one is taken, no other one is tried."""
    truth = pieces((0.0, 4.0, "a"), (5.0, 7.0, "a"))
    predicted = pieces((0.0, 2.0, "a"), (2.0, 7.0, "a"))
    # IoU of the second: 2 / 7 with the first truth, 2 / 5 with the second.
    assert match_segments(predicted, truth, 0.25) == MatchCounts(2, 0, 0)
    predicted = pieces((0.0, 4.0, "a"), (1.0, 6.5, "a"))
    # 3 / 6.5 with the first, which is taken; 1.5 / 6 with the second, which is free.
    assert match_segments(predicted, truth, 0.25) == MatchCounts(1, 1, 1)


def total_f1(predicted: list[list[Piece]], truth: list[list[Piece]]) -> float:
    """The F1 at an overlap of one half of all clips."""
    counts = [match_segments(*clip, 0.5) for clip in zip(predicted, truth, strict=True)]
    return sum(counts, MatchCounts()).f1


def test_f1_adds_up_before_it_divides() -> None:
    clips = [TRUTH, tiled("xbc", [0.0, 4.0, 6.0, 10.0])]
    # 5 right of 6 predicted and 6 true.
    assert total_f1(clips, [TRUTH, TRUTH]) == 5 / 6
    assert total_f1([[], TRUTH], [TRUTH, TRUTH]) == 2 * 3 / (2 * 3 + 0 + 3)
    assert total_f1([TRUTH, TRUTH], [[], TRUTH]) == 2 * 3 / (2 * 3 + 3 + 0)


def test_f1_of_nothing() -> None:
    assert total_f1([[]], [[]]) == 1.0
    assert total_f1([[]], [TRUTH]) == 0.0
    assert total_f1([TRUTH], [[]]) == 0.0


@pytest.mark.parametrize("min_iou", [0.0, -0.1, 1.1])
def test_an_overlap_is_a_share(min_iou: float) -> None:
    with pytest.raises(ValueError, match="above 0 and at most 1"):
        match_segments(TRUTH, TRUTH, min_iou)


# --- edit score -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("predicted", "truth", "score"),
    [
        ("", "", 1.0),
        ("abc", "abc", 1.0),
        ("", "abc", 0.0),
        ("xyz", "abc", 0.0),
        ("ac", "abc", 2 / 3),
        ("abcb", "abc", 3 / 4),
        ("axc", "abc", 2 / 3),
        ("abababab", "ab", 2 / 8),
        ("cab", "abc", 1 / 3),
    ],
)
def test_edit_score(predicted: str, truth: str, score: float) -> None:
    found = clip_edit_score(tiled(predicted, range(len(predicted) + 1)), tiled(truth, range(len(truth) + 1)))
    assert found == pytest.approx(score, abs=1e-15)


# --- boundaries -------------------------------------------------------------------------------------------------


def test_boundary_errors() -> None:
    assert clip_boundary_errors(tiled("xy", [0.0, 4.5, 10.0]), TRUTH).tolist() == [0.5, 1.5]
    assert clip_boundary_errors(tiled("axc", [0.0, 3.75, 6.5, 10.0]), TRUTH).tolist() == [0.25, 0.5]


def test_the_clips_ends_are_no_boundaries() -> None:
    shifted = tiled("abc", [-3.0, 4.0, 6.0, 30.0])
    assert clip_boundary_errors(shifted, TRUTH).tolist() == [0.0, 0.0]
    assert clip_boundary_errors(TRUTH, tiled("a", [0.0, 10.0])).tolist() == []


def test_a_gap_has_two_boundaries() -> None:
    with_gap = pieces((0.0, 4.0, "a"), (5.0, 10.0, "b"))
    assert clip_boundary_errors(tiled("ab", [0.0, 4.25, 10.0]), with_gap).tolist() == [0.25, 0.75]
    assert clip_boundary_errors(with_gap, tiled("ab", [0.0, 4.75, 10.0])).tolist() == [0.25]


def test_one_time_in_two_roundings_is_one_boundary() -> None:
    truth = pieces((0.0, 0.1 + 0.2, "a"), (0.3, 1.0, "b"))
    assert len(clip_boundary_errors(TRUTH, truth)) == 1


def test_boundary_errors_have_a_cap() -> None:
    far = tiled("ab", [0.0, 9.0, 10.0])
    assert clip_boundary_errors(far, TRUTH, cap_seconds=4.0).tolist() == [4.0, 3.0]
    assert clip_boundary_errors([], TRUTH).tolist() == [5.0, 5.0]
    assert clip_boundary_errors(tiled("a", [0.0, 10.0]), TRUTH, cap_seconds=2.0).tolist() == [2.0, 2.0]


# --- against slow references ------------------------------------------------------------------------------------


@st.composite
def clips(draw: st.DrawFn) -> list[Piece]:
    """Segments on a grid of quarters of a second, with or without gaps, neighbours with different labels."""
    edges = sorted(draw(st.sets(st.integers(0, 40), min_size=2, max_size=9)))
    labels = draw(st.lists(st.sampled_from("abc."), min_size=len(edges) - 1, max_size=len(edges) - 1))
    segments: list[Piece] = []
    for (start, stop), label in zip(pairwise(edges), labels, strict=True):
        touches = bool(segments) and segments[-1].stop_seconds == start / 4
        if label != "." and not (touches and segments[-1].label == label):
            segments.append(Piece(start / 4, stop / 4, label))
    return segments


def slow_counts(predicted: Sequence[Piece], truth: Sequence[Piece], min_iou: float) -> MatchCounts:
    """MS-TCN's f_score, with IoU counted in quarters of a second."""

    def quarters(piece: Piece) -> set[int]:
        return set(range(round(piece.start_seconds * 4), round(piece.stop_seconds * 4)))

    hits = [0] * len(truth)
    right = wrong = 0
    for segment in predicted:
        overlaps = []
        for other in truth:
            hull = max(segment.stop_seconds, other.stop_seconds) - min(segment.start_seconds, other.start_seconds)
            share = len(quarters(segment) & quarters(other)) / (hull * 4)
            overlaps.append(share if segment.label == other.label else 0.0)
        best = int(np.argmax(overlaps)) if overlaps else None
        if best is not None and overlaps[best] >= min_iou and not hits[best]:
            right += 1
            hits[best] = 1
        else:
            wrong += 1
    return MatchCounts(right, wrong, len(truth) - sum(hits))


def slow_distance(first: str, second: str) -> int:
    @cache
    def distance(i: int, j: int) -> int:
        if not i or not j:
            return i + j
        replaced = distance(i - 1, j - 1) + (first[i - 1] != second[j - 1])
        return min(distance(i - 1, j) + 1, distance(i, j - 1) + 1, replaced)

    return distance(len(first), len(second))


@given(clips(), clips(), st.sampled_from([0.1, 0.25, 0.5, 0.75, 1.0]))
def test_matches_equal_the_slow_reference(predicted: list[Piece], truth: list[Piece], min_iou: float) -> None:
    counts = match_segments(predicted, truth, min_iou)
    assert counts == slow_counts(predicted, truth, min_iou)
    if counts.true_positives:
        precision, recall = counts.true_positives / len(predicted), counts.true_positives / len(truth)
        assert counts.f1 == pytest.approx(2 * precision * recall / (precision + recall))


@given(clips(), clips())
def test_edit_scores_equal_the_slow_reference(predicted: list[Piece], truth: list[Piece]) -> None:
    first, second = ("".join(piece.label for piece in clip) for clip in (predicted, truth))
    expected = 1 - slow_distance(first, second) / max(len(first), len(second), 1)
    assert clip_edit_score(predicted, truth) == pytest.approx(expected, abs=1e-15)


@given(clips(), clips(), st.sampled_from([0.5, 5.0]))
def test_boundary_errors_equal_the_slow_reference(
    predicted: list[Piece], truth: list[Piece], cap_seconds: float
) -> None:
    def inner(segments: list[Piece]) -> list[float]:
        times = {piece.start_seconds for piece in segments[1:]} | {piece.stop_seconds for piece in segments[:-1]}
        return sorted(times)

    expected = [min([cap_seconds, *(abs(t - p) for p in inner(predicted))]) for t in inner(truth)]
    assert clip_boundary_errors(predicted, truth, cap_seconds=cap_seconds).tolist() == expected


# --- against the published code, run by hand ----------------------------------------------------------------------

# MS-TCN's eval.py works on frames. On sequences of one second a frame its `f_score` and `edit_score` give these
# counts and scores, worked out with its own rules: runs of equal frames are segments, `background` is none.
PUBLISHED = [
    # frames predicted, frames true, counts at 0.1, 0.25 and 0.5, edit score in 0..100
    ("aaaabbbbcc", "aaabbbbbcc", [(3, 0, 0), (3, 0, 0), (3, 0, 0)], 100.0),
    ("aaaabbbbcc", "aaaaaaaacc", [(2, 1, 0), (2, 1, 0), (2, 1, 0)], 100 * (1 - 1 / 3)),
    ("abababab", "aaaabbbb", [(2, 6, 0), (2, 6, 0), (0, 8, 2)], 100 * (1 - 6 / 8)),
    ("aaaaaaaaaa", "aabbbbbbbb", [(1, 0, 1), (0, 1, 2), (0, 1, 2)], 50.0),
    ("bbbbbaaaaa", "aaaaabbbbb", [(0, 2, 2), (0, 2, 2), (0, 2, 2)], 0.0),
    ("aab..ccbba", "aaa..cccba", [(4, 1, 0), (4, 1, 0), (4, 1, 0)], 80.0),
]


def runs_of(frames: str) -> list[Piece]:
    """Runs of equal frames; a point is background."""
    starts = [0, *(place for place in range(1, len(frames)) if frames[place] != frames[place - 1]), len(frames)]
    return [Piece(start, stop, frames[start]) for start, stop in pairwise(starts) if frames[start] != "."]


@pytest.mark.parametrize(("predicted", "truth", "counts", "edit"), PUBLISHED)
def test_the_published_definitions(predicted: str, truth: str, counts: list[tuple[int, int, int]], edit: float) -> None:
    pair = runs_of(predicted), runs_of(truth)
    assert [match_segments(*pair, overlap) for overlap in (0.1, 0.25, 0.5)] == [MatchCounts(*each) for each in counts]
    assert 100 * clip_edit_score(*pair) == pytest.approx(edit, abs=1e-12)
