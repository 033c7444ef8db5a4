"""Small media files of many kinds, made in memory with PyAV's own encoders, and the means to spoil them."""

from __future__ import annotations

import io
import os
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

os.environ["SVT_LOG"] = "0"  # the AV1 encoder writes to stderr otherwise

X264 = (("preset", "ultrafast"),)
"""Fast, without B frames."""
X264_B_FRAMES = (*X264, ("bf", "3"), ("g", "250"))
"""One long group of pictures with B frames."""
X265 = (("preset", "ultrafast"), ("x265-params", "log-level=none:pools=1:frame-threads=1:bframes=3:keyint=250"))

MILLISECOND = Fraction(1, 1000)


@dataclass(frozen=True)
class Picture:
    """A picture stream: a square runs over a ground that grows lighter with each frame."""

    codec: str = "libx264"
    width: int = 64
    height: int = 48
    num_frames: int = 40
    rate: int = 25
    pix_fmt: str = "yuv420p"
    options: tuple[tuple[str, str], ...] = ()
    pts_ms: tuple[int, ...] | None = None
    """Milliseconds at which the frames are shown; None for a constant rate from 0."""

    @property
    def times_seconds(self) -> NDArray[np.float64]:
        """When each frame is shown."""
        if self.pts_ms is not None:
            return np.array(self.pts_ms) / 1000
        return np.arange(self.num_frames) / self.rate


@dataclass(frozen=True)
class Sound:
    """A sound stream: a sine in each channel, the second one octave above the first."""

    codec: str = "aac"
    rate: int = 16_000
    channels: int = 1
    seconds: float = 1.6
    hertz: float = 440.0
    bit_rate: int = 0
    """Bits a second; 0 for the encoder's own choice."""
    options: tuple[tuple[str, str], ...] = ()
    pts_ms: tuple[int, ...] | None = None
    """Milliseconds at which blocks of 100 ms begin; None for one after the other from 0."""


def frame_level(place: int) -> int:
    """The grey of frame ``place``'s ground, 0 to 255; 5 levels from one frame to the next, up to 40 frames."""
    return 20 + 5 * (place % 40)


