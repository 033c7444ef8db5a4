"""What each modality contributed to a score: the score is measured with every subset of them, the others masked.

A modality's Shapley value (Shapley 1953; for features of a model: Lundberg and Lee, arXiv 1705.07874) is what it adds
to the score, the mean over all orders in which the modalities may come in. With the score of none as ``base`` the
values add up to the score. What the score loses when a modality alone is taken away stands beside it: where two
modalities say the same, either can go without a loss, and only the Shapley values show that both spoke.

Up to four modalities every order is measured, 16 subsets at most. Of more only the rotations of one order are, in which
each modality stands once at each place: M * (M - 1) + 2 subsets, and the values still add up.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import permutations

import numpy as np
from numpy.typing import NDArray

from models.config import Modality

MAX_EXACT = 4
"""Modalities of which every order is measured."""

Subset = frozenset[Modality]
Score = Callable[[Collection[Modality]], NDArray[np.float64]]
"""From the modalities that are used to ``(W, K)`` scores."""


@dataclass(frozen=True)
class Contrast:
    """What told the answered label from another one: contributions to its share of the two labels' scores."""

    label: str
    """The other one."""
    share: float
    """Of the answered label, ``score / (score + other score)``, in [0, 1]."""
    base: float
    """That share without any modality."""
    shapley: Mapping[Modality, float]
    """These and ``base`` add up to ``share``."""


@dataclass(frozen=True)
class Contributions:
    """What each modality that was used contributed to a label's score."""

    label: str
    score: float
    base: float
    """The label's score without any modality."""
    shapley: Mapping[Modality, float]
    """These and ``base`` add up to ``score``."""
    losses: Mapping[Modality, float]
    """What the score loses when this modality alone is absent."""
    against: Contrast | None
    """The best of the other labels; None where there is none."""


@dataclass(frozen=True)
class SubsetScores:
    """The scores of some windows with every subset of the modalities that is needed."""

    names: tuple[Modality, ...]
    """The modalities that were used, M."""
    scores: Mapping[Subset, NDArray[np.float64]]
    """For each subset ``(W, K)``, or ``(K,)`` of one window or segment."""

    def contribute(self, labels: Sequence[str], label: int, allowed: Sequence[bool]) -> Contributions:
        """Contributions to label ``label`` where the scores are ``(K,)``; only ``allowed`` ones stand against it."""
        values = {subset: float(scores[label]) for subset, scores in self.scores.items()}
        whole = frozenset(self.names)
        others = [place for place, is_allowed in enumerate(allowed) if is_allowed and place != label]
        other = max(others, key=lambda place: float(self.scores[whole][place]), default=None)
        return Contributions(
            label=labels[label],
            score=values[whole],
            base=values[frozenset()],
            shapley=shapley_values(self.names, values),
            losses={name: values[whole] - values[whole - {name}] for name in self.names},
            against=None if other is None else self.contrast(labels, label, other),
        )

    def contrast(self, labels: Sequence[str], label: int, other: int) -> Contrast:
        """What tells ``label`` from ``other`` where the scores are ``(K,)``."""
        shares = {subset: _share(float(scores[label]), float(scores[other])) for subset, scores in self.scores.items()}
        return Contrast(
            label=labels[other],
            share=shares[frozenset(self.names)],
            base=shares[frozenset()],
            shapley=shapley_values(self.names, shares),
        )

    def reduce(self, step: Callable[[NDArray[np.float64]], NDArray[np.float64]]) -> SubsetScores:
        """The same with ``step`` applied to the scores of each subset."""
        return SubsetScores(self.names, {subset: step(scores) for subset, scores in self.scores.items()})


def score_subsets(names: Sequence[Modality], score: Score) -> SubsetScores:
    """Measure the scores with every subset of ``names`` that :func:`shapley_values` needs."""
    wanted = {frozenset(order[:count]) for order in _orders(names) for count in range(len(names) + 1)}
    wanted |= {frozenset(names) - {name} for name in names}
    ordered = sorted(wanted, key=lambda subset: (len(subset), sorted(subset)))
    return SubsetScores(tuple(names), {subset: score(subset) for subset in ordered})


def shapley_values(names: Sequence[Modality], values: Mapping[Subset, float]) -> dict[Modality, float]:
    """What each of ``names`` adds to the value, the mean over the orders of coming in."""
    orders = list(_orders(names))
    added = dict.fromkeys(names, 0.0)
    for order in orders:
        for count, name in enumerate(order):
            added[name] += values[frozenset(order[: count + 1])] - values[frozenset(order[:count])]
    return {name: total / len(orders) for name, total in added.items()}


def _orders(names: Sequence[Modality]) -> Iterator[tuple[Modality, ...]]:
    if len(names) <= MAX_EXACT:
        yield from permutations(names)
        return
    for first in range(len(names)):
        yield (*names[first:], *names[:first])


def _share(score: float, other: float) -> float:
    return score / (score + other) if score + other > 0 else 0.5
