"""Decoded sound, block by block, laid by its times on one timeline at one sample rate, mono.

Gaps become silence, overlaps are cut, and where the sample rate, the channels or the sample format change in mid-file
a new run begins, which is resampled by itself. Nothing is held but a few blocks, so it may be as long as it wants;
whole and in pieces it gives the same bits.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from handler.errors import LimitExceeded, UndecodableMedia
from handler.limits import Limits
from handler.packets import check_duration
from handler.resampling import ResamplerState, StreamResampler

_TOLERANCE_SECONDS = 0.02
"""A smaller gap or overlap is rounding of the container's timestamps (Matroska: 1 ms, AVI: a packet)."""

_MAX_CHANGES = 16
"""Changes of sample rate, channels or sample format in mid-file."""

_SCALES: dict[str, tuple[type[np.generic], float, float]] = {
    "u8": (np.uint8, 128.0, 1 / 2**7),
    "s16": (np.int16, 0.0, 1 / 2**15),
    "s32": (np.int32, 0.0, 1 / 2**31),
    "s64": (np.int64, 0.0, 1 / 2**63),
    "flt": (np.float32, 0.0, 1.0),
    "dbl": (np.float64, 0.0, 1.0),
}
"""FFmpeg's packed sample formats: type, the value of silence, factor to [-1, 1]; planar ones add a "p"."""

_BLOCK_SAMPLES = 65_536
"""Samples that are brought to mono at once: many frames, since numpy's price is by the call, yet few megabytes."""


@dataclass(frozen=True)
class SoundFormat:
    """What a decoder's samples are."""

    rate: int
    """Hz."""
    channels: int
    kind: str
    """FFmpeg's name of the sample format."""


@dataclass(frozen=True)
class Placed:
    """Sound that has found its place."""

    place: int
    """Samples after the line's start; what comes later counts where two overlap, as they can where the format
    changes."""
    samples: NDArray[np.float32]
    """``(L,)`` float32 in [-1, 1]."""


@dataclass(frozen=True)
class LineState:
    """Where a :class:`SoundLine` stands: all that it needs to go on."""

    start_seconds: float
    """Of the line: when its first sample is heard."""
    num_runs: int
    """Runs so far, with the one that is going on."""
    seconds_before: float
    """Decoded in the runs before this one."""
    format: SoundFormat
    """Of this run, as is all that follows."""
    run_start_seconds: float
    num_samples: int
    """On the timeline so far, at the run's own rate."""
    num_decoded: int
    """Those that came out of the decoder; more than ``num_samples`` where they overlap, fewer where there are gaps."""
    resampler: ResamplerState

    @property
    def stop_seconds(self) -> float:
        """Where the next sample belongs."""
        return self.run_start_seconds + self.num_samples / self.format.rate