def frame_image(place: int, width: int, height: int) -> NDArray[np.uint8]:
    """Frame ``place``: ``(height, width, 3)`` uint8 RGB."""
    image = np.full((height, width, 3), frame_level(place), dtype=np.uint8)
    side = max(1, min(width, height) // 6)
    left = (3 * place) % max(1, width - side)
    image[height // 2 : height // 2 + side, left : left + side] = (200, 40, 90)
    return image


def nearest_place(image: NDArray[np.uint8]) -> int:
    """Which frame a decoded ``(3, S, S)`` picture is, by the grey of its upper part."""
    return round((float(np.median(image[:, : image.shape[1] // 3])) - 20) / 5)


@contextmanager
def priority_kept() -> Iterator[None]:
    """Undo what the AV1 encoder does where root runs it: this thread gets real-time priority, and all that it starts
    then inherits that. Three such threads that wait for each other on two cores wait for ever."""
    before = os.sched_getscheduler(0)
    try:
        yield
    finally:
        if os.sched_getscheduler(0) != before:
            os.sched_setscheduler(0, before, os.sched_param(0))


@lru_cache(maxsize=256)
def render(container: str, *streams: Picture | Sound) -> bytes:
    """A file of FFmpeg's format ``container`` with these streams in this order."""
    file = io.BytesIO()
    with priority_kept(), av.open(file, "w", format=container) as output:
        added = [add_picture(output, it) if isinstance(it, Picture) else _add_sound(output, it) for it in streams]
        for stream, it in zip(added, streams, strict=True):
            if isinstance(it, Picture):
                _write_picture(output, stream, it)
            else:
                _write_sound(output, stream, it)
    return file.getvalue()


def add_picture(output: Any, picture: Picture) -> Any:
    """A stream of the file for the picture."""
    stream = output.add_stream(picture.codec, rate=picture.rate, options=dict(picture.options))
    stream.width, stream.height, stream.pix_fmt = picture.width, picture.height, picture.pix_fmt
    stream.codec_context.thread_count = 1
    if picture.pts_ms is not None:
        stream.codec_context.time_base = MILLISECOND
    return stream


def _write_picture(output: Any, stream: Any, picture: Picture) -> None:
    for place in range(picture.num_frames):
        output.mux(stream.encode(build_frame(picture, place)))
    output.mux(stream.encode(None))


def build_frame(picture: Picture, place: int) -> av.VideoFrame:
    """One of the picture's frames, with its time."""
    frame = av.VideoFrame.from_ndarray(frame_image(place, picture.width, picture.height), format="rgb24")
    frame.pts = place if picture.pts_ms is None else picture.pts_ms[place]
    frame.time_base = Fraction(1, picture.rate) if picture.pts_ms is None else MILLISECOND
    return frame


def sine(sound: Sound) -> NDArray[np.float32]:
    """``(channels, L)`` float32 in [-0.5, 0.5]."""
    times = np.arange(round(sound.seconds * sound.rate)) / sound.rate
    octaves = 2.0 ** np.arange(sound.channels)[:, None]
    return np.asarray(0.5 * np.sin(2 * np.pi * sound.hertz * octaves * times), dtype=np.float32)


def _add_sound(output: Any, sound: Sound) -> Any:
    stream = output.add_stream(sound.codec, rate=sound.rate, options=dict(sound.options))
    if sound.bit_rate:
        stream.bit_rate = sound.bit_rate
    stream.layout = {1: "mono", 2: "stereo", 6: "5.1"}[sound.channels]
    return stream


def _write_sound(output: Any, stream: Any, sound: Sound) -> None:
    samples = sine(sound)
    block = sound.rate // 10
    for place, start in enumerate(range(0, samples.shape[1], block)):
        piece = np.ascontiguousarray(samples[:, start : start + block])
        frame = av.AudioFrame.from_ndarray(piece, format="fltp", layout=stream.layout.name)
        frame.sample_rate = sound.rate
        frame.time_base = Fraction(1, sound.rate)
        frame.pts = start if sound.pts_ms is None else sound.pts_ms[place] * sound.rate // 1000
        output.mux(stream.encode(frame))
    output.mux(stream.encode(None))


def overwrite(data: bytes, tag: bytes, offset: int, value: bytes) -> bytes:
    """``data`` with ``value`` put ``offset`` bytes after the end of the first ``tag``."""
    start = data.index(tag) + len(tag) + offset
    return data[:start] + value + data[start + len(value) :]


def with_display_matrix(mp4: bytes, matrix: tuple[int, int, int, int]) -> bytes:
    """An mp4 whose track asks to be shown as (a x + c y, b x + d y), for ``matrix`` (a, b, c, d)."""
    a, b, c, d = (value * 65536 for value in matrix)
    return overwrite(mp4, b"tkhd", 40, struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30))


def gif(width: int, height: int, num_frames: int) -> bytes:
    """A GIF that declares any size in a few bytes."""
    header = b"GIF89a" + struct.pack("<HHBBB", width, height, 0x80, 0, 0) + bytes(6)
    control = b"\x21\xf9\x04\x00\x04\x00\x00\x00"
    image = b"\x2c" + struct.pack("<HHHHB", 0, 0, width, height, 0) + b"\x02\x02\x4c\x01\x00"
    return header + (control + image) * num_frames + b";"


def png(width: int, height: int) -> bytes:
    """A black PNG; a large one is small as bytes."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    pixels = zlib.compress(bytes((3 * width + 1) * height), 9)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def with_cover(mp3: bytes, cover: bytes) -> bytes:
    """An mp3 with an ID3 tag that holds a PNG."""
    content = b"\0image/png\0\3\0" + cover
    frame = b"APIC" + struct.pack(">I", len(content)) + b"\0\0" + content
    size = bytes((len(frame) >> shift) & 127 for shift in (21, 14, 7, 0))
    return b"ID3\x03\0\0" + size + frame + mp3


def real_media() -> list[Path]:
    """Files of the shared media folder, where there is one."""
    default = Path(__file__).resolve().parents[2] / "shared"
    folder = Path(os.environ.get("ACTIVITY_SHARED", default)) / "media"
    return sorted(path for path in folder.rglob("*.*") if path.is_file()) if folder.is_dir() else []
