"""Pitch and loudness glide as the view says."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from training.synth.sentiment.prosody import draw_prosody, render_prosody

RATE = 16_000


def test_pitch_and_loudness_move_within_a_syllable() -> None:
    """Pitch by the lowest strong harmonic in short cuts; loudness by the energy's centre in a syllable."""
    for seed in range(4):
        lean, glide = [], []
        for view in range(3):
            prosody = replace(
                draw_prosody(np.random.default_rng(seed), view), shift=0.0, snr_db=60.0, syllables_a_second=2.5
            )
            wave = render_prosody(np.random.default_rng(1), prosody, 2 * RATE, RATE)
            syllables = wave[: 5 * 6400].reshape(5, 6400)
            energy = np.square(syllables).sum(axis=0)
            lean.append(float(energy @ np.arange(6400) / energy.sum() / 6400))
            early, late = (pitch_of(syllables[:, start : start + 1600]) for start in (1100, 3700))
            glide.append(np.log2(late / early))
        assert lean[0] < lean[1] - 0.03 < lean[2] - 0.06
        assert glide[0] < -0.15 < glide[1] < 0.15 < glide[2]


def pitch_of(cuts: np.ndarray[tuple[int, int], np.dtype[np.float64]]) -> float:
    """Hz: the median over cuts of the best lag of the autocorrelation between 60 and 330 Hz."""
    lags = []
    for cut in cuts * np.hanning(cuts.shape[1]):
        correlation = np.correlate(cut, cut, "full")[len(cut) - 1 :] / (1 - np.arange(len(cut)) / len(cut))
        lags.append(RATE / 330 + np.argmax(correlation[round(RATE / 330) : round(RATE / 60)]))
    return float(RATE / np.median(lags))


def test_the_same_draws_whatever_the_view() -> None:
    one, other = (draw_prosody(np.random.default_rng(5), view) for view in (0, 2))
    assert replace(one, view=2) == other


def test_the_peak_is_as_drawn() -> None:
    prosody = draw_prosody(np.random.default_rng(2), 1)
    wave = render_prosody(np.random.default_rng(0), prosody, RATE, RATE)
    assert wave.shape == (RATE,)
    assert np.isclose(np.abs(wave).max(), prosody.peak)
