"""What a depth camera beside the video camera would film: grey is nearness, and the object moves as in the video.

The camera has a size, a rate and a start of its own. How near things are, the object's sway towards the camera, the
noise and the holes are drawn without a look at the label.
"""

from __future__ import annotations

import io
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal, cast

import av
import numpy as np
from av.video.stream import VideoStream
from numpy.typing import NDArray

from training.synth.drawing import Planes, paint_sprite
from training.synth.scene import Sprite
from training.synth.script import ClipScript

DepthContainer = Literal["mp4", "mkv"]
LONG_SIDE = 96
"""Pixels."""
FRAME_RATES = (10, 15, 20)
HOLE_SHARE = 0.004
"""Of pixels that the camera has no answer for, which are 0."""
DEPTH_STREAM = 3
"""Beside those of the noise of sound and picture and of the inertial sensor."""
CODECS: dict[DepthContainer, tuple[str, dict[str, str], dict[str, str]]] = {
    "mp4": (
        "libx264",
        {"preset": "veryfast", "crf": "26", "mbtree": "0", "threads": "1"},
        {"fflags": "+bitexact", "movie_timescale": "30000"},
    ),
    "mkv": ("ffv1", {"level": "3", "slices": "4", "threads": "1"}, {"fflags": "+bitexact"}),
}


@dataclass(frozen=True)
class DepthCamera:
    """A clip's depth camera; nearness is from 0 (far) to 255."""

    container: DepthContainer
    frame_rate: int
    late_seconds: float
    """How long after the clip's start it begins."""
    ground: float
    slopes: tuple[float, float]
    """How much nearer the ground comes over the width and over the height."""
    object_near: float
    still_near: float
    blob_near: float
    sway_level: float
    sway_hz: float
    sway_phase: float
    noise_level: float


def draw_camera(rng: np.random.Generator) -> DepthCamera:
    """Draw a camera for which the object is the nearest thing."""
    ground = float(rng.uniform(40, 80))
    slope_x, slope_y = rng.uniform(-25, 25, size=2)
    return DepthCamera(
        container="mp4" if rng.uniform() < 0.75 else "mkv",
        frame_rate=int(rng.choice(FRAME_RATES)),
        late_seconds=float(rng.uniform(0, 0.3)),
        ground=ground,
        slopes=(float(slope_x), float(slope_y)),
        object_near=ground + float(rng.uniform(90, 140)),
        still_near=ground + float(rng.uniform(30, 70)),
        blob_near=ground + float(rng.uniform(25, 60)),
        sway_level=float(rng.uniform(0, 20)),
        sway_hz=float(rng.uniform(0.3, 2.0)),
        sway_phase=float(rng.uniform(0, 2 * math.pi)),
        noise_level=float(rng.uniform(0, 2)),
    )


def render_depth(script: ClipScript) -> tuple[bytes, DepthContainer]:
    """The depth video of a clip, of one grey channel, with pts on the clip's timeline; and its container."""
    rng = np.random.default_rng([*script.noise_seed, DEPTH_STREAM])
    camera = draw_camera(rng)
    edges = script.timeline.edges_seconds
    first = round((float(edges[0]) + camera.late_seconds) * camera.frame_rate)
    stop = math.ceil(float(edges[-1]) * camera.frame_rate)
    pts = range(first, stop)
    return _encode(camera, pts, draw_depth_frames(rng, script, camera, pts)), camera.container


def draw_depth_frames(
    rng: np.random.Generator, script: ClipScript, camera: DepthCamera, pts: Iterable[int]
) -> Iterator[NDArray[np.uint8]]:
    """The frames at ``pts`` ticks of the camera's rate, each ``(H, W)`` uint8."""
    scale = LONG_SIDE / max(script.width, script.height)
    width, height = (2 * round(side * scale / 2) for side in (script.width, script.height))
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    ground = camera.ground + camera.slopes[0] * (x / width - 0.5) + camera.slopes[1] * (y / height - 0.5)
    scene = script.scene
    _paint(ground, scene.still, scene.still_centre, camera.still_near)
    segments = iter(script.segments)
    segment = next(segments)
    for tick in pts:
        seconds = Fraction(tick, camera.frame_rate)
        while seconds >= segment.stop_seconds:
            segment = next(segments)
        frame = ground.copy()
        _paint(frame, scene.blob, scene.blob_position(float(seconds)), camera.blob_near)
        sway = camera.sway_level * math.sin(2 * math.pi * camera.sway_hz * float(seconds) + camera.sway_phase)
        elapsed = max(0.0, float(seconds - segment.start_seconds))
        place = segment.motion.position(segment.activity.motion, elapsed)
        _paint(frame, scene.sprite, place, camera.object_near + sway)
        frame += camera.noise_level * rng.standard_normal(frame.shape, dtype=np.float32)
        frame[rng.uniform(size=frame.shape) < HOLE_SHARE] = 0
        yield np.clip(frame, 0, 255).astype(np.uint8)


def _paint(plane: NDArray[np.float32], sprite: Sprite, centre: tuple[float, float], near: float) -> None:
    """Blend a sprite's shape into the plane, in place."""
    halves = (np.zeros((plane.shape[0] // 2, plane.shape[1] // 2), dtype=np.float32),) * 2
    planes: Planes = (plane, *halves)
    paint_sprite(planes, Sprite(sprite.shape, sprite.radius, (near, 0.0, 0.0)), centre)


def _encode(camera: DepthCamera, pts: range, frames: Iterable[NDArray[np.uint8]]) -> bytes:
    target = io.BytesIO()
    codec, options, container_options = CODECS[camera.container]
    name = {"mp4": "mp4", "mkv": "matroska"}[camera.container]
    with av.open(target, "w", format=name, container_options=container_options) as container:
        stream = cast("VideoStream", container.add_stream(codec, rate=camera.frame_rate, options=options))
        for tick, plane in zip(pts, frames, strict=True):
            frame = av.VideoFrame.from_ndarray(plane, format="gray")
            if tick == pts.start:
                stream.height, stream.width = plane.shape
                stream.pix_fmt = "gray"
                stream.codec_context.time_base = Fraction(1, camera.frame_rate)
                stream.codec_context.thread_count = 1
            frame.pts, frame.time_base = tick, Fraction(1, camera.frame_rate)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return target.getvalue()
