"""Confidence intervals by bootstrap: Efron, "Bootstrap Methods: Another Look at the Jackknife" (1979).

What is drawn is clips, or groups of clips, never windows: the windows of one clip are much alike, so that drawing them
one by one would give intervals that are far too narrow.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

NUM_DRAWS = 1000
LEVEL = 0.95

Statistic = Callable[[NDArray[np.float64]], NDArray[np.float64]]


@dataclass(frozen=True)
class Estimate:
    """A measure and its 95 % confidence interval, in the measure's own unit."""

    value: float
    low: float
    high: float


class Bootstrap:
    """The draws of one set of clips: made once, so that all measures see the same ones.

    Args:
        groups: what each clip belongs to; clips of one group are drawn together.
        num_draws: how many sets are drawn.
        seed: of the draws.

    Raises:
        ValueError: when there is no clip.
    """

    def __init__(self, groups: Sequence[Hashable], *, num_draws: int = NUM_DRAWS, seed: int = 0) -> None:
        if not groups:
            raise ValueError("a bootstrap needs at least one clip")
        numbers = {group: number for number, group in enumerate(dict.fromkeys(groups))}
        self.num_groups = len(numbers)
        self.group_of_clip = np.array([numbers[group] for group in groups], dtype=np.int64)
        shares = np.full(self.num_groups, 1.0 / self.num_groups)
        drawn = np.random.default_rng(seed).multinomial(self.num_groups, shares, size=num_draws)
        self._group_weights = np.concatenate((np.ones((1, self.num_groups)), drawn))

    @property
    def weights(self) -> NDArray[np.float64]:
        """How often each draw has each clip: ``(1 + draws, C)`` float64; the first row is the set itself, all ones."""
        return np.asarray(self._group_weights[:, self.group_of_clip], dtype=np.float64)

    def ratio(self, numerators: NDArray[np.floating], denominators: NDArray[np.floating]) -> Estimate | None:
        """Sum over sum, as a share or a mean is: both ``(C,)``, one entry a clip; None when nothing is counted."""
        return self.of_sums(np.stack((numerators, denominators), axis=1), lambda sums: divide(sums[:, 0], sums[:, 1]))

    def of_sums(self, sums: NDArray[np.floating], statistic: Statistic) -> Estimate | None:
        """A measure of what the clips add up to.

        Args:
            sums: ``(C, ...)``, what each clip adds.
            statistic: from the totals of D draws ``(D, ...)`` to the measure of each ``(D,)``, NaN where it has none.

        Returns:
            None when the set itself has no value. Draws without one are left out.
        """
        flat = sums.reshape(len(sums), -1).astype(np.float64)
        by_group = np.zeros((self.num_groups, flat.shape[1]))
        np.add.at(by_group, self.group_of_clip, flat)
        totals = self._group_weights @ by_group
        return interval(statistic(np.asarray(totals.reshape(-1, *sums.shape[1:]), dtype=np.float64)))

    def of_weights(self, statistic: Statistic) -> Estimate | None:
        """A measure that is no function of sums: ``statistic`` takes the weights ``(D, C)`` and gives ``(D,)``."""
        return interval(statistic(self.weights))


def interval(values: NDArray[np.float64]) -> Estimate | None:
    """The percentile interval of ``(1 + D,)`` values, of which the first is the measured one; None where that is NaN.

    The interval always holds the measured value, also where few or no draws have one.
    """
    value, drawn = float(values[0]), values[1:]
    if np.isnan(value):
        return None
    drawn = drawn[~np.isnan(drawn)]
    if not len(drawn):
        return Estimate(value, value, value)
    low, high = np.quantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Estimate(value, min(value, float(low)), max(value, float(high)))


def divide(numerators: NDArray[np.float64], denominators: NDArray[np.float64]) -> NDArray[np.float64]:
    """Element by element; NaN where the denominator is 0."""
    result = np.full(np.broadcast_shapes(numerators.shape, denominators.shape), np.nan)
    np.divide(numerators, denominators, out=result, where=denominators != 0)
    return result


def sum_by_clip(values: NDArray[np.generic], clips: NDArray[np.int64], num_clips: int) -> NDArray[np.float64]:
    """Add up ``(U, ...)`` values of units by the clip ``(U,)`` that each is of: ``(C, ...)`` float64."""
    sums = np.zeros((num_clips, *values.shape[1:]))
    np.add.at(sums, clips, values.astype(np.float64))
    return sums
