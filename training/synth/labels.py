"""The eight activities: one bit each of motion, sound and phrase."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from models.config import Modality

MOTIONS = ("wave", "bounce")
"""An object that swings from side to side, or up and down."""
SOUNDS = ("rise", "fall")
"""Chirps whose pitch rises, or the same chirps played backwards."""
SENSES: tuple[Modality, ...] = ("video", "audio", "text")
"""Each carries one bit of the label."""
PHRASES = ("greet", "leave")
"""Words of somebody who arrives, or who goes."""


@dataclass(frozen=True)
class Activity:
    """One of the eight; each field is an index into ``MOTIONS``, ``SOUNDS`` or ``PHRASES``."""

    motion: int
    sound: int
    phrase: int

    def __post_init__(self) -> None:
        if not {self.motion, self.sound, self.phrase} <= {0, 1}:
            raise ValueError(f"the bits of an activity are 0 or 1, got {self.motion}, {self.sound}, {self.phrase}")

    @property
    def label(self) -> str:
        """For example ``"wave_rise_greet"``."""
        return f"{MOTIONS[self.motion]}_{SOUNDS[self.sound]}_{PHRASES[self.phrase]}"


ACTIVITIES = tuple(Activity(motion, sound, phrase) for motion in (0, 1) for sound in (0, 1) for phrase in (0, 1))
LABELS = tuple(activity.label for activity in ACTIVITIES)


def parse_label(label: str) -> Activity:
    """The activity of a label.

    Raises:
        ValueError: when there is no such label.
    """
    if label not in LABELS:
        raise ValueError(f"unknown label {label!r} (known labels: {', '.join(LABELS)})")
    return ACTIVITIES[LABELS.index(label)]


def ceiling(modalities: Sequence[Modality]) -> float:
    """The accuracy that nobody can pass who knows these modalities only: each of the three is one bit of the label.

    Args:
        modalities: which are known; none leaves chance, 1/8.
    """
    return float(2.0 ** (len(set(modalities)) - len(SENSES)))
