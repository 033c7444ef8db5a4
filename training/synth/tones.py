"""What can be heard, in numbers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

Distractor = Literal["none", "hum", "clicks"]
DISTRACTORS: tuple[Distractor, ...] = ("none", "hum", "clicks")


@dataclass(frozen=True)
class Chirps:
    """The pulses of one activity: each sweeps ``low_hz`` to ``low_hz * ratio``, evenly in octaves."""

    low_hz: float
    ratio: float
    pulse_seconds: float
    period_seconds: float
    """From one pulse to the next."""
    shift: float
    """Where in its period the activity begins, as a fraction of it."""
    overtone: float
    """Amplitude of the second harmonic; the first has 1."""


@dataclass(frozen=True)
class Room:
    """A clip's sound without its pulses."""

    peak: float
    """Amplitude of the pulses, full scale being 1."""
    balance: tuple[float, ...]
    """Gain of each channel: one for mono, two for stereo."""
    snr_db: float
    """Mean power of the pulses over that of the noise."""
    distractor: Distractor
    distractor_level: float
    """Amplitude relative to ``peak``."""
    hum_hz: float
    clicks_a_second: float


def draw_chirps(rng: np.random.Generator) -> Chirps:
    """Draw pulses that stay below 5 kHz with their overtone, two to four of them a second."""
    pulse = float(rng.uniform(0.22, 0.32))
    return Chirps(
        low_hz=float(rng.uniform(350, 800)),
        ratio=float(rng.uniform(2.2, 3.0)),
        pulse_seconds=pulse,
        period_seconds=pulse + float(rng.uniform(0.05, 0.15)),
        shift=float(rng.uniform()),
        overtone=float(rng.uniform(0, 0.3)),
    )


def draw_room(rng: np.random.Generator) -> Room:
    """Draw gain, channels, noise and a distractor."""
    quieter = float(rng.uniform(0.4, 1.0))
    layout = rng.integers(3)
    return Room(
        peak=float(0.08 * (0.5 / 0.08) ** rng.uniform()),
        balance=((1.0,), (1.0, quieter), (quieter, 1.0))[layout],
        snr_db=float(rng.uniform(10, 30)),
        distractor=DISTRACTORS[rng.integers(len(DISTRACTORS))],
        distractor_level=float(rng.uniform(0.1, 0.4)),
        hum_hz=float(rng.choice([50, 60, 100, 120])),
        clicks_a_second=float(rng.uniform(0.3, 1.5)),
    )
