"""From a script to frames, straight in planar YUV 4:2:0, which is what the encoders take."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.synth.scene import Colour, Point, Scene, Sprite
from training.synth.script import ClipScript

NOISE_MARGIN = 64
"""The noise is one picture, larger than a frame by this many pixels, of which each frame takes another cut."""

Planes = tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]
"""Luma ``(H, W)``, Cb and Cr ``(H/2, W/2)``."""


def draw_frames(script: ClipScript) -> Iterator[NDArray[np.uint8]]:
    """The clip's frames in order, each ``(H * 3/2, W)`` uint8: the luma plane above the two halved chroma planes."""
    rng = np.random.default_rng([*script.noise_seed, 1])
    width, height, scene = script.width, script.height, script.scene
    background = _draw_background(scene, width, height)
    paint_sprite(background, scene.still, scene.still_centre)
    size = (height + NOISE_MARGIN, width + NOISE_MARGIN)
    noise = scene.noise_level * rng.standard_normal(size, dtype=np.float32)
    segments = iter(script.segments)
    segment = next(segments)
    for seconds in script.timeline.frame_seconds:
        while seconds >= segment.stop_seconds:
            segment = next(segments)
        planes = (background[0].copy(), background[1].copy(), background[2].copy())
        paint_sprite(planes, scene.blob, scene.blob_position(float(seconds)))
        elapsed = float(seconds - segment.start_seconds)
        paint_sprite(planes, scene.sprite, segment.motion.position(segment.activity.motion, elapsed))
        top, left = rng.integers(NOISE_MARGIN, size=2)
        planes[0][:] += noise[top : top + height, left : left + width]
        yield _pack(planes)


def _draw_background(scene: Scene, width: int, height: int) -> Planes:
    """A gradient between two colours, with a texture of slow ripples on its luma."""
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    x, y = (x + 0.5) / width, (y + 0.5) / height
    place = 0.5 + ((x - 0.5) * math.cos(scene.slope) + (y - 0.5) * math.sin(scene.slope)) / math.sqrt(2)
    ripple = np.sin(2 * np.pi * (scene.ripple_cycles[0] * x + scene.ripple_cycles[1] * y))
    luma, cb, cr = (a + (b - a) * place for a, b in zip(*scene.colours, strict=True))
    return luma + scene.ripple_level * ripple, _halve(cb), _halve(cr)


def paint_sprite(planes: Planes, sprite: Sprite, centre: Point) -> None:
    """Blend a sprite into the planes, in place; what reaches beyond the frame is cut off."""
    height, width = planes[0].shape
    radius = sprite.radius * min(width, height)
    x, y = centre[0] * width, centre[1] * height
    # Even corners, so that the cut is whole in the halved planes too.
    left, top = (max(0, 2 * math.floor((value - radius - 1) / 2)) for value in (x, y))
    right, bottom = (min(most, 2 * math.ceil((v + radius + 1) / 2)) for v, most in ((x, width), (y, height)))
    if left >= right or top >= bottom:
        return
    across = np.arange(left, right, dtype=np.float32) + 0.5 - x
    down = np.arange(top, bottom, dtype=np.float32) + 0.5 - y
    cover = _cover(sprite.shape, np.abs(across)[None, :], np.abs(down)[:, None], radius)
    _blend(planes, sprite.colour, cover, (left, top))


def _cover(shape: str, across: NDArray[np.float32], down: NDArray[np.float32], radius: float) -> NDArray[np.float32]:
    """How much of each pixel the shape covers, in [0, 1], from its distances to the middle in pixels."""
    if shape == "disc":
        outside: NDArray[Any] = np.hypot(across, down) - radius
    elif shape == "ring":
        outside = np.abs(np.hypot(across, down) - 0.7 * radius) - 0.3 * radius
    elif shape == "diamond":
        outside = (across + down - radius) / math.sqrt(2)
    elif shape == "square":
        outside = np.maximum(across, down) - 0.85 * radius
    else:  # a cross
        outside = np.maximum(np.maximum(across, down) - radius, np.minimum(across, down) - 0.35 * radius)
    return np.clip(0.5 - outside, 0, 1).astype(np.float32)


def _blend(planes: Planes, colour: Colour, cover: NDArray[np.float32], corner: tuple[int, int]) -> None:
    left, top = corner
    for plane, value, mask, scale in zip(planes, colour, (cover, _halve(cover), _halve(cover)), (1, 2, 2), strict=True):
        rows, columns = mask.shape
        patch = plane[top // scale : top // scale + rows, left // scale : left // scale + columns]
        patch += mask * (value - patch)


def _halve(plane: NDArray[np.float32]) -> NDArray[np.float32]:
    """Means of 2 x 2 pixels."""
    height, width = plane.shape
    blocks = plane.reshape(height // 2, 2, width // 2, 2)
    return np.asarray(blocks.mean(axis=(1, 3)), dtype=np.float32)


def _pack(planes: Planes) -> NDArray[np.uint8]:
    flat = np.concatenate([plane.ravel() for plane in planes])
    return np.clip(flat, 16, 235, out=flat).astype(np.uint8).reshape(-1, planes[0].shape[1])
