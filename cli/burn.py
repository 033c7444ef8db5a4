"""A clip with its labels burnt in: decoded, drawn on, encoded anew as H.264, with the times that its frames had."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.video.reformatter import VideoReformatter
from PIL import Image

from cli.burnt_sound import SoundTrack, add_sound
from cli.overlay import GROUND, Overlay
from handler.container import VIDEO_CODECS, Container, VideoStream, open_container
from handler.errors import UndecodableMedia, UnsupportedMedia
from handler.limits import Limits
from handler.packets import REMEDY
from handler.picture import orient, to_rgb
from handler.video import decode_all
from handler.windows import Span

PLAIN_SIZE = (640, 360)
"""Of the picture that a sound gets."""
PLAIN_RATE = 10
"""Frames a second of it: how often the line on the timeline moves."""
ROUNDING_SECONDS = 0.02
"""What a sound may begin before 0 because its container rounds."""
MIN_ASPECT = Fraction(1, 8)
"""Of a pixel, or its inverse: what a file says beyond that is a mistake, and would make frames of any width."""
LATEST_START_SECONDS = 3600.0
"""Players wait for a later start; a clock that counts from 1970 is no start."""
ENCODER = {"preset": "veryfast", "crf": "20", "bf": "0"}
"""Without frames out of order each packet has its frame's own time, and nothing needs to be shifted."""


@dataclass(frozen=True)
class Shown:
    """An upright frame, when it is shown and for how long."""

    picture: Image.Image
    ticks: int
    duration_ticks: int


@dataclass(frozen=True)
class Film:
    """What is to be drawn on."""

    frames: Iterator[Shown]
    num_frames: int
    """As the file says."""
    time_base: Fraction
    rate: Fraction
    """Frames a second, about."""


def burn(data: bytes, answer: Mapping[str, Any], output: Path, progress: Callable[[int, int], None]) -> int:
    """Write a clip with its labels.

    Every frame keeps its time; the picture is turned upright, its pixels are made square, a narrow one is enlarged,
    and an odd width or height gets one more pixel. AAC is copied, other sound becomes AAC. Without a picture the
    labels stand on a plain one. A clip that begins before 0, or more than an hour after it, begins at 0.

    Args:
        data: the clip's file.
        answer: its JSON prediction.
        output: an mp4; the folder must be there. What a failure leaves of it is taken away.
        progress: is told how many frames are done, of how many.

    Returns:
        the number of frames.

    Raises:
        ActivityError: nothing of the clip decodes.
        OSError: the file cannot be written.
    """
    limits = _limits(len(data))
    draft = output.with_name(f".{output.name}.{os.getpid()}.tmp")  # no other command's
    try:
        with open_container(data, limits) as container:
            num_frames = _write(container, answer, draft, limits, progress)
        draft.replace(output)
    finally:
        draft.unlink(missing_ok=True)
    return num_frames


def _limits(num_bytes: int) -> Limits:
    """Those of one's own clip: a frame of 4096 x 2304, a day."""
    return Limits(
        max_bytes=max(1, num_bytes),
        max_frame_pixels=9_500_000,
        max_frames=50_000_000,
        max_total_pixels=50_000_000 * 9_500_000,
        max_duration_seconds=86_400.0,
        max_packets=50_000_000,
        max_streams=64,
    )


def _write(
    container: Container,
    answer: Mapping[str, Any],
    draft: Path,
    limits: Limits,
    progress: Callable[[int, int], None],
) -> int:
    span = container.span
    is_usual = -ROUNDING_SECONDS <= span.start_seconds <= LATEST_START_SECONDS
    shift_seconds = 0.0 if is_usual else span.start_seconds
    film = _plain_film(span) if container.video is None else _film(container.video, limits)
    shown = next(film.frames, None)
    if shown is None:
        raise UndecodableMedia("no frame of the picture decodes", remedy=REMEDY)
    overlay = Overlay(answer, shown.picture.size)
    done, latest = 0, None
    with av.open(str(draft), "w", format="mp4") as opened:
        track = PictureTrack(opened, film, overlay.size)
        sound = None if container.audio is None else add_sound(opened, container.audio, shift_seconds)
        while shown is not None:
            if latest is None or shown.ticks > latest:  # a damaged stream can go back in time: an encoder cannot
                latest = shown.ticks
                seconds = float(shown.ticks * film.time_base)
                _feed(opened, sound, seconds - shift_seconds)
                image = overlay.draw(shown.picture, seconds)
                ticks = shown.ticks - round(shift_seconds / film.time_base)
                track.add(image, ticks, shown.duration_ticks)
                done += 1
                progress(done, max(done, film.num_frames))
            shown = next(film.frames, None)
        track.end()
        _feed(opened, sound, float("inf"))
    progress(done, done)
    return done


