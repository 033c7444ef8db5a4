"""The best possible accuracy, against a simulation that guesses from counted frequencies."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from training.synth.channels import build_channel, ceiling, ceilings, draw_view, join, subsets

LEFT = build_channel([[0.7, 0.2, 0.1], [0.3, 0.6, 0.1], [0.0, 0.1, 0.9]])
RIGHT = build_channel([[0.5, 0.5], [0.9, 0.1], [0.2, 0.8]])


def test_ceilings_by_hand() -> None:
    assert ceiling([LEFT]) == pytest.approx((0.7 + 0.6 + 0.9) / 3, abs=1e-15)
    assert ceiling([RIGHT]) == pytest.approx((0.9 + 0.8) / 3, abs=1e-15)
    perfect, useless = build_channel(np.eye(3).tolist()), build_channel([[0.5, 0.5]] * 3)
    assert ceiling([perfect]) == 1
    assert ceiling([useless]) == pytest.approx(1 / 3, abs=1e-15)
    assert ceiling([useless, LEFT]) == pytest.approx(ceiling([LEFT]), abs=1e-15)
    by_hand = sum(
        max(LEFT[left, label] * RIGHT[right, label] for label in range(3)) / 3
        for left, right in product(range(3), range(2))
    )
    assert ceiling([LEFT, RIGHT]) == pytest.approx(by_hand, abs=1e-15)


def test_the_ceiling_is_what_a_counting_guesser_reaches() -> None:
    """Views drawn one by one; for each pair of views the guess is the class that was most frequent with it."""
    rng = np.random.default_rng(0)
    counts = np.zeros((3, 2, 3))
    for number in range(30_000):
        label = number % 3
        counts[draw_view(rng, LEFT, label), draw_view(rng, RIGHT, label), label] += 1
    reached = counts.max(axis=2).sum() / counts.sum()
    assert reached == pytest.approx(ceiling([LEFT, RIGHT]), abs=0.01)  # a standard deviation is 0.003
    np.testing.assert_allclose(counts.sum(axis=1) / 10_000, LEFT, atol=0.02)


def test_more_modalities_never_lower_the_ceiling() -> None:
    found = ceilings({"a": LEFT, "b": RIGHT, "c": LEFT})
    assert list(found) == ["a", "b", "c", "a+b", "a+c", "b+c", "a+b+c"]
    for names in subsets(("a", "b", "c")):
        for fewer in subsets(names):
            assert found["+".join(fewer)] <= found["+".join(names)] + 1e-12
    np.testing.assert_allclose(join([LEFT, RIGHT]).sum(axis=0), 1)


@pytest.mark.parametrize("rows", [[[0.5, 0.6]], [[1.5, -0.5]], [[float("nan"), 1.0]]])
def test_what_is_no_distribution(rows: list[list[float]]) -> None:
    with pytest.raises(ValueError, match="each row must be a distribution"):
        build_channel(rows)
