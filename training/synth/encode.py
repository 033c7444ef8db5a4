"""From frames and samples to the bytes of a container, with the pts as scripted."""

from __future__ import annotations

import heapq
import io
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Protocol, cast

import av
import numpy as np
from av.audio.stream import AudioStream
from av.container import OutputContainer
from av.video.stream import VideoStream
from numpy.typing import NDArray

from training.synth.script import ContainerName
from training.synth.timeline import Timeline


class MediaScript(Protocol):
    """What a clip's container is made by."""

    @property
    def container(self) -> ContainerName:
        """Of the file."""

    @property
    def width(self) -> int:
        """Pixels, even."""

    @property
    def height(self) -> int:
        """Pixels, even."""

    @property
    def group_frames(self) -> int:
        """Frames from one key frame to the next."""

    @property
    def timeline(self) -> Timeline:
        """The pts of frames and samples."""


@dataclass(frozen=True)
class Codecs:
    """The codecs of a container and what makes them fast and repeatable."""

    video: str
    video_options: dict[str, str]
    audio: str
    sample_format: str
    container_options: dict[str, str]


CODECS: dict[ContainerName, Codecs] = {
    "mp4": Codecs(
        video="libx264",
        # Macroblock trees read memory that was never written: with them the same frames give other bytes each time.
        video_options={"preset": "veryfast", "crf": "28", "mbtree": "0", "threads": "1"},
        audio="aac",
        sample_format="fltp",
        # Start offsets are edit lists in units of the movie's timescale: 30000 holds every frame rate used here.
        container_options={"fflags": "+bitexact", "movie_timescale": "30000"},
    ),
    "webm": Codecs(
        video="libvpx-vp9",
        video_options={
            "deadline": "realtime",
            "cpu-used": "8",
            "lag-in-frames": "0",
            "crf": "38",
            "b": "0",  # constant quality
            "threads": "1",
        },
        audio="libopus",
        sample_format="flt",
        container_options={"fflags": "+bitexact"},
    ),
}
BITS_A_SAMPLE = 2.5


def encode_clip(script: MediaScript, frames: Iterable[NDArray[np.uint8]], waveform: NDArray[np.float32]) -> bytes:
    """Encode and interleave picture and sound.

    Args:
        script: sizes, rates and pts.
        frames: one ``(H * 3/2, W)`` uint8 for each ``frame_pts`` of the timeline.
        waveform: ``(channels, L)`` float32 in [-1, 1].
    """
    target = io.BytesIO()
    codecs = CODECS[script.container]
    with av.open(target, "w", format=script.container, container_options=codecs.container_options) as container:
        video, audio = _add_video(container, script, codecs), _add_audio(container, script, codecs, len(waveform))
        container.start_encoding()
        pictures = _build_pictures(script, frames)
        sounds = _build_sounds(script, codecs, waveform, audio.codec_context.frame_size)
        in_time: Iterator[av.VideoFrame | av.AudioFrame] = heapq.merge(pictures, sounds, key=_seconds)
        for frame in in_time:
            container.mux(video.encode(frame) if isinstance(frame, av.VideoFrame) else audio.encode(frame))
        container.mux(video.encode())
        container.mux(audio.encode())
    return target.getvalue()


def _seconds(frame: av.VideoFrame | av.AudioFrame) -> Fraction:
    return cast("int", frame.pts) * cast("Fraction", frame.time_base)


def _build_pictures(script: MediaScript, frames: Iterable[NDArray[np.uint8]]) -> Iterator[av.VideoFrame]:
    timeline = script.timeline
    for pts, planes in zip(timeline.frame_pts, frames, strict=True):
        frame = av.VideoFrame.from_ndarray(planes, format="yuv420p")
        frame.pts, frame.time_base = pts, timeline.tick_seconds
        yield frame


def _build_sounds(
    script: MediaScript, codecs: Codecs, waveform: NDArray[np.float32], frame_size: int
) -> Iterator[av.AudioFrame]:
    """Frames of ``frame_size`` samples, the last one shorter."""
    channels, length = waveform.shape
    rate, layout = script.timeline.sample_rate, _layout(channels)
    for first in range(0, length, frame_size):
        samples = waveform[:, first : first + frame_size]
        packed = samples if codecs.sample_format == "fltp" else samples.T.reshape(1, -1)
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(packed), format=codecs.sample_format, layout=layout)
        frame.sample_rate, frame.time_base = rate, Fraction(1, rate)
        frame.pts = script.timeline.first_sample + first
        yield frame


def _add_video(container: OutputContainer, script: MediaScript, codecs: Codecs) -> VideoStream:
    options = {**codecs.video_options, "g": str(script.group_frames)}
    stream = cast("VideoStream", container.add_stream(codecs.video, rate=script.timeline.frame_rate, options=options))
    stream.width, stream.height, stream.pix_fmt = script.width, script.height, "yuv420p"
    stream.codec_context.time_base = script.timeline.tick_seconds
    stream.codec_context.thread_count = 1
    return stream


def _add_audio(container: OutputContainer, script: MediaScript, codecs: Codecs, channels: int) -> AudioStream:
    stream = cast("AudioStream", container.add_stream(codecs.audio, rate=script.timeline.sample_rate))
    stream.layout = _layout(channels)
    stream.bit_rate = round(BITS_A_SAMPLE * script.timeline.sample_rate * channels)
    return stream


def _layout(channels: int) -> str:
    return "mono" if channels == 1 else "stereo"
