"""How something is said: the pitch and the loudness of each syllable rise, fall or stay."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from training.synth.voice import Signal, draw_vowels, render_voice, shape_noise

SWELLS = (0.55, 1.0, 1.8)
"""By sentiment; the exponent of a syllable's time: below 1 it is loudest early, above 1 late."""
GLIDES = (-1.0, 0.0, 1.0)
"""By sentiment; the sign of a syllable's change of pitch."""


@dataclass(frozen=True)
class Prosody:
    """A voice and how it speaks."""

    view: int
    pitch_hz: float
    octaves: float
    """By which the pitch of a syllable changes, where it does."""
    syllables_a_second: float
    shift: float
    """Where in a syllable the clip begins, as a fraction of it."""
    peak: float
    """Full scale being 1."""
    snr_db: float


def draw_prosody(rng: np.random.Generator, view: int) -> Prosody:
    """Draw how one of ``SENTIMENTS`` is said; all else is drawn alike for the three."""
    return Prosody(
        view=view,
        pitch_hz=float(110 * 2 ** rng.uniform(0, 1)),
        octaves=float(rng.uniform(0.6, 1.0)),
        syllables_a_second=float(rng.uniform(2.4, 3.4)),
        shift=float(rng.uniform()),
        peak=float(0.1 * 6 ** rng.uniform()),
        snr_db=float(rng.uniform(12, 30)),
    )


def render_prosody(rng: np.random.Generator, prosody: Prosody, length: int, sample_rate: int) -> Signal:
    """The voice above the noise of a room: ``(length,)`` in [-1, 1]."""
    place = np.arange(length) / sample_rate * prosody.syllables_a_second + prosody.shift
    syllables = place.astype(np.int64)
    part = place % 1
    # The middle of a syllable has the same pitch whichever way it glides.
    octaves = GLIDES[prosody.view] * prosody.octaves * (part - 0.5)
    tones = prosody.pitch_hz * 2 ** rng.uniform(-0.12, 0.12, size=int(syllables.max()) + 1)
    stress = rng.uniform(0.6, 1, size=len(tones))
    envelope = stress[syllables] * np.sin(np.pi * np.clip(part / 0.9, 0, 1) ** SWELLS[prosody.view])
    voice = envelope * render_voice(
        tones[syllables] * 2**octaves, draw_vowels(rng, syllables, sample_rate), sample_rate
    )
    level = 10 ** (-prosody.snr_db / 20) * np.sqrt(np.mean(voice**2))
    mix = voice + level * shape_noise(rng, length, sample_rate, 50, 3000)
    return np.asarray(prosody.peak * mix / np.abs(mix).max())
