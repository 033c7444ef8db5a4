"""From a script to a waveform."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from training.synth.script import ClipScript
from training.synth.tones import Chirps, Room

CLICK_SECONDS = 0.003


def render_waveform(script: ClipScript) -> NDArray[np.float32]:
    """The clip's sound: ``(channels, L)`` float32 in [-1, 1], L samples from the timeline's first to its stop."""
    rng = np.random.default_rng([*script.noise_seed, 0])
    timeline, room = script.timeline, script.room
    pulses = np.zeros(timeline.stop_sample - timeline.first_sample)
    for segment in script.segments:
        start, stop = timeline.sample_at(segment.start_seconds), timeline.sample_at(segment.stop_seconds)
        offset_seconds = (start + timeline.first_sample) / timeline.sample_rate - float(segment.start_seconds)
        elapsed = offset_seconds + np.arange(stop - start) / timeline.sample_rate
        pulses[start:stop] = render_chirps(segment.chirps, segment.activity.sound, elapsed)
    noise_rms = np.sqrt(np.mean(pulses**2)) * 10 ** (-room.snr_db / 20)
    heard = pulses + _render_distractor(rng, room, len(pulses), timeline.sample_rate)
    noise = noise_rms * rng.standard_normal((len(room.balance), len(pulses)), dtype=np.float32)
    mix = room.peak * (np.asarray(room.balance)[:, None] * heard + noise)
    return np.asarray(np.clip(mix, -1, 1), dtype=np.float32)


def render_chirps(chirps: Chirps, sound: int, elapsed_seconds: NDArray[np.float64]) -> NDArray[np.float64]:
    """Pulses of amplitude 1 at times since the activity's start; ``sound`` 0 rises, 1 falls.

    A falling pulse is the rising one backwards, so the two have the same energy, duration and mean spectrum.
    """
    within = (elapsed_seconds + chirps.shift * chirps.period_seconds) % chirps.period_seconds
    inside = within < chirps.pulse_seconds
    forward = within[inside] / chirps.pulse_seconds
    part = forward if sound == 0 else 1 - forward
    # The phase of a sweep that is even in octaves: the integral of low * ratio ** part over the pulse.
    sweep = chirps.low_hz * chirps.pulse_seconds / np.log(chirps.ratio)
    phase = 2 * np.pi * sweep * (chirps.ratio**part - 1)
    tone = (np.sin(phase) + chirps.overtone * np.sin(2 * phase)) / (1 + chirps.overtone)
    wave = np.zeros_like(elapsed_seconds)
    wave[inside] = np.sin(np.pi * part) * tone
    return wave


def _render_distractor(rng: np.random.Generator, room: Room, length: int, sample_rate: int) -> NDArray[np.float64]:
    """``(length,)`` of a hum, of clicks at random times, or of nothing."""
    if room.distractor == "hum":
        phase = 2 * np.pi * room.hum_hz * np.arange(length) / sample_rate
        return room.distractor_level * (np.sin(phase) + 0.3 * np.sin(3 * phase))
    wave = np.zeros(length)
    if room.distractor == "clicks":
        times = np.arange(round(CLICK_SECONDS * 5 * sample_rate)) / sample_rate
        click = 3 * room.distractor_level * np.exp(-times / CLICK_SECONDS) * np.sin(2 * np.pi * 1500 * times)
        for place in rng.integers(length - len(click), size=rng.poisson(room.clicks_a_second * length / sample_rate)):
            wave[place : place + len(click)] += click
    return wave
