"""A file's sound as one mono waveform at the model's rate, on the clip's timeline.

Decoded at its own rate, averaged over its channels, laid out by pts (gaps become silence, overlaps are cut) and
resampled (:mod:`handler.sound_line`). The delay and padding that encoders add are cut by FFmpeg where the container
declares them.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, suppress
from itertools import chain
from typing import Any

import av
import numpy as np
from av.codec.context import ThreadType
from numpy.typing import NDArray

from handler.clip import Waveform
from handler.container import AUDIO_CODECS, AudioStream, Container
from handler.errors import ActivityError, UndecodableMedia, UnsupportedMedia
from handler.limits import Limits
from handler.packets import REMEDY
from handler.sound_line import Placed, SoundFormat, SoundLine, check_sound, sample_type


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
    stream = checked_sound(container, limits)
    line = SoundLine(sample_rate, limits, first_seconds=stream.span.start_seconds)
    parts = list(decode_onto(line, stream))
    samples = np.zeros(max(part.place + len(part.samples) for part in parts), dtype=np.float32)
    for part in parts:
        samples[part.place : part.place + len(part.samples)] = part.samples
    return Waveform(samples=samples, sample_rate=sample_rate, start_seconds=line.started_seconds)


def cut_hops(
    samples: NDArray[np.float32], place: int, num_hops: int, hop_samples: int, context_samples: int
) -> NDArray[np.float32]:
    """Cut a line of samples into hops that overlap by their context; silence where there are none.

    Args:
        samples: ``(L,)`` float32.
        place: of the first one, counted from the first one of the first hop's context; negative where it lies before.
        num_hops: to cut.
        hop_samples: between the starts of two hops.
        context_samples: that a hop has more than that.

    Returns:
        ``(num_hops, hop_samples + context_samples)`` float32, of its own.
    """
    line = np.zeros(num_hops * hop_samples + context_samples, dtype=np.float32)
    known = samples[max(0, -place) : max(0, len(line) - place)]
    line[max(0, place) : max(0, place) + len(known)] = known
    windows = np.lib.stride_tricks.sliding_window_view(line, hop_samples + context_samples)[::hop_samples]
    return windows.copy()  # the view is read-only, and of a single hop it is contiguous already


def checked_sound(container: Container, limits: Limits) -> AudioStream:
    """The sound of a file, if what it declares can be decoded.

    Raises:
        UnsupportedMedia: there is none, or its codec is not in :data:`handler.container.AUDIO_CODECS`.
        LimitExceeded: a sample rate or a number of channels out of bounds.
    """
    stream = container.audio
    if stream is None:
        raise UnsupportedMedia("the file has no sound", remedy=REMEDY)
    if stream.codec not in AUDIO_CODECS:
        raise UnsupportedMedia(
            f"the sound's codec {stream.codec} is not one of those allowed: {', '.join(sorted(AUDIO_CODECS))}",
            remedy=REMEDY,
        )
    check_sound(stream.sample_rate, stream.channels, limits)
    return stream


def decode_onto(line: SoundLine, stream: AudioStream) -> Iterator[Placed]:
    """Decode all sound, lay it on a line and give it block by block, at least one.

    Raises:
        LimitExceeded: a sample rate, a number of channels or a length out of bounds.
        UndecodableMedia: no sample came out, or the format changes too often.
    """
    time_base, zero = stream.packets.time_base, stream.packets.zero_seconds
    try:
        for frame in _decode_all(stream):
            seconds = None if frame.pts is None else frame.pts * time_base.numerator / time_base.denominator - zero
            form = read_format(frame)
            line.check(form)
            yield from line.append(read_samples(frame), form, seconds)
        yield from line.finish()
    except (ActivityError, MemoryError):
        raise
    except Exception as exc:
        raise UndecodableMedia(f"the sound of codec {stream.codec} does not decode", remedy=REMEDY) from exc
    if line.start_seconds is None:
        raise UndecodableMedia(
            f"no sample came out of {stream.packets.num_packets} packets of codec {stream.codec}", remedy=REMEDY
        )


def _decode_all(stream: AudioStream) -> Iterator[av.AudioFrame]:
    """Every frame that comes out; faulty packets are passed over."""
    context = ready_context(stream)
    with closing(stream.packets.read()) as items:
        for item in chain(items, (None,)):
            with suppress(av.FFmpegError):
                yield from context.decode(item)


def ready_context(stream: AudioStream) -> av.AudioCodecContext:
    """The stream's decoder, set to begin anew, on the caller's thread."""
    context = stream.handle.codec_context
    if not context.is_open:
        context.thread_count = 1
        context.thread_type = ThreadType.NONE
    context.flush_buffers()
    return context


def read_format(frame: av.AudioFrame) -> SoundFormat:
    """What a decoded frame's samples are."""
    return SoundFormat(frame.sample_rate, frame.layout.nb_channels, frame.format.name)


def read_samples(frame: av.AudioFrame) -> NDArray[Any]:
    """A decoded frame's ``(C, L)`` samples in its own format."""
    dtype, channels = sample_type(frame.format.name), frame.layout.nb_channels
    if frame.format.is_planar:
        # PyAV counts planes up to a null pointer, which eight or more have none of: what follows lies anywhere.
        planes = frame.planes[:channels]
        return np.stack([np.frombuffer(memoryview(plane), dtype, frame.samples) for plane in planes])
    packed = np.frombuffer(memoryview(frame.planes[0]), dtype, frame.samples * channels)
    return packed.reshape(frame.samples, channels).T
