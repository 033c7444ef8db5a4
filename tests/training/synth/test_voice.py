"""The voice, against a plain sum of sines."""

from __future__ import annotations

import numpy as np

from training.synth.voice import FORMANT_LEVELS, FORMANT_WIDTH_HZ, draw_vowels, render_voice, shape_noise


def test_harmonics_by_recurrence_are_sines() -> None:
    rate, pitch = 16_000, 150 * 2 ** np.linspace(0, 0.5, 4000)
    formants = np.broadcast_to(np.array([500.0, 1500.0, 2500.0]), (4000, 3))
    expected = np.zeros(4000)
    phase = 2 * np.pi * np.cumsum(pitch) / rate
    for number in range(1, 27):
        gains = [
            level / (1 + ((number * pitch - formant) / FORMANT_WIDTH_HZ) ** 2)
            for level, formant in zip(FORMANT_LEVELS, (500, 1500, 2500), strict=True)
        ]
        expected += np.sum(gains, axis=0) * (number * pitch <= 4000) * np.sin(number * phase)
    found = render_voice(pitch, formants, rate)
    assert np.abs(found - expected).max() < 0.02 * np.abs(expected).max()  # gains lie on every 64th sample


def test_vowels_glide() -> None:
    syllables = np.repeat([0, 1, 2], 4000)
    formants = draw_vowels(np.random.default_rng(1), syllables, 16_000)
    assert formants.shape == (12_000, 3)
    np.testing.assert_allclose(formants[:3000], np.broadcast_to(formants[0], (3000, 3)), rtol=1e-9)
    assert np.abs(np.diff(formants, axis=0)).max() < 3000 / 480 + 1


def test_noise_keeps_to_its_band() -> None:
    noise = shape_noise(np.random.default_rng(0), 16_000, 16_000, 500, 1500)
    assert np.isclose(np.mean(noise**2), 1)
    power = np.abs(np.fft.rfft(noise)) ** 2
    assert power[500:1500].mean() > 20 * power[3000:].mean()
    assert power[500:1500].mean() > 20 * power[:150].mean()