class SoundLine:
    """Lays sound on a timeline that begins with the first sample.

    What :meth:`append`, :meth:`settle` and :meth:`finish` give is to be read to its end before the next call.

    Args:
        sample_rate: of the line, in Hz.
        limits: bounds on sample rate, channels and seconds.
        first_seconds: where the first sample belongs if it does not say.
        state: of a line of the same sample rate, to go on from there.
    """

    def __init__(
        self, sample_rate: int, limits: Limits, *, first_seconds: float = 0.0, state: LineState | None = None
    ) -> None:
        self._sample_rate = sample_rate
        self._limits = limits
        self._first_seconds = first_seconds
        self._state = state
        self._resampler = None if state is None else StreamResampler(state.format.rate, sample_rate, state.resampler)
        self._waiting: list[NDArray[Any]] = []
        self._num_waiting = 0

    @property
    def start_seconds(self) -> float | None:
        """The time of the line's place 0; None until a sample has come."""
        return None if self._state is None else self._state.start_seconds

    @property
    def started_seconds(self) -> float:
        """As :attr:`start_seconds`, where a sample has come."""
        return self._ongoing().start_seconds

    @property
    def state(self) -> LineState | None:
        """Where the line stands; None until a sample has come.

        Raises:
            ValueError: samples wait to be brought to mono: :meth:`settle` first.
        """
        if self._waiting:
            raise ValueError(f"{self._num_waiting} samples wait: settle before the state is taken")
        if self._state is None or self._resampler is None:
            return None
        return replace(self._state, resampler=self._resampler.state)

    def check(self, form: SoundFormat) -> None:
        """Hold a format against the limits before its samples are touched.

        Raises:
            LimitExceeded: a sample rate or a number of channels out of bounds.
        """
        check_sound(form.rate, form.channels, self._limits)

    def append(self, samples: NDArray[Any], form: SoundFormat, seconds: float | None) -> Iterator[Placed]:
        """Lay samples ``(C, L)`` of a format at a time; None continues. Gives what has found its place.

        Raises:
            LimitExceeded: a sample rate, channels or a length out of bounds; before a gap is filled.
            UndecodableMedia: the format changes too often.
        """
        if not samples.shape[1]:
            return
        if self._state is None or self._state.format != form:
            yield from self._begin(form, seconds)
        state = self._ongoing()
        lead = 0 if seconds is None else round((seconds - state.run_start_seconds) * form.rate) - state.num_samples
        tolerance = _TOLERANCE_SECONDS * form.rate
        silence = lead if lead > tolerance else 0
        num_decoded = samples.shape[1]
        if lead < -tolerance:
            samples = samples[:, -lead:]
        state = replace(
            state,
            num_samples=state.num_samples + silence + samples.shape[1],
            num_decoded=state.num_decoded + num_decoded,
        )
        check_duration(state.num_samples / form.rate, self._limits)
        # overlaps cost time all the same
        check_duration(state.seconds_before + state.num_decoded / form.rate, self._limits)
        if silence:
            yield from self.settle()
            yield from self._fill(silence)
        self._state = state
        if samples.shape[1]:
            self._waiting.append(samples)
            self._num_waiting += num_decoded  # what is cut stays in memory as well
        if self._num_waiting >= _BLOCK_SAMPLES:
            yield from self.settle()

    def settle(self) -> Iterator[Placed]:
        """Give what waits to be brought to mono."""
        if self._waiting:
            mono = to_mono(np.concatenate(self._waiting, axis=1), self._ongoing().format.kind)
            self._waiting.clear()
            self._num_waiting = 0
            yield from self._resampled(mono)

    def finish(self) -> Iterator[Placed]:
        """Give the rest. Nothing follows, but a sound of another format."""
        yield from self.settle()
        if self._resampler is not None:
            place = self._place()
            yield from self._placed(place, self._resampler.finish())

    def _ongoing(self) -> LineState:
        if self._state is None:
            raise ValueError("no sample has come yet")
        return self._state

    def _begin(self, form: SoundFormat, seconds: float | None) -> Iterator[Placed]:
        """End the run that is going on and begin one of another format."""
        check_sound(form.rate, form.channels, self._limits)
        before = self._state
        if before is not None and before.num_runs > _MAX_CHANGES:
            raise UndecodableMedia(
                f"the sound changes its format more than {_MAX_CHANGES} times", remedy="Send one sample rate."
            )
        yield from self.finish()
        if seconds is None:
            seconds = self._first_seconds if before is None else before.stop_seconds
        self._resampler = StreamResampler(form.rate, self._sample_rate)
        self._state = LineState(
            start_seconds=seconds if before is None else before.start_seconds,
            num_runs=1 if before is None else before.num_runs + 1,
            seconds_before=0.0 if before is None else before.seconds_before + before.num_decoded / before.format.rate,
            format=form,
            run_start_seconds=seconds,
            num_samples=0,
            num_decoded=0,
            resampler=self._resampler.state,
        )

    def _fill(self, num_samples: int) -> Iterator[Placed]:
        """Silence, block by block."""
        for start in range(0, num_samples, _BLOCK_SAMPLES):
            yield from self._resampled(np.zeros(min(_BLOCK_SAMPLES, num_samples - start), dtype=np.float32))

    def _resampled(self, mono: NDArray[np.float32]) -> Iterator[Placed]:
        if self._resampler is not None:
            place = self._place()
            yield from self._placed(place, self._resampler.push(mono))

    def _place(self) -> int:
        """Of the resampler's next sample."""
        state = self._ongoing()
        offset = max(0, round((state.run_start_seconds - state.start_seconds) * self._sample_rate))
        return offset + (0 if self._resampler is None else self._resampler.num_given)

    def _placed(self, place: int, samples: NDArray[np.float32]) -> Iterator[Placed]:
        if not len(samples):
            return
        if self._ongoing().num_runs > 1:  # one after the other they can be longer than each
            check_duration((place + len(samples)) / self._sample_rate, self._limits)
        yield Placed(place, np.clip(samples, -1.0, 1.0))


def check_sound(sample_rate: int, channels: int, limits: Limits) -> None:
    """Hold a sound's rate and channels against the limits.

    Raises:
        LimitExceeded: naming what is out of bounds.
    """
    if not limits.min_sample_rate <= sample_rate <= limits.max_sample_rate:
        raise LimitExceeded(
            "sample_rate",
            f"the sample rate is {sample_rate} Hz, allowed are {limits.min_sample_rate} to {limits.max_sample_rate} Hz",
            remedy="Send the sound at 16000 or 48000 Hz.",
        )
    if channels > limits.max_channels:
        raise LimitExceeded(
            "channels",
            f"the sound has {channels} channels, the limit is {limits.max_channels}",
            remedy="Send mono or stereo.",
        )


def sample_type(kind: str) -> type[np.generic]:
    """Of the samples of an FFmpeg sample format as they lie in memory."""
    return _SCALES[kind.removesuffix("p")][0]


def to_mono(samples: NDArray[Any], kind: str) -> NDArray[np.float32]:
    """The mean of ``(C, L)`` samples of format ``kind``: ``(L,)`` float32, finite, in [-1, 1]."""
    _, silence, scale = _SCALES[kind.removesuffix("p")]
    if np.issubdtype(samples.dtype, np.floating):
        if not np.isfinite(samples).all():
            samples = np.nan_to_num(samples, nan=0.0, posinf=0.0, neginf=0.0)
        samples = np.clip(samples, -1.0, 1.0)
    # float32 holds the sum of eight 16-bit channels exactly
    wide = np.float64 if samples.dtype.itemsize > 4 or samples.dtype == np.int32 else np.float32
    mean = samples.sum(axis=0, dtype=wide) * wide(1 / len(samples))
    return np.asarray((mean - wide(silence)) * wide(scale), dtype=np.float32)