class PictureTrack:
    """The picture of the mp4 that is written.

    Args:
        opened: the mp4.
        film: what it shows.
        size: width and height of a frame, both even.
    """

    def __init__(self, opened: Any, film: Film, size: tuple[int, int]) -> None:
        self._opened = opened
        self._stream = opened.add_stream("libx264", rate=film.rate, options=ENCODER)
        self._stream.width, self._stream.height = size
        self._stream.pix_fmt = "yuv420p"
        self._stream.codec_context.time_base = self._stream.time_base = self._time_base = film.time_base
        self._durations: deque[int] = deque()

    def add(self, image: Image.Image, ticks: int, duration_ticks: int) -> None:
        """Add a frame."""
        frame = av.VideoFrame.from_ndarray(np.asarray(image), format="rgb24")
        frame.pts, frame.time_base = ticks, self._time_base
        self._durations.append(duration_ticks)
        self._write(frame)

    def end(self) -> None:
        """Write what the encoder holds."""
        self._write(None)

    def _write(self, frame: av.VideoFrame | None) -> None:
        for packet in self._stream.encode(frame):
            packet.duration = self._durations.popleft()  # the encoder tells that of a constant rate
            self._opened.mux(packet)


def _feed(opened: Any, sound: SoundTrack | None, until_seconds: float) -> None:
    """Write the sound up to a time, so that it lies beside its picture in the file."""
    if sound is not None:
        for packet in sound.take(until_seconds):
            opened.mux(packet)


def _film(stream: VideoStream, limits: Limits) -> Film:
    """The frames of a clip."""
    if stream.codec not in VIDEO_CODECS:
        raise UnsupportedMedia(f"the picture's codec {stream.codec} is not one of those allowed", remedy=REMEDY)
    packets = stream.packets
    rate = stream.handle.average_rate or stream.handle.guessed_rate or Fraction(25)
    frames = _upright_frames(stream, limits)
    return Film(frames, packets.num_packets, packets.time_base, Fraction(rate))


def _upright_frames(stream: VideoStream, limits: Limits) -> Iterator[Shown]:
    reformatter = VideoReformatter()
    durations = _durations(stream)
    for frame, ticks in decode_all(stream, limits):
        aspect = stream.handle.sample_aspect_ratio or Fraction(1)
        pixels = to_rgb(frame, reformatter)
        height, width = pixels.shape[1:]
        if MIN_ASPECT <= aspect <= 1 / MIN_ASPECT and round(width * aspect) * height <= limits.max_frame_pixels:
            width = round(width * aspect)
        picture = Image.fromarray(np.ascontiguousarray(pixels.transpose(1, 2, 0)))
        if picture.size != (width, height):
            picture = picture.resize((max(1, width), height), Image.Resampling.BICUBIC)
        turned = orient(np.asarray(picture).transpose(2, 0, 1), frame)
        yield Shown(
            Image.fromarray(np.ascontiguousarray(turned.transpose(1, 2, 0))),
            ticks,
            durations.get(ticks, stream.packets.nominal_ticks),
        )


def _durations(stream: VideoStream) -> dict[int, int]:
    """Each frame's ticks until the next one, the last one's until the end of the picture."""
    packets = stream.packets
    starts = np.unique(packets.pts[packets.is_shown])
    stop = round((packets.span.stop_seconds + packets.zero_seconds) / packets.time_base)
    return dict(zip(starts.tolist(), np.diff(starts, append=max(stop, int(starts[-1]) + 1)).tolist(), strict=True))


def _plain_film(span: Span) -> Film:
    """A picture for a sound: nothing but the ground."""
    picture = Image.new("RGB", PLAIN_SIZE, tuple(2 * value for value in GROUND))
    milliseconds = range(round(span.start_seconds * 1000), max(1, round(span.stop_seconds * 1000)), 1000 // PLAIN_RATE)
    frames = (Shown(picture, ticks, 1000 // PLAIN_RATE) for ticks in milliseconds)
    return Film(frames, len(milliseconds), Fraction(1, 1000), Fraction(PLAIN_RATE))
