"""A source that cannot be copied, such as a camera's raw frames, encoded here: H.264 and AAC, without delay."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import suppress
from fractions import Fraction
from typing import Any

from client.chunk_files import ChunkFormat, Held
from client.errors import SourceUnusable
from client.sources import Source, hold

X264 = {"preset": "ultrafast", "tune": "zerolatency", "forced-idr": "1", "g": "100000", "bf": "0"}
PICTURE_TICK = Fraction(1, 90_000)
SAMPLE_RATE = 48_000
MAX_PIXELS = 1280 * 720
"""Larger pictures are sent smaller: no model here looks at more, and a server may refuse them."""


def encode_source(source: Source, chunk_seconds: float) -> tuple[ChunkFormat, tuple[Any, ...], Iterator[Held]]:
    """Encode a source as it comes, with a key frame where each chunk begins.

    Args:
        source: it is decoded to its end.
        chunk_seconds: from one key frame to the next.

    Returns:
        the kind of file for the chunks, the encoded streams, and their packets.

    Raises:
        SourceUnusable: there is no decoder for any of it.
    """
    import av  # noqa: PLC0415 - help must not wait for what only the work needs

    decodable = [stream for stream in source.streams if stream.codec_context is not None]
    if not decodable:
        raise SourceUnusable(
            f"FFmpeg has no decoder for {source.address.text}.", remedy="Convert it to mp4 (H.264, AAC) first."
        )
    output = av.open(io.BytesIO(), "w", format="mp4")  # never written to: it is what the encoders' streams are of
    encoders = {
        stream.index: _PictureEncoder(output, stream, chunk_seconds)
        if stream.type == "video"
        else _SoundEncoder(output, stream)
        for stream in decodable
    }
    output.start_encoding()
    streams = tuple(encoder.stream for encoder in encoders.values())
    places = {stream.index: place for place, stream in enumerate(streams)}

    def packets() -> Iterator[Any]:
        for packet in source.packets():
            encoder = encoders.get(packet.stream_index)
            if encoder is not None:
                with suppress(av.FFmpegError):  # a broken packet: the next one may be whole
                    for frame in packet.decode():
                        yield from encoder.encode(frame)
        for encoder in encoders.values():
            yield from encoder.stream.encode(None)
        output.close()

    held = hold(packets(), lambda packet: places[packet.stream_index], streams)
    return ChunkFormat("mp4", keeps_ends=True), streams, held


class _PictureEncoder:
    def __init__(self, output: Any, source: Any, chunk_seconds: float) -> None:
        context = source.codec_context
        scale = min(1.0, (MAX_PIXELS / max(1, context.width * context.height)) ** 0.5)
        self._size = tuple(max(2, 2 * round(scale * side / 2)) for side in (context.width, context.height))
        self.stream = output.add_stream("libx264", rate=source.guessed_rate or 25, options=X264)
        self.stream.width, self.stream.height = self._size
        self.stream.pix_fmt = "yuv420p"
        self.stream.codec_context.time_base = PICTURE_TICK
        self._chunk = Fraction(chunk_seconds).limit_denominator(1000)  # 0.8 is 4/5, the float is a little more
        self._next_key: Fraction | None = None
        self._latest: int | None = None
        self._nominal_ticks = round(1 / (Fraction(source.guessed_rate or 25) * PICTURE_TICK))

    def encode(self, frame: Any) -> list[Any]:
        """The packets that a frame gives."""
        from av.video.frame import PictureType  # noqa: PLC0415 - as above

        if frame.pts is None:
            return []
        seconds = frame.pts * frame.time_base
        ticks = round(seconds / PICTURE_TICK)
        if self._latest is not None and ticks <= self._latest:
            return []
        self._latest = ticks
        picture = frame.reformat(*self._size, format="yuv420p")
        picture.pts, picture.time_base = ticks, PICTURE_TICK
        is_key = self._next_key is None or seconds >= self._next_key
        if is_key:
            self._next_key = (seconds if self._next_key is None else self._next_key) + self._chunk
        picture.pict_type = PictureType.I if is_key else PictureType.NONE
        packets = list(self.stream.encode(picture))
        for packet in packets:
            packet.duration = packet.duration or self._nominal_ticks
        return packets


class _SoundEncoder:
    def __init__(self, output: Any, source: Any) -> None:
        from av import AudioResampler  # noqa: PLC0415 - as above

        layout = "mono" if source.codec_context.channels == 1 else "stereo"
        self.stream = output.add_stream("aac", rate=SAMPLE_RATE)
        self.stream.layout = layout
        self._resampler = AudioResampler(format="fltp", layout=layout, rate=SAMPLE_RATE)

    def encode(self, frame: Any) -> list[Any]:
        """The packets that a frame gives."""
        return [packet for part in self._resampler.resample(frame) for packet in self.stream.encode(part)]
