"""Recall at k, by hand: ranks, ties, several relevant ones, chance."""

from __future__ import annotations

from itertools import pairwise, permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.metrics.recall import chance_at, recall_at

SCORES = np.array([[0.9, 0.5, 0.1, 0.3]])


@pytest.mark.parametrize(
    ("relevant", "expected"),
    [([0], [1, 1, 1]), ([1], [0, 1, 1]), ([2], [0, 0, 0]), ([3], [0, 0, 1]), ([2, 1], [0, 1, 1])],
)
def test_the_best_relevant_one_counts(relevant: list[int], expected: list[float]) -> None:
    mask = np.isin(np.arange(4), relevant)[None]
    assert [recall_at(SCORES, mask, k)[0] for k in (1, 2, 3)] == expected
    assert recall_at(SCORES, mask, 9)[0] == 1.0


def test_a_query_without_anything_relevant_has_no_recall() -> None:
    assert np.isnan(recall_at(SCORES, np.zeros((1, 4), dtype=np.bool_), 2)).all()


def test_scores_that_are_all_the_same_are_chance() -> None:
    relevant = np.eye(8, dtype=np.bool_)
    for k in (1, 5, 10):
        assert recall_at(np.full((8, 8), 0.7), relevant, k) == pytest.approx(min(1.0, k / 8))
        assert chance_at(relevant, k) == pytest.approx(min(1.0, k / 8))
    two = np.array([[True, True, False, False, False]])
    assert chance_at(two, 2)[0] == pytest.approx(1 - (3 / 5) * (2 / 4))


@given(
    st.lists(st.tuples(st.integers(0, 2), st.booleans()), min_size=1, max_size=5).filter(
        lambda it: any(relevant for _, relevant in it)
    ),
    st.integers(1, 6),
)
def test_ties_count_as_all_their_orders_do(candidates: list[tuple[int, bool]], k: int) -> None:
    orders = [
        order
        for order in permutations(range(len(candidates)))
        if all(candidates[a][0] >= candidates[b][0] for a, b in pairwise(order))
    ]
    expected = np.mean([any(candidates[place][1] for place in order[:k]) for order in orders])
    scores = np.array([[float(score) for score, _ in candidates]])
    relevant = np.array([[it for _, it in candidates]])
    assert recall_at(scores, relevant, k)[0] == pytest.approx(expected)
