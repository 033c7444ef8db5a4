"""Sounds of a band, of a speaker and of a crowd at a game, each of many kinds, above a murmur that all have."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from training.synth.voice import Signal, draw_vowels, render_voice, shape_noise

SECONDS = 2
SAMPLE_RATES = (16_000, 22_050, 32_000, 44_100)


def render_sound(rng: np.random.Generator, view: int) -> tuple[Signal, int]:
    """Two seconds ``(L,)`` in [-1, 1] of one of ``EVENTS``, and the sample rate in Hz."""
    sample_rate = SAMPLE_RATES[rng.integers(len(SAMPLE_RATES))]
    kinds: tuple[Callable[[np.random.Generator, int], Signal], ...] = (_music, _speech, _game)
    wanted = kinds[view](rng, sample_rate)
    wanted = wanted / np.sqrt(np.mean(wanted**2))
    murmur = shape_noise(rng, len(wanted), sample_rate, rng.uniform(100, 300), rng.uniform(500, 2000))
    mix = wanted + 10 ** (-rng.uniform(8, 24) / 20) * murmur
    return rng.uniform(0.1, 0.9) * mix / np.abs(mix).max(), sample_rate


def _music(rng: np.random.Generator, sample_rate: int) -> Signal:
    """Chords of harmonic notes on the beats, with a drum."""
    seconds = np.arange(SECONDS * sample_rate) / sample_rate
    period, shift = 60 / rng.uniform(85, 160), rng.uniform()
    beat = seconds / period + shift
    within = (beat % 1) * period
    wave = np.zeros_like(seconds)
    root, chord = rng.uniform(110, 260), np.array([0, (3, 4)[rng.integers(2)], 7, (10, 12)[rng.integers(2)]])
    for number in range(int(beat[0]), int(beat[-1]) + 1):
        played = beat.astype(np.int64) == number
        step = int(rng.choice([0, 5, 7, 9]))
        decay = np.exp(-within[played] / rng.uniform(0.15, 0.8)) * np.minimum(1, within[played] / 0.005)
        for note in root * 2 ** ((chord + step) / 12):
            for harmonic in range(1, int(rng.integers(4, 8))):
                tone = np.sin(2 * np.pi * harmonic * note * seconds[played] + rng.uniform(0, 2 * np.pi))
                wave[played] += decay * tone / harmonic
    drum = np.sin(2 * np.pi * rng.uniform(50, 90) * within) * np.exp(-within / 0.08)
    hiss = rng.standard_normal(len(seconds)) * np.exp(-((beat * 2 % 1) * period / 2) / 0.03)
    return np.asarray(wave + rng.uniform(1, 4) * drum + rng.uniform(0.1, 0.6) * hiss)


def _speech(rng: np.random.Generator, sample_rate: int) -> Signal:
    """Syllables of a voice with pauses, and the hiss of consonants between them."""
    seconds = np.arange(SECONDS * sample_rate) / sample_rate
    place = seconds * rng.uniform(3.5, 5.5) + rng.uniform()
    syllables = place.astype(np.int64)
    spoken = rng.uniform(size=int(syllables.max()) + 1) > 0.15
    tones = rng.uniform(90, 230) * 2 ** rng.uniform(-0.25, 0.25, size=int(syllables.max()) + 2)
    pitch = np.interp(place, np.arange(len(tones)), tones)
    part = place % 1
    envelope = np.sin(np.pi * np.clip(part / 0.8, 0, 1)) * spoken[syllables]
    voice = render_voice(pitch, draw_vowels(rng, syllables, sample_rate), sample_rate)
    hiss = shape_noise(rng, len(seconds), sample_rate, 3000, 6000) * (part > 0.82) * spoken[syllables]
    return np.asarray(envelope * voice + rng.uniform(0.1, 0.5) * hiss)


def _game(rng: np.random.Generator, sample_rate: int) -> Signal:
    """The roar of a crowd that swells, claps, and a referee's whistle."""
    seconds = np.arange(SECONDS * sample_rate) / sample_rate
    swell = 1 + 0.5 * np.sin(2 * np.pi * rng.uniform(0.2, 0.8) * seconds + rng.uniform(0, 2 * np.pi))
    roar = shape_noise(rng, len(seconds), sample_rate, rng.uniform(250, 450), rng.uniform(1200, 2500))
    wave = swell * roar
    claps = np.zeros_like(seconds)
    for start in rng.uniform(0, SECONDS, size=rng.poisson(14)):
        since = seconds - start
        claps += np.where(since >= 0, np.exp(-np.maximum(since, 0) / 0.008), 0)
    wave += rng.uniform(0.5, 1.5) * claps * rng.standard_normal(len(seconds))
    for start in rng.uniform(0, SECONDS - 0.4, size=rng.integers(1, 3)):
        since = seconds - start
        blown = (since >= 0) & (since < rng.uniform(0.2, 0.7))
        trill = rng.uniform(2, 6) * np.sin(2 * np.pi * rng.uniform(20, 40) * since)
        wave += blown * rng.uniform(0.5, 1.2) * np.sin(2 * np.pi * rng.uniform(2200, 3400) * since + trill)
    return np.asarray(wave)
