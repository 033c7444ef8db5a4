from __future__ import annotations

from collections.abc import Collection
from itertools import combinations

import numpy as np
import pytest
from numpy.typing import NDArray

from handler.explain.contributions import score_subsets, shapley_values

NAMES = ("video", "audio", "text", "image", "imu", "depth", "tabular")


def gloves(names: Collection[str]) -> NDArray[np.float64]:
    """Shapley's own example: a left glove (video) and two right ones; a pair is worth 1."""
    worth = float("video" in names and ("audio" in names or "text" in names))
    return np.array([[worth, 1.0 - worth]])


def test_the_gloves_are_worth_what_the_book_says() -> None:
    subsets = score_subsets(NAMES[:3], gloves)
    assert len(subsets.scores) == 8
    values = {subset: float(scores[0, 0]) for subset, scores in subsets.scores.items()}
    assert shapley_values(NAMES[:3], values) == pytest.approx({"video": 4 / 6, "audio": 1 / 6, "text": 1 / 6})


def test_contributions_say_value_loss_and_what_stands_against() -> None:
    found = score_subsets(NAMES[:3], gloves).reduce(lambda scores: scores[0]).contribute(("a", "b"), 0, (True, True))
    assert (found.label, found.score, found.base) == ("a", 1.0, 0.0)
    assert found.losses == {"video": 1.0, "audio": 0.0, "text": 0.0}  # either right glove can go
    assert sum(found.shapley.values()) == pytest.approx(1.0)
    assert found.against is not None
    assert (found.against.label, found.against.share, found.against.base) == ("b", 1.0, 0.0)


def test_a_label_that_is_not_allowed_stands_against_none() -> None:
    scores = score_subsets(NAMES[:3], gloves).reduce(lambda scores: scores[0])
    assert scores.contribute(("a", "b"), 0, (True, False)).against is None


def test_scores_of_zero_are_shared_evenly() -> None:
    scores = score_subsets(("video",), lambda _: np.zeros((1, 2))).reduce(lambda scores: scores[0])
    against = scores.contribute(("a", "b"), 0, (True, True)).against
    assert against is not None
    assert (against.share, against.base, against.shapley) == (0.5, 0.5, {"video": 0.0})


@pytest.mark.parametrize(("count", "num_subsets"), [(1, 2), (2, 4), (4, 16), (5, 22), (7, 44)])
def test_the_values_add_up_whatever_the_number_of_modalities(count: int, num_subsets: int) -> None:
    names, rng = NAMES[:count], np.random.default_rng(3)
    worth = {frozenset(subset): rng.uniform() for size in range(count + 1) for subset in combinations(names, size)}
    subsets = score_subsets(names, lambda chosen: np.array([[worth[frozenset(chosen)]]]))
    assert len(subsets.scores) == num_subsets
    values = {subset: float(scores[0, 0]) for subset, scores in subsets.scores.items()}
    added = shapley_values(names, values)
    assert sum(added.values()) == pytest.approx(worth[frozenset(names)] - worth[frozenset()])
