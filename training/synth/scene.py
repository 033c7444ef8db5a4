"""What can be seen, in numbers: positions and sizes are fractions of the frame, colours are 8-bit Y, Cb, Cr."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

SHAPES = ("disc", "square", "diamond", "ring", "cross")
"""Each is the same after swapping its two axes."""

Colour = tuple[float, float, float]
Point = tuple[float, float]


@dataclass(frozen=True)
class Motion:
    """How the object moves during one activity.

    It swings along one axis and stands still on the other. There it stands where a swing of the same kind would be at
    a random moment, so that in any single frame both axes have the same distribution and only the change tells.
    """

    centre: Point
    amplitude: float
    """Of a sine, as a fraction of the frame."""
    frequency_hz: float
    phase: float
    """Radians at the activity's start."""
    frozen_phase: float
    """Radians; of the axis that stands still."""

    def position(self, motion: int, elapsed_seconds: float) -> Point:
        """Where the object's middle is, as fractions (x, y) of the frame; ``motion`` 0 moves x, 1 moves y."""
        moving = self.amplitude * math.sin(self.phase + 2 * math.pi * self.frequency_hz * elapsed_seconds)
        frozen = self.amplitude * math.sin(self.frozen_phase)
        offset = (moving, frozen) if motion == 0 else (frozen, moving)
        return self.centre[0] + offset[0], self.centre[1] + offset[1]


@dataclass(frozen=True)
class Sprite:
    """A shape; ``radius`` is a fraction of the frame's shorter side."""

    shape: str
    radius: float
    colour: Colour


@dataclass(frozen=True)
class Scene:
    """A clip's picture without the motion of its object."""

    colours: tuple[Colour, Colour]
    """The background's, at its two ends."""
    slope: float
    """Direction of the background's gradient in radians."""
    ripple_cycles: Point
    """Of the background's texture over the width and over the height."""
    ripple_level: float
    """Amplitude of the texture in steps of luma."""
    sprite: Sprite
    still: Sprite
    """A distractor that stands."""
    still_centre: Point
    blob: Sprite
    """A distractor that drifts and turns back at the frame's edges."""
    blob_start: Point
    blob_velocity: Point
    """Fractions of the frame a second."""
    noise_level: float
    """Standard deviation of the luma noise."""

    def blob_position(self, elapsed_seconds: float) -> Point:
        """Where the drifting distractor is, as fractions of the frame."""
        travelled = (start + v * elapsed_seconds for start, v in zip(self.blob_start, self.blob_velocity, strict=True))
        x, y = (1 - abs(1 - value % 2) for value in travelled)
        return x, y


def draw_motion(rng: np.random.Generator) -> Motion:
    """Draw a motion that stays inside the frame."""
    x, y = rng.uniform(0.44, 0.56, size=2)
    phase, frozen_phase = rng.uniform(0, 2 * math.pi, size=2)
    return Motion(
        centre=(float(x), float(y)),
        amplitude=float(rng.uniform(0.2, 0.3)),
        frequency_hz=float(rng.uniform(1.2, 2.0)),
        phase=float(phase),
        frozen_phase=float(frozen_phase),
    )


def draw_scene(rng: np.random.Generator) -> Scene:
    """Draw a background, an object that stands out from it, and two distractors that do so less."""
    dark = bool(rng.uniform() < 0.5)
    luma = float(rng.uniform(40, 90) if dark else rng.uniform(150, 205))
    ends = tuple(_draw_colour(rng, luma + float(rng.uniform(-15, 15)), chroma=25) for _ in range(2))
    sign = 1 if dark else -1
    direction = float(rng.uniform(0, 2 * math.pi))
    speed = float(rng.uniform(0.02, 0.08))
    still_x, still_y, blob_x, blob_y, cycles_x, cycles_y = (float(value) for value in rng.uniform(size=6))
    return Scene(
        colours=(ends[0], ends[1]),
        slope=float(rng.uniform(0, 2 * math.pi)),
        ripple_cycles=(6 * cycles_x, 6 * cycles_y),
        ripple_level=float(rng.uniform(0, 8)),
        sprite=_draw_sprite(rng, luma + sign * float(rng.uniform(80, 125)), (0.09, 0.13)),
        still=_draw_sprite(rng, luma + sign * float(rng.uniform(30, 70)), (0.05, 0.11)),
        still_centre=(still_x, still_y),
        blob=_draw_sprite(rng, luma + sign * float(rng.uniform(20, 50)), (0.08, 0.16)),
        blob_start=(blob_x, blob_y),
        blob_velocity=(speed * math.cos(direction), speed * math.sin(direction)),
        noise_level=float(rng.uniform(0, 5)),
    )


def _draw_sprite(rng: np.random.Generator, luma: float, radius: tuple[float, float]) -> Sprite:
    shape = SHAPES[rng.integers(len(SHAPES))]
    return Sprite(shape, float(rng.uniform(*radius)), _draw_colour(rng, luma, chroma=60))


def _draw_colour(rng: np.random.Generator, luma: float, *, chroma: float) -> Colour:
    """A colour of the given luma whose Cb and Cr lie within ``chroma`` of grey."""
    cb, cr = 128 + rng.uniform(-chroma, chroma, size=2)
    return luma, float(cb), float(cr)
