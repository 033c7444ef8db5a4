"""What decode gives: one clip, cut into the hops of its schedule, modality by modality."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from handler.windows import Schedule, Span
from models.config import Modality


@dataclass(frozen=True)
class Waveform:
    """Mono sound."""

    samples: NDArray[np.float32]
    """``(L,)`` float32, nominally in [-1, 1], always finite."""
    sample_rate: int
    """Hz."""
    start_seconds: float
    """Time of sample 0 on the clip's timeline."""

    def __post_init__(self) -> None:
        if self.samples.ndim != 1 or self.samples.dtype != np.float32:
            raise ValueError(f"samples must be (L,) float32, got {self.samples.shape} {self.samples.dtype}")

    @property
    def duration_seconds(self) -> float:
        """Length in seconds."""
        return len(self.samples) / self.sample_rate

    @property
    def span(self) -> Span:
        """The interval that the samples cover."""
        return Span(self.start_seconds, self.start_seconds + self.duration_seconds)

    def __repr__(self) -> str:
        return f"Waveform({len(self.samples)} samples, {self.sample_rate} Hz, start {self.start_seconds:.3f} s)"


@dataclass(frozen=True)
class Cue:
    """Words with their time."""

    start_seconds: float
    stop_seconds: float
    text: str


@dataclass(frozen=True)
class Words:
    """The text modality: cues, or one text without times."""

    cues: tuple[Cue, ...] = ()
    """Timed words, in order of their start."""
    untimed: str | None = None
    """Words that hold for the whole clip."""
    heard_in: Span | None = None
    """The interval of the sound in which these words were heard; None where they were sent."""


@dataclass(frozen=True)
class VectorSequence:
    """Vectors with their times."""

    seconds: NDArray[np.float64]
    """``(T,)`` float64 on the clip's timeline, finite, never falling; T is at least 1."""
    values: NDArray[np.float64]
    """``(T, C)`` float64, finite."""
    period_seconds: float
    """How long the last vector holds: the mean time from one to the next."""

    def __post_init__(self) -> None:
        if self.values.ndim != 2 or self.seconds.shape != self.values.shape[:1] or not len(self.seconds):
            raise ValueError(f"a sequence has (T,) seconds and (T, C) values, got {self.values.shape}")

    @property
    def span(self) -> Span:
        """The interval that the vectors cover."""
        return Span(float(self.seconds[0]), float(self.seconds[-1]) + self.period_seconds)

    def __repr__(self) -> str:
        times, channels = self.values.shape
        return f"VectorSequence({times} times, {channels} channels, start {self.seconds[0]:.3f} s)"


Row = Mapping[str, float | str | None]
"""One row of a table: for each column of the model a number or a category as it was sent, None where it is missing."""


@dataclass(frozen=True)
class ModalityStatus:
    """Whether a modality was used and, if not, why."""

    used: bool
    code: str | None = None
    """Code of the closed list, or ``not_sent`` or ``not_in_model``."""
    reason: str | None = None


@dataclass(frozen=True)
class Clip:
    """One decoded clip; the first axis of what has times is the schedule's hops (N)."""

    schedule: Schedule
    modalities: dict[Modality, ModalityStatus]
    frames: NDArray[np.uint8] | None = None
    """``(N, T, 3, H, W)`` uint8 RGB; None when video is not used."""
    samples: NDArray[np.float32] | None = None
    """``(N, P)`` float32: each hop's samples with the context that its spectrogram needs; None without audio."""
    texts: tuple[str, ...] | None = None
    """N texts, the words of the cues that overlap each hop; None without text."""
    image: NDArray[np.uint8] | None = None
    """``(3, H, W)`` uint8 RGB, which stands on every hop; None without an image."""
    row: Row | None = None
    """The table's row, which stands on every hop; None without a table."""
    depth: NDArray[np.uint8] | None = None
    """``(N, T, 1, H, W)`` uint8; None without depth."""
    vectors: dict[Modality, NDArray[np.float32]] = field(default_factory=dict)
    """For each used sequence of vectors ``(N, R, C)`` float32, resampled to R rows a hop."""
    masks: dict[Modality, NDArray[np.bool_]] = field(default_factory=dict)
    """For each used modality ``(N,)`` bool, True where the hop has it."""

    transcript: tuple[Cue, ...] | None = None
    """The words that were heard in the sound; None where nobody asked for them."""

    def __repr__(self) -> str:
        used = [name for name, status in self.modalities.items() if status.used]
        return f"Clip({self.schedule.num_hops} hops of {self.schedule.stride_seconds} s, {'+'.join(used)})"
