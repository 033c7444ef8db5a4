"""The eight activities: one bit each of motion, sound and phrase."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from models.config import Modality

Bit = Literal["motion", "sound", "phrase"]
Track = Literal["imu", "depth"]

MOTIONS = ("wave", "bounce")
"""An object that swings from side to side, or up and down."""
SOUNDS = ("rise", "fall")
"""Chirps whose pitch rises, or the same chirps played backwards."""
PHRASES = ("greet", "leave")
"""Words of somebody who arrives, or who goes."""
BITS: tuple[Bit, ...] = ("motion", "sound", "phrase")
"""What a label is made of, in the order of its name."""
NAMES: dict[Bit, tuple[str, str]] = {"motion": MOTIONS, "sound": SOUNDS, "phrase": PHRASES}

SENSES: tuple[Modality, ...] = ("video", "audio", "text")
"""Each carries one bit of the label; every clip has them."""
TRACKS: tuple[Track, ...] = ("imu", "depth")
"""Further views of the motion, which a clip has when they are asked for."""
BIT_OF: dict[Modality, Bit] = {
    "video": "motion",
    "audio": "sound",
    "text": "phrase",
    "imu": "motion",
    "depth": "motion",
}
"""The bit that a modality carries."""


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
        return self.name_bits(BITS)

    def name_bits(self, bits: Sequence[Bit]) -> str:
        """The label where only some bits count: for example ``"wave_rise"`` of motion and sound."""
        return "_".join(NAMES[bit][getattr(self, bit)] for bit in BITS if bit in bits)


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


def ceiling(modalities: Sequence[Modality], bits: Sequence[Bit] = BITS) -> float:
    """The accuracy that nobody can pass who knows these modalities only: each tells one bit, and some the same one.

    Args:
        modalities: which are known; none leaves chance, 1/8 for all bits.
        bits: those that the labels are made of.
    """
    known = {BIT_OF[modality] for modality in modalities} & set(bits)
    return float(2.0 ** (len(known) - len(set(bits))))
