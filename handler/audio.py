"""A file's sound as one mono waveform at the model's rate, on the clip's timeline.

Decoded at its own rate, averaged over its channels, laid out by pts (gaps become silence, overlaps are cut), then
resampled once. The delay and padding that encoders add are cut by FFmpeg where the container declares them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from functools import lru_cache
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

_TOLERANCE_SECONDS = 0.02
"""A smaller gap or overlap is rounding of the container's timestamps (Matroska: 1 ms, AVI: a packet)."""

_MAX_RATE_CHANGES = 16
"""Changes of the sample rate in mid-file; each begins a run that is resampled by itself."""

_MAX_KERNEL_RATE = 1024
"""Bound on both rates after division by their greatest common divisor: the kernel has about their product of taps."""

_SCALES: dict[str, tuple[type[np.generic], float, float]] = {
    "u8": (np.uint8, 128.0, 1 / 2**7),
    "s16": (np.int16, 0.0, 1 / 2**15),
    "s32": (np.int32, 0.0, 1 / 2**31),
    "s64": (np.int64, 0.0, 1 / 2**63),
    "flt": (np.float32, 0.0, 1.0),
    "dbl": (np.float64, 0.0, 1.0),
}
"""FFmpeg's packed sample formats: type, the value of silence, factor to [-1, 1]; planar ones add a "p"."""


@dataclass
class _Run:
    """Sound of one sample rate without a gap."""

    rate: int
    start_seconds: float
    pieces: list[NDArray[np.float32]] = field(default_factory=list)
    num_samples: int = 0

    def append(self, samples: NDArray[np.float32], seconds: float | None, limits: Limits) -> None:
        """Lay samples at a time; None continues."""
        lead = 0 if seconds is None else round((seconds - self.start_seconds) * self.rate) - self.num_samples
        tolerance = _TOLERANCE_SECONDS * self.rate
        if lead > tolerance:
            check_duration((self.num_samples + lead) / self.rate, limits)
            self._put(np.zeros(lead, dtype=np.float32))
        elif lead < -tolerance:
            samples = samples[-lead:]
        check_duration((self.num_samples + len(samples)) / self.rate, limits)
        self._put(samples)

    def _put(self, samples: NDArray[np.float32]) -> None:
        self.pieces.append(samples)
        self.num_samples += len(samples)


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
    """All sound, cut where the sample rate changes."""
    runs: list[_Run] = []
    for frame in _decode_all(stream):
        _check_sound(frame.sample_rate, frame.layout.nb_channels, limits)
        if not frame.samples:
            continue
        seconds = None if frame.pts is None else float(stream.packets.seconds(np.array(frame.pts)))
        if not runs or runs[-1].rate != frame.sample_rate:
            if len(runs) > _MAX_RATE_CHANGES:
                raise UndecodableMedia(
                    f"the sample rate changes more than {_MAX_RATE_CHANGES} times", remedy="Send one sample rate."
                )
            follow = runs[-1].start_seconds + runs[-1].num_samples / runs[-1].rate if runs else None
            start = seconds if seconds is not None else follow
            runs.append(_Run(frame.sample_rate, stream.span.start_seconds if start is None else start))
        runs[-1].append(_to_mono(frame), seconds, limits)
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


def _to_mono(frame: av.AudioFrame) -> NDArray[np.float32]:
    """The mean of a frame's channels: ``(L,)`` float32, finite, in [-1, 1]."""
    dtype, silence, scale = _SCALES[frame.format.name.removesuffix("p")]
    channels = frame.layout.nb_channels
    if frame.format.is_planar:
        samples = np.stack([np.frombuffer(memoryview(plane), dtype, frame.samples) for plane in frame.planes])
    else:
        packed = np.frombuffer(memoryview(frame.planes[0]), dtype, frame.samples * channels)
        samples = packed.reshape(frame.samples, channels).T
    if np.issubdtype(samples.dtype, np.floating):
        samples = np.clip(np.nan_to_num(samples, nan=0.0, posinf=0.0, neginf=0.0), -1.0, 1.0)
    return np.asarray((samples.mean(axis=0, dtype=np.float64) - silence) * scale, dtype=np.float32)


def _join(runs: list[_Run], sample_rate: int, limits: Limits) -> Waveform:
    """Resample the runs and lay them on one timeline that begins with the first."""
    start_seconds = runs[0].start_seconds
    parts = []
    for run in runs:
        offset = max(0, round((run.start_seconds - start_seconds) * sample_rate))
        parts.append((offset, _resample(np.concatenate(run.pieces), run.rate, sample_rate)))
        run.pieces.clear()
    if len(parts) == 1:
        samples = parts[0][1]
    else:
        num_samples = max(offset + len(part) for offset, part in parts)
        check_duration(num_samples / sample_rate, limits)
        samples = np.zeros(num_samples, dtype=np.float32)
        for offset, part in parts:
            samples[offset : offset + len(part)] = part
    return Waveform(samples=np.clip(samples, -1.0, 1.0), sample_rate=sample_rate, start_seconds=start_seconds)


def _resample(samples: NDArray[np.float32], rate: int, sample_rate: int) -> NDArray[np.float32]:
    """Windowed-sinc resampling, ``ceil(L * sample_rate / rate)`` samples.

    torchaudio's kernel is as large as the product of the two rates over their common divisor squared, so rates that
    have little in common go through FFmpeg's resampler, which needs no such table.
    """
    if rate == sample_rate:
        return samples
    if max(rate, sample_rate) // math.gcd(rate, sample_rate) > _MAX_KERNEL_RATE:
        return _resample_odd(samples, rate, sample_rate)
    import torch  # noqa: PLC0415 (text and video alone need no torch)

    with torch.inference_mode():
        resampled = _resampler(rate, sample_rate)(torch.from_numpy(samples)[None])
    return np.asarray(resampled[0].numpy())


@lru_cache(maxsize=16)
def _resampler(rate: int, sample_rate: int) -> Any:
    """The resampler of these two rates; it keeps its kernel."""
    from torchaudio.transforms import Resample  # noqa: PLC0415 (as torch)

    return Resample(rate, sample_rate)


def _resample_odd(samples: NDArray[np.float32], rate: int, sample_rate: int) -> NDArray[np.float32]:
    resampler = av.AudioResampler(format="fltp", layout="mono", rate=sample_rate)
    pieces = []
    for start in range(0, len(samples), rate):
        frame = av.AudioFrame.from_ndarray(samples[None, start : start + rate], format="fltp", layout="mono")
        frame.sample_rate = rate
        frame.pts = None
        pieces += [out.to_ndarray()[0] for out in resampler.resample(frame)]
    pieces += [out.to_ndarray()[0] for out in resampler.resample(None)]
    length = -(-len(samples) * sample_rate // rate)
    resampled = np.zeros(length, dtype=np.float32)
    joined = np.concatenate(pieces)[:length]
    resampled[: len(joined)] = joined
    return resampled
