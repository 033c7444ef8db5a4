"""A made-up voice: the harmonics of a gliding pitch, as loud as the formants of changing vowels let them be."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Signal = NDArray[np.float64]
"""``(L,)``."""

VOWELS = (
    (730, 1090, 2440),
    (270, 2290, 3010),
    (300, 870, 2240),
    (530, 1840, 2480),
    (570, 840, 2410),
    (660, 1720, 2410),
)
"""Formants in Hz (Peterson and Barney, 1952): of father, see, who, bed, law, cat."""
FORMANT_WIDTH_HZ = 110.0
FORMANT_LEVELS = (1.0, 0.5, 0.25)
MAX_HARMONIC_HZ = 4000.0


def render_voice(pitch_hz: Signal, formants: NDArray[np.float64], sample_rate: int) -> Signal:
    """Sound a voice.

    Args:
        pitch_hz: at each sample, ``(L,)``.
        formants: in Hz at each sample, ``(L, 3)``.
        sample_rate: in Hz.

    Returns:
        ``(L,)``, of the order of 1.
    """
    phase = 2 * np.pi * np.cumsum(pitch_hz) / sample_rate
    # Gains change slowly: they are found at every 64th sample and drawn out in between.
    coarse = np.arange(0, len(pitch_hz) + 63, 64).clip(max=len(pitch_hz) - 1)
    fine = np.arange(len(pitch_hz))
    wave = np.zeros_like(pitch_hz)
    # sin((n + 1) x) = 2 cos(x) sin(n x) - sin((n - 1) x): a product a harmonic instead of a sine.
    twice, before, harmonic = 2 * np.cos(phase), np.zeros_like(phase), np.sin(phase)
    for number in range(1, int(MAX_HARMONIC_HZ / pitch_hz.min()) + 1):
        tone = number * pitch_hz[coarse]
        gain = np.zeros_like(tone)
        for place, level in enumerate(FORMANT_LEVELS):
            gain += level / (1 + ((tone - formants[coarse, place]) / FORMANT_WIDTH_HZ) ** 2)
        gain[tone > MAX_HARMONIC_HZ] = 0
        wave += np.interp(fine, coarse, gain) * harmonic
        before, harmonic = harmonic, twice * harmonic - before
    return wave


def draw_vowels(rng: np.random.Generator, syllables: NDArray[np.int64], sample_rate: int) -> NDArray[np.float64]:
    """Formants of a random vowel for each syllable, gliding from one to the next: ``(L, 3)`` in Hz.

    Args:
        rng: what is drawn comes from here.
        syllables: the number of the syllable at each sample, ``(L,)``.
        sample_rate: in Hz.
    """
    voices = np.asarray(VOWELS, np.float64)[rng.integers(len(VOWELS), size=int(syllables.max()) + 1)]
    formants = voices[syllables] * rng.uniform(0.9, 1.15)
    glide = max(1, round(0.03 * sample_rate))
    padded = np.pad(formants, ((glide // 2, glide - 1 - glide // 2), (0, 0)), mode="edge")
    sums = np.cumsum(np.pad(padded, ((1, 0), (0, 0))), axis=0)
    return np.asarray((sums[glide:] - sums[:-glide]) / glide)


def shape_noise(rng: np.random.Generator, length: int, sample_rate: int, low_hz: float, high_hz: float) -> Signal:
    """Noise of a band with soft edges, ``(length,)``, of mean square 1."""
    frequencies = np.fft.rfftfreq(length, 1 / sample_rate)
    shape = 1 / (1 + (low_hz / np.maximum(frequencies, 1.0)) ** 4) / (1 + (frequencies / high_hz) ** 4)
    noise = np.fft.irfft(np.fft.rfft(rng.standard_normal(length)) * shape, length)
    return np.asarray(noise / np.sqrt(np.mean(noise**2)))
