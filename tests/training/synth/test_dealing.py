"""Deals: balanced classes, clips of the promised lengths, and the same clip whatever the dataset's size."""

from __future__ import annotations

from collections import Counter, defaultdict
from itertools import islice

import numpy as np
import pytest

from training.synth.dealing import deal_clip, deal_clips
from training.synth.labels import ACTIVITIES


@pytest.mark.parametrize("seed", range(5))
def test_classes_are_balanced_in_count_and_in_seconds(seed: int) -> None:
    counts: Counter[str] = Counter()
    seconds: dict[str, float] = defaultdict(float)
    for deal in islice(deal_clips(seed), 200):
        for activity, duration in zip(deal.activities, deal.durations_seconds, strict=True):
            counts[activity.label] += 1
            seconds[activity.label] += duration
    assert len(counts) == 8
    assert max(counts.values()) - min(counts.values()) <= 1
    shares = np.array(list(seconds.values())) / sum(seconds.values())
    assert np.abs(shares * 8 - 1).max() < 0.03


def test_lengths_are_as_promised() -> None:
    deals = list(islice(deal_clips(3), 1000))
    activities = np.concatenate([deal.durations_seconds for deal in deals])
    clips = np.array([sum(deal.durations_seconds) for deal in deals])
    assert activities.min() >= 4.1
    assert activities.max() <= 7.85
    assert activities.mean() == pytest.approx((4.1 + 7.85) / 2, abs=0.03)
    assert clips.min() >= 8.2
    assert clips.max() <= 29.85
    assert clips.mean() == pytest.approx(16, abs=0.6)
    assert min(len(deal.activities) for deal in deals) == 2


def test_neighbours_differ_and_tell_nothing_about_any_single_bit() -> None:
    pairs = [
        pair
        for deal in islice(deal_clips(4), 2000)
        for pair in zip(deal.activities[:-1], deal.activities[1:], strict=True)
    ]
    assert all(one != other for one, other in pairs)
    # Of the seven others, four differ in a given bit: with about 3,250 pairs one standard deviation is 0.009.
    for bit in ("motion", "sound", "phrase"):
        changed = np.mean([getattr(one, bit) != getattr(other, bit) for one, other in pairs])
        assert changed == pytest.approx(4 / 7, abs=0.03)


def test_durations_do_not_depend_on_the_label() -> None:
    by_label = defaultdict(list)
    for deal in islice(deal_clips(5), 1500):
        for activity, duration in zip(deal.activities, deal.durations_seconds, strict=True):
            by_label[activity].append(duration)
    quartiles = np.array([np.quantile(by_label[activity], (0.25, 0.5, 0.75)) for activity in ACTIVITIES])
    assert np.abs(quartiles - quartiles.mean(axis=0)).max() < 0.15


def test_a_clip_is_the_same_in_every_dataset_of_its_seed() -> None:
    deals = list(islice(deal_clips(6), 12))
    assert deal_clip(6, 0) == deals[0]
    assert deal_clip(6, 11) == deals[11]
    assert deal_clip(7, 11) != deals[11]
