"""The sound of a clip for an mp4: AAC as it is, anything else encoded as AAC, at the times that it had."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from fractions import Fraction
from itertools import chain
from typing import Any

import av
import numpy as np

from handler.container import AUDIO_CODECS, AudioStream

RATES = (8_000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000, 64_000, 88_200, 96_000)
"""Hz that AAC has."""
USUAL_RATE = 48_000
TOLERANCE_SECONDS = 0.02
"""A smaller gap or overlap is rounding of the container's timestamps."""


class SoundTrack:
    """Packets of the file that is written, in the order of their times."""

    def __init__(self, packets: Iterator[Any]) -> None:
        self._packets = packets
        self._next = next(packets, None)

    def take(self, until_seconds: float) -> Iterator[Any]:
        """What begins before a time."""
        while self._next is not None and _seconds(self._next) < until_seconds:
            yield self._next
            self._next = next(self._packets, None)


def add_sound(opened: Any, stream: AudioStream, shift_seconds: float) -> SoundTrack | None:
    """Add a sound to an mp4 that is being written; None where its codec is not one that is decoded.

    Args:
        opened: the mp4.
        stream: the clip's sound.
        shift_seconds: what is taken off each time.
    """
    context = stream.handle.codec_context
    # Without that header, as in MPEG-TS, AAC is packed otherwise than in an mp4.
    if stream.codec == "aac" and context.extradata:
        target = opened.add_stream_from_template(stream.handle)
        return SoundTrack(_copied(stream, target, shift_seconds))
    if stream.codec not in AUDIO_CODECS:
        return None
    rate = stream.sample_rate if stream.sample_rate in RATES else USUAL_RATE
    layout = "mono" if stream.channels == 1 else "stereo"
    target = opened.add_stream("aac", rate=rate, layout=layout)
    return SoundTrack(_encoded(stream, target, rate, layout, shift_seconds))


def _seconds(packet: Any) -> float:
    ticks = packet.dts if packet.dts is not None else packet.pts
    return 0.0 if ticks is None or packet.time_base is None else float(ticks * packet.time_base)


def _copied(stream: AudioStream, target: Any, shift_seconds: float) -> Iterator[Any]:
    shift = round(shift_seconds / stream.packets.time_base)
    for packet in stream.packets.read():
        if packet.pts is None or packet.dts is None:
            continue
        packet.pts, packet.dts = packet.pts - shift, packet.dts - shift
        packet.stream = target
        yield packet


def _encoded(stream: AudioStream, target: Any, rate: int, layout: str, shift_seconds: float) -> Iterator[Any]:
    offset_seconds = shift_seconds + stream.packets.zero_seconds
    for frame in _laid_out(_decoded(stream, rate, layout), rate, layout, offset_seconds):
        yield from target.encode(frame)
    yield from target.encode(None)


def _decoded(stream: AudioStream, rate: int, layout: str) -> Iterator[av.AudioFrame]:
    """The sound in AAC's own format; a change of format in mid-file is resampled by itself."""
    context = stream.handle.codec_context
    resampler: av.AudioResampler | None = None
    kind: tuple[int, str, str] | None = None
    for item in chain(stream.packets.read(), (None,)):
        frames: list[av.AudioFrame] = []
        with suppress(av.FFmpegError):  # a faulty packet is silence
            frames = context.decode(item)
        for frame in frames:
            found = (frame.sample_rate, frame.layout.name, frame.format.name)
            if resampler is None or found != kind:
                if resampler is not None:
                    yield from resampler.resample(None)
                resampler, kind = av.AudioResampler(format="fltp", layout=layout, rate=rate), found
            yield from resampler.resample(frame)
    if resampler is not None:
        yield from resampler.resample(None)


def _laid_out(
    frames: Iterator[av.AudioFrame], rate: int, layout: str, offset_seconds: float
) -> Iterator[av.AudioFrame]:
    """The frames without gaps, which become silence, and without overlaps: an encoder counts samples."""
    expected: int | None = None
    for frame in frames:
        samples = frame.to_ndarray()
        start = expected
        if frame.pts is not None and frame.time_base is not None:
            start = round((frame.pts * frame.time_base - Fraction(offset_seconds)) * rate)
        if expected is None or start is None:
            expected = start or 0
        lead = 0 if start is None else start - expected
        if lead < -TOLERANCE_SECONDS * rate:
            samples = samples[:, -lead:]
        elif lead > TOLERANCE_SECONDS * rate:
            yield from _frames(np.zeros((samples.shape[0], lead), np.float32), expected, rate, layout)
            expected += lead
        yield from _frames(samples, expected, rate, layout)
        expected += samples.shape[1]


def _frames(samples: Any, start: int, rate: int, layout: str) -> Iterator[av.AudioFrame]:
    """``(C, L)`` float32 as frames of a second at most."""
    for place in range(0, samples.shape[1], rate):
        piece = np.ascontiguousarray(samples[:, place : place + rate])
        frame = av.AudioFrame.from_ndarray(piece, format="fltp", layout=layout)
        frame.sample_rate, frame.pts, frame.time_base = rate, start + place, Fraction(1, rate)
        yield frame
