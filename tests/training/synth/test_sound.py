"""Sound: the two kinds have the same energy and spectrum, and only the direction of the pitch tells them apart."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.training.synth.scripts import find_script
from training.synth.labels import Activity
from training.synth.script import ClipScript
from training.synth.sound import render_chirps, render_waveform
from training.synth.tones import Chirps, draw_chirps

CHIRPS = Chirps(low_hz=400, ratio=2.5, pulse_seconds=0.25, period_seconds=0.4, shift=0.0, overtone=0.2)
RATE = 16_000


def pitches(wave: NDArray[np.float64], sample_rate: int) -> NDArray[np.float64]:
    """Loudest frequency in Hz of each 16 ms."""
    size = round(0.016 * sample_rate)
    frames = wave[: len(wave) // size * size].reshape(-1, size) * np.hanning(size)
    return np.asarray(np.abs(np.fft.rfft(frames, 4096)).argmax(axis=1) * sample_rate / 4096)


def test_a_falling_pulse_is_a_rising_one_backwards() -> None:
    elapsed = (np.arange(round(0.25 * RATE)) + 0.5) / RATE
    rise, fall = (render_chirps(CHIRPS, sound, elapsed) for sound in (0, 1))
    np.testing.assert_allclose(fall, rise[::-1], atol=1e-9)
    assert 0.75 < np.abs(rise).max() <= 1.0
    found = pitches(rise, RATE)
    assert found[1] == pytest.approx(400 * 2.5 ** (1.5 * 0.016 / 0.25), rel=0.05)
    assert found[-2] == pytest.approx(400 * 2.5 ** (1 - 1.5 * 0.016 / 0.25), rel=0.05)


def test_pulses_come_once_a_period_from_the_shift_on() -> None:
    elapsed = np.arange(2 * RATE) / RATE
    wave = render_chirps(CHIRPS, 0, elapsed)
    silent = np.abs(wave) < 1e-12
    assert silent[round(0.26 * RATE) : round(0.39 * RATE)].all()
    np.testing.assert_allclose(wave[round(0.4 * RATE) : round(0.6 * RATE)], wave[: round(0.2 * RATE)], atol=1e-6)
    shifted = render_chirps(replace(CHIRPS, shift=0.25), 0, elapsed)
    np.testing.assert_allclose(shifted[:RATE], wave[round(0.1 * RATE) : round(0.1 * RATE) + RATE], atol=1e-6)


def test_both_sounds_have_the_same_energy() -> None:
    rng = np.random.default_rng(0)
    elapsed = np.arange(6 * RATE) / RATE
    powers = np.array(
        [[np.mean(render_chirps(c, s, elapsed) ** 2) for s in (0, 1)] for c in map(draw_chirps, [rng] * 30)]
    )
    np.testing.assert_allclose(powers[:, 0], powers[:, 1], rtol=0.06)
    assert powers.mean(axis=0)[0] == pytest.approx(powers.mean(axis=0)[1], rel=0.01)


@pytest.mark.parametrize("sound", [0, 1])
@pytest.mark.parametrize("distractor", ["none", "hum", "clicks"])
def test_the_sound_is_read_from_the_direction_of_the_pitch(sound: int, distractor: str) -> None:
    script = find_script(lambda script: script.room.distractor == distractor, Activity(1, sound, 0))
    timeline = script.timeline
    pitch = pitches(render_waveform(script)[0].astype(float), timeline.sample_rate)
    steps = np.diff(np.log2(np.clip(pitch, 200, 3000)))
    within_pulse = np.abs(steps) < 0.3
    assert (np.sum(steps[within_pulse]) > 0) == (sound == 0)


def quiet(script: ClipScript) -> ClipScript:
    return replace(script, room=replace(script.room, distractor="none", snr_db=200.0, peak=0.5))


def test_the_waveform_fills_the_timeline_and_changes_at_the_edge() -> None:
    script = quiet(find_script(lambda script: len(script.room.balance) == 2 and script.timeline.first_sample > 0))
    timeline = script.timeline
    waveform = render_waveform(script)
    assert waveform.dtype == np.float32
    assert waveform.shape == (2, timeline.stop_sample - timeline.first_sample)
    np.testing.assert_allclose(waveform[0] * script.room.balance[1], waveform[1] * script.room.balance[0], atol=1e-6)
    before, after = script.segments
    edge = timeline.sample_at(before.stop_seconds)
    assert (edge + timeline.first_sample) / timeline.sample_rate == pytest.approx(
        float(before.stop_seconds), abs=0.5 / timeline.sample_rate
    )
    seconds = (np.arange(waveform.shape[1]) + timeline.first_sample) / timeline.sample_rate
    gain = 0.5 * script.room.balance[0]
    for segment, part in ((before, slice(0, edge)), (after, slice(edge, None))):
        elapsed = seconds[part] - float(segment.start_seconds)
        wave = gain * render_chirps(segment.chirps, segment.activity.sound, elapsed)
        np.testing.assert_allclose(waveform[0, part], wave, atol=1e-5)


def test_noise_has_its_level() -> None:
    script = quiet(find_script(lambda script: len(script.room.balance) == 1))
    clean = render_waveform(script)
    noisy = render_waveform(replace(script, room=replace(script.room, snr_db=20.0)))
    snr_db = 10 * np.log10(np.mean(clean**2) / np.mean((noisy - clean) ** 2))
    assert snr_db == pytest.approx(20, abs=0.3)
