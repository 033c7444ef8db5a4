"""Which activities a dataset shows, in which clips, for how long: balanced in count and in time.

Labels come from shuffled decks of all eight. Durations are uniform and know nothing of the label, but each label draws
its own from strata, so that the seconds of the classes stay as equal as their counts. Dealing goes clip by clip: clip
``index`` of a seed is the same whatever the number of clips.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

import numpy as np

from training.synth.labels import ACTIVITIES, Activity

MIN_ACTIVITY_SECONDS, MAX_ACTIVITY_SECONDS = 4.1, 7.85
"""Kept 0.1 s inside 4 and 8 s, because an edge moves to the next frame."""
MIN_CLIP_SECONDS, MAX_CLIP_SECONDS = 8.2, 29.85
"""A clip takes activities until it passes a length drawn from here, less its longest last activity."""
LENGTH_SKEW = 1.8
"""Exponent of the drawn length: most clips are short, and the mean is about 16 s."""
NUM_STRATA = 4


@dataclass(frozen=True)
class Deal:
    """What one clip shows."""

    activities: tuple[Activity, ...]
    durations_seconds: tuple[float, ...]


def deal_clips(seed: int) -> Iterator[Deal]:
    """The deals of all clips of a dataset, without end, in the order of their index."""
    label_rng, duration_rng, length_rng = (np.random.default_rng([seed, stream]) for stream in (101, 102, 103))
    cards = _deal_activities(label_rng)
    strata: dict[Activity, list[float]] = {activity: [] for activity in ACTIVITIES}
    span = MAX_CLIP_SECONDS - MAX_ACTIVITY_SECONDS - MIN_CLIP_SECONDS
    card = next(cards)
    while True:
        enough_seconds = MIN_CLIP_SECONDS + span * length_rng.uniform() ** LENGTH_SKEW
        activities: list[Activity] = []
        durations: list[float] = []
        while sum(durations) < enough_seconds:
            if not strata[card]:
                strata[card] = _draw_strata(duration_rng)
            activities.append(card)
            durations.append(strata[card].pop())
            card = next(cards)
        yield Deal(tuple(activities), tuple(durations))


def deal_clip(seed: int, index: int) -> Deal:
    """The deal of clip ``index``."""
    return next(islice(deal_clips(seed), index, None))


def _deal_activities(rng: np.random.Generator) -> Iterator[Activity]:
    """Deck after deck, no activity twice in a row."""
    last = None
    while True:
        deck = rng.permutation(len(ACTIVITIES))
        # Reshuffling, unlike a swap, treats all labels alike, so no bit of a neighbour tells a bit of this one.
        while last is not None and ACTIVITIES[deck[0]] == last:
            deck = rng.permutation(len(ACTIVITIES))
        for place in deck:
            last = ACTIVITIES[place]
            yield last


def _draw_strata(rng: np.random.Generator) -> list[float]:
    """One duration from each of ``NUM_STRATA`` equal parts of the range, in random order."""
    places = (rng.permutation(NUM_STRATA) + rng.uniform(size=NUM_STRATA)) / NUM_STRATA
    return [float(MIN_ACTIVITY_SECONDS + (MAX_ACTIVITY_SECONDS - MIN_ACTIVITY_SECONDS) * place) for place in places]
