"""What can be known at most of a class from what is shown of it.

Every modality of a made-up clip is a *channel*: from the class it draws a *view*, which is what the file then shows,
and the views of different modalities are drawn independently of each other. With the likelihoods of all views the
accuracy of the best possible guess, Bayes's, is a finite sum.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain, combinations

import numpy as np
from numpy.typing import NDArray

Channel = NDArray[np.float64]
"""``(views, classes)``: the probability of each view given each class; columns sum to 1."""


def build_channel(rows: Sequence[Sequence[float]]) -> Channel:
    """A channel from one row a class, which lists the probabilities of its views.

    Raises:
        ValueError: when a row is not a distribution.
    """
    channel = np.asarray(rows, dtype=np.float64).T
    if channel.ndim != 2 or np.any(channel < 0) or not np.allclose(channel.sum(axis=0), 1, atol=1e-12):
        raise ValueError(f"each row must be a distribution over the views, got {rows}")
    return channel


def join(channels: Sequence[Channel]) -> Channel:
    """The channel of several seen at once: its views are their combinations, independent given the class."""
    joined = channels[0]
    for channel in channels[1:]:
        joined = (joined[:, None] * channel[None]).reshape(-1, joined.shape[1])
    return joined


def ceiling(channels: Sequence[Channel]) -> float:
    """The accuracy of the best guess from these channels, all classes being equally frequent.

    It is the sum over all combinations of views of the largest class's share: ``sum_v max_k p(v | k) / K``.
    """
    joined = join(channels)
    return float(joined.max(axis=1).sum() / joined.shape[1])


def ceilings(channels: Mapping[str, Channel]) -> dict[str, float]:
    """The ceiling of every subset of the modalities, by their names joined by ``+``, in their order."""
    return {
        "+".join(subset): min(1.0, round(ceiling([channels[name] for name in subset]), 12))
        for subset in subsets(tuple(channels))
    }


def subsets(names: Sequence[str]) -> list[tuple[str, ...]]:
    """Every subset that is not empty, the small ones first."""
    return list(chain.from_iterable(combinations(names, size) for size in range(1, len(names) + 1)))


def draw_view(rng: np.random.Generator, channel: Channel, label: int) -> int:
    """Draw the view that a clip of class ``label`` shows."""
    return int(np.searchsorted(np.cumsum(channel[:-1, label]), rng.uniform(), side="right"))


def deal_classes(seed: int, count: int, classes: int) -> list[int]:
    """The class of each clip of a dataset, from shuffled decks of all classes: equally frequent, as ceilings assume."""
    rng = np.random.default_rng([seed, 105])
    decks = [rng.permutation(classes) for _ in range(-(-count // classes))]
    return [int(label) for label in np.concatenate(decks)[:count]]
