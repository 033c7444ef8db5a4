"""Sounds of the three kinds, by measures that a listener would name."""

from __future__ import annotations

import numpy as np
import pytest

from training.synth.events.sound import SAMPLE_RATES, SECONDS, render_sound
from training.synth.events.views import EVENTS


def flatness(view: int, seed: int) -> float:
    """Geometric over arithmetic mean of the spectrum between 300 and 3000 Hz: near 1 for noise, near 0 for tones."""
    wave, sample_rate = render_sound(np.random.default_rng([seed, view]), view)
    frequencies = np.fft.rfftfreq(len(wave), 1 / sample_rate)
    power = np.abs(np.fft.rfft(wave)) ** 2
    power = power[(frequencies > 300) & (frequencies < 3000)]
    return float(np.exp(np.mean(np.log(power))) / power.mean())


def pauses(view: int, seed: int) -> float:
    """How far the quietest tenth of a second lies below the mean, as a share of it."""
    wave, _ = render_sound(np.random.default_rng([seed, view]), view)
    power = np.square(wave).reshape(10 * SECONDS, -1).mean(axis=1)
    return float(power.min() / power.mean())


def test_each_kind_has_its_mark() -> None:
    seeds = range(12)
    music, speech, game = ([flatness(view, seed) for seed in seeds] for view in range(3))
    assert np.median(game) > 3 * np.median(music)
    assert np.median(game) > 1.3 * np.median(speech)
    still = [np.median([pauses(view, seed) for seed in seeds]) for view in range(3)]
    assert still[1] < still[0] / 2
    assert still[1] < still[2] / 2


@pytest.mark.parametrize("view", range(3), ids=EVENTS)
def test_a_sound_lasts_two_seconds_and_is_not_clipped(view: int) -> None:
    for seed in range(4):
        wave, sample_rate = render_sound(np.random.default_rng([seed, view]), view)
        assert sample_rate in SAMPLE_RATES
        assert wave.shape == (SECONDS * sample_rate,)
        assert 0.1 <= np.abs(wave).max() <= 0.9
