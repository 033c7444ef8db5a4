"""A file's sound as one mono waveform at the model's rate, on the clip's timeline.

Decoded at its own rate, averaged over its channels, laid out by pts (gaps become silence, overlaps are cut), then
resampled once. The delay and padding that encoders add are cut by FFmpeg where the container declares them.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import av
import numpy as np
from av.codec.context import ThreadType
from numpy.typing import NDArray

from handler.clip import Waveform
from handler.container import AUDIO_CODECS, AudioStream, Container
from handler.errors import ActivityError, LimitExceeded, UndecodableMedia, UnsupportedMedia
from handler.limits import Limits
from handler.packets import REMEDY, check_duration
from handler.resampling import resample

_TOLERANCE_SECONDS = 0.02
"""A smaller gap or overlap is rounding of the container's timestamps (Matroska: 1 ms, AVI: a packet)."""

_MAX_CHANGES = 16
"""Changes of sample rate, channels or sample format in mid-file; each begins a run that is resampled by itself."""

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


@dataclass
class _Run:
    """Sound of one sample rate, channel count and sample format without a gap."""

    rate: int
    start_seconds: float
    kind: str = "flt"
    num_samples: int = 0
    num_decoded: int = 0
    """Samples that came out of the decoder; more than ``num_samples`` where they overlap."""
    _mono: list[NDArray[np.float32]] = field(default_factory=list)
    _waiting: list[NDArray[Any]] = field(default_factory=list)
    _num_waiting: int = 0

    @property
    def stop_seconds(self) -> float:
        """Where the next sample belongs."""
        return self.start_seconds + self.num_samples / self.rate

    def append(self, samples: NDArray[Any], seconds: float | None, limits: Limits) -> None:
        """Lay ``(C, L)`` samples of the run's format at a time; None continues."""
        num_decoded = samples.shape[1]
        self.num_decoded += num_decoded
        lead = 0 if seconds is None else round((seconds - self.start_seconds) * self.rate) - self.num_samples
        tolerance = _TOLERANCE_SECONDS * self.rate
        silence = lead if lead > tolerance else 0
        if lead < -tolerance:
            samples = samples[:, -lead:]
        check_duration((self.num_samples + silence + samples.shape[1]) / self.rate, limits)
        if samples.shape[1] == 0:
            return
        if silence:
            self._settle()
            self._mono.append(np.zeros(silence, dtype=np.float32))
        self._waiting.append(samples)
        self._num_waiting += num_decoded  # what is cut stays in memory as well
        self.num_samples += silence + samples.shape[1]
        if self._num_waiting >= _BLOCK_SAMPLES:
            self._settle()

    def take(self) -> NDArray[np.float32]:
        """The run's sound, ``(num_samples,)`` float32; the run is empty afterwards."""
        self._settle()
        samples = np.concatenate(self._mono)
        self._mono.clear()
        return samples

    def _settle(self) -> None:
        if self._waiting:
            self._mono.append(_to_mono(np.concatenate(self._waiting, axis=1), self.kind))
        self._waiting.clear()
        self._num_waiting = 0


def decode_waveform(container: Container, sample_rate: int, limits: Limits) -> Waveform:
    """Decode the sound.

    Args:
        container: an open file with a sound.
        sample_rate: of the result, in Hz.
        limits: bounds on sample rate, channels and seconds, declared and decoded.

    Returns:
        mono float32, the mean of the channels. Samples that are not finite are silence, those beyond full scale are
        clipped to [-1, 1]. Packets that do not decode are silence.

    Raises:
        UnsupportedMedia: there is no sound, or its codec is not in :data:`handler.container.AUDIO_CODECS`.
        LimitExceeded: a sample rate, a number of channels or a length out of bounds.
        UndecodableMedia: no sample came out.
    """
    stream = _checked_stream(container, limits)
    try:
        runs = _decode_runs(stream, limits)
        if not runs:
            raise UndecodableMedia(
                f"no sample came out of {len(stream.packets.items)} packets of codec {stream.codec}", remedy=REMEDY
            )
        return _join(runs, sample_rate, limits)
    except ActivityError:
        raise
    except Exception as exc:
        raise UndecodableMedia(f"the sound of codec {stream.codec} does not decode", remedy=REMEDY) from exc


