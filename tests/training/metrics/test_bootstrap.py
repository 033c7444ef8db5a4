"""Intervals: as wide as the clips say, not the windows; the same for the same seed; the same as a slow reference."""

from __future__ import annotations

import numpy as np
import pytest

from training.metrics.bootstrap import Bootstrap, Estimate, divide, interval, sum_by_clip


def test_an_interval_equals_the_slow_reference() -> None:
    """Each draw made by hand: so many of each group, added up, divided."""
    rng = np.random.default_rng(5)
    groups = [f"speaker {number}" for number in (0, 0, 1, 2, 2, 2, 3)]
    hits, totals = rng.integers(0, 9, size=7).astype(np.float64), rng.integers(9, 20, size=7).astype(np.float64)
    bootstrap = Bootstrap(groups, num_draws=200, seed=3)
    found = bootstrap.ratio(hits, totals)
    values = []
    for drawn in np.random.default_rng(3).multinomial(4, [0.25] * 4, size=200):
        clips = [clip for clip, group in enumerate(groups) for _ in range(drawn[int(group[-1])])]
        values.append(sum(hits[clip] for clip in clips) / sum(totals[clip] for clip in clips))
    assert found is not None
    assert found.value == pytest.approx(hits.sum() / totals.sum())
    assert (found.low, found.high) == pytest.approx(tuple(np.quantile(values, [0.025, 0.975])))
    again = bootstrap.of_weights(lambda weights: divide(weights @ hits, weights @ totals))
    assert again is not None
    assert (again.value, again.low, again.high) == pytest.approx((found.value, found.low, found.high))


def test_the_interval_of_a_share_is_the_textbooks() -> None:
    """400 clips of one window, 80 % right: 1.96 standard errors of 2 % to either side."""
    hits = (np.arange(400) % 5 > 0).astype(np.float64)
    found = Bootstrap(list(range(400)), num_draws=4000).ratio(hits, np.ones(400))
    assert found is not None
    assert (found.value, found.low, found.high) == pytest.approx((0.8, 0.8 - 0.0392, 0.8 + 0.0392), abs=0.004)


def test_windows_of_one_clip_do_not_narrow_it() -> None:
    """Each clip all right or all wrong: a hundred windows of it say no more than one."""
    hits = np.arange(40) % 2.0
    one = Bootstrap(list(range(40))).ratio(hits, np.ones(40))
    many = Bootstrap(list(range(40))).ratio(100 * hits, np.full(40, 100.0))
    assert one == many
    grouped = Bootstrap([number // 10 for number in range(40)]).ratio(np.repeat([1.0, 0.0, 1.0, 0.0], 10), np.ones(40))
    assert one is not None
    assert grouped is not None
    assert grouped.high - grouped.low > 2 * (one.high - one.low)


def test_the_same_seed_gives_the_same_interval() -> None:
    hits, ones = np.random.default_rng(0).uniform(size=30), np.ones(30)
    first, again, other = (Bootstrap(list(range(30)), seed=seed).ratio(hits, ones) for seed in (1, 1, 2))
    assert first == again
    assert first != other


def test_what_has_no_value() -> None:
    bootstrap = Bootstrap(["a", "b"])
    assert bootstrap.ratio(np.zeros(2), np.zeros(2)) is None
    # Only clip b counts anything: draws without it have no value and are left out.
    assert bootstrap.ratio(np.array([0.0, 3.0]), np.array([0.0, 4.0])) == Estimate(0.75, 0.75, 0.75)
    assert interval(np.array([0.5, np.nan, np.nan])) == Estimate(0.5, 0.5, 0.5)
    assert interval(np.array([0.5, 0.6, 0.6])) == Estimate(0.5, 0.5, 0.6)
    assert interval(np.array([0.5, np.nan, 0.6, 0.6])) == Estimate(0.5, 0.5, 0.6)
    with pytest.raises(ValueError, match="at least one clip"):
        Bootstrap([])


def test_units_are_added_up_by_clip() -> None:
    values = np.array([[1, 0], [1, 1], [0, 1]])
    assert sum_by_clip(values, np.array([2, 0, 2]), 3).tolist() == [[1, 1], [0, 0], [1, 1]]