def _checked_stream(container: Container, limits: Limits) -> AudioStream:
    stream = container.audio
    if stream is None:
        raise UnsupportedMedia("the file has no sound", remedy=REMEDY)
    if stream.codec not in AUDIO_CODECS:
        raise UnsupportedMedia(
            f"the sound's codec {stream.codec} is not one of those allowed: {', '.join(sorted(AUDIO_CODECS))}",
            remedy=REMEDY,
        )
    _check_sound(stream.sample_rate, stream.channels, limits)
    return stream


def _check_sound(sample_rate: int, channels: int, limits: Limits) -> None:
    if not limits.min_sample_rate <= sample_rate <= limits.max_sample_rate:
        raise LimitExceeded(
            f"the sample rate is {sample_rate} Hz, allowed are {limits.min_sample_rate} to {limits.max_sample_rate} Hz",
            remedy="Send the sound at 16000 or 48000 Hz.",
        )
    if channels > limits.max_channels:
        raise LimitExceeded(
            f"the sound has {channels} channels, the limit is {limits.max_channels}", remedy="Send mono or stereo."
        )


def _decode_runs(stream: AudioStream, limits: Limits) -> list[_Run]:
    """All sound, cut where its sample rate, channels or sample format change."""
    runs: list[_Run] = []
    time_base, zero = stream.packets.time_base, stream.packets.zero_seconds
    layout: tuple[int, int, str] | None = None
    for frame in _decode_all(stream):
        found = (frame.sample_rate, frame.layout.nb_channels, frame.format.name)
        seconds = None if frame.pts is None else frame.pts * time_base.numerator / time_base.denominator - zero
        if found != layout:
            layout = found
            _check_sound(frame.sample_rate, frame.layout.nb_channels, limits)
            if len(runs) > _MAX_CHANGES:
                raise UndecodableMedia(
                    f"the sound changes its format more than {_MAX_CHANGES} times", remedy="Send one sample rate."
                )
            start = seconds if seconds is not None else runs[-1].stop_seconds if runs else stream.span.start_seconds
            runs.append(_Run(frame.sample_rate, start, frame.format.name))
        runs[-1].append(_samples(frame), seconds, limits)
        check_duration(sum(run.num_decoded / run.rate for run in runs), limits)  # overlaps cost time all the same
    return [run for run in runs if run.num_samples]


def _decode_all(stream: AudioStream) -> Iterator[av.AudioFrame]:
    """Every frame that comes out; faulty packets are passed over."""
    context = stream.handle.codec_context
    if not context.is_open:
        context.thread_count = 1
        context.thread_type = ThreadType.NONE
    context.flush_buffers()
    for item in (*stream.packets.items, None):
        with suppress(av.FFmpegError):
            yield from context.decode(item)


def _samples(frame: av.AudioFrame) -> NDArray[Any]:
    """A frame's ``(C, L)`` samples in its own format."""
    dtype = _SCALES[frame.format.name.removesuffix("p")][0]
    if frame.format.is_planar:
        return np.stack([np.frombuffer(memoryview(plane), dtype, frame.samples) for plane in frame.planes])
    channels = frame.layout.nb_channels
    packed = np.frombuffer(memoryview(frame.planes[0]), dtype, frame.samples * channels)
    return packed.reshape(frame.samples, channels).T


def _to_mono(samples: NDArray[Any], kind: str) -> NDArray[np.float32]:
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


def _join(runs: list[_Run], sample_rate: int, limits: Limits) -> Waveform:
    """Resample the runs and lay them on one timeline that begins with the first."""
    start_seconds = runs[0].start_seconds
    parts = []
    for run in runs:
        offset = max(0, round((run.start_seconds - start_seconds) * sample_rate))
        parts.append((offset, resample(run.take(), run.rate, sample_rate)))
    if len(parts) == 1:
        samples = parts[0][1]
    else:
        num_samples = max(offset + len(part) for offset, part in parts)
        check_duration(num_samples / sample_rate, limits)
        samples = np.zeros(num_samples, dtype=np.float32)
        for offset, part in parts:
            samples[offset : offset + len(part)] = part
    return Waveform(samples=np.clip(samples, -1.0, 1.0), sample_rate=sample_rate, start_seconds=start_seconds)
