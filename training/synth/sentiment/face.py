"""A drawn face that talks: the curve of its mouth and the set of its brows show a sentiment."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.synth.canvas import HAIRS, SKINS, Canvas, Place, Rgb, draw_rgb

MARGIN = 0.06
"""The face is drawn on a picture that is larger by this share at each edge, of which each frame takes a cut."""


@dataclass(frozen=True)
class Face:
    """A clip's face; lengths are fractions of the frame."""

    view: int
    skin: Rgb
    hair: Rgb
    shirt: Rgb
    wall: tuple[Rgb, Rgb]
    lips: Rgb
    strength: float
    """Of the expression, 0.75 to 1."""
    onset_seconds: float
    """When the expression is whole; before, it grows from a trace."""
    mouth_half: float
    mouth_bias: float
    brow_height: float
    glasses: bool
    fringe: bool
    talk_hz: float
    talk_level: float
    blink_seconds: float
    """From one blink to the next."""
    sway_hz: tuple[float, float]
    sway_phase: tuple[float, float]
    sway_level: float
    gain: float
    noise_level: float


def draw_face(rng: np.random.Generator, view: int) -> Face:
    """Draw a face that shows one of ``SENTIMENTS``; all else is drawn alike for the three."""
    skin = SKINS[rng.integers(len(SKINS))]
    phases = rng.uniform(0, 2 * math.pi, size=2)
    sway = rng.uniform(0.2, 0.7, size=2)
    return Face(
        view=view,
        skin=skin,
        hair=HAIRS[rng.integers(len(HAIRS))],
        shirt=draw_rgb(rng, 30, 220, spread=80),
        wall=(draw_rgb(rng, 60, 220), draw_rgb(rng, 60, 220)),
        lips=(0.5 * skin[0] + 100, 0.4 * skin[1] + 20, 0.4 * skin[2] + 30),
        strength=float(rng.uniform(0.75, 1)),
        onset_seconds=float(rng.uniform(0.5, 1.4)),
        mouth_half=float(rng.uniform(0.12, 0.16)),
        mouth_bias=float(rng.uniform(-0.08, 0.08)),
        brow_height=float(rng.uniform(-0.01, 0.01)),
        glasses=bool(rng.uniform() < 0.25),
        fringe=bool(rng.uniform() < 0.5),
        talk_hz=float(rng.uniform(2.5, 4.0)),
        talk_level=float(rng.uniform(0.01, 0.03)),
        blink_seconds=float(rng.uniform(1.5, 4)),
        sway_hz=(float(sway[0]), float(sway[1])),
        sway_phase=(float(phases[0]), float(phases[1])),
        sway_level=float(rng.uniform(0, 0.9)),
        gain=float(rng.uniform(0.8, 1.15)),
        noise_level=float(rng.uniform(0, 6)),
    )


def draw_face_frames(
    rng: np.random.Generator, face: Face, size: tuple[int, int], times_seconds: Sequence[float]
) -> Iterator[NDArray[np.uint8]]:
    """The frames at times since the clip's start, each ``(H, W, 3)`` uint8."""
    width, height = size
    still = _draw_still(face, round(width * (1 + 2 * MARGIN)), round(height * (1 + 2 * MARGIN)))
    for seconds in times_seconds:
        shift_x, shift_y = (
            0.5 + 0.5 * face.sway_level * math.sin(2 * math.pi * hz * seconds + phase)
            for hz, phase in zip(face.sway_hz, face.sway_phase, strict=True)
        )
        left, top = round(shift_x * (still.width - width)), round(shift_y * (still.height - height))
        frame = Canvas.of(still.pixels[top : top + height, left : left + width].copy())
        centre = ((still.width / 2 - left) / width, (still.height / 2 - top) / height)
        _draw_features(frame, face, centre, seconds)
        yield frame.finish(rng, gain=face.gain, noise_level=face.noise_level)


def _draw_still(face: Face, width: int, height: int) -> Canvas:
    """Everything that does not move on its own: wall, hair, neck, head."""
    canvas = Canvas(width, height, *face.wall)
    canvas.ellipse((0.5, 1.05), (0.42, 0.28), face.shirt)
    canvas.line([(0.5, 0.7), (0.5, 0.86)], 0.1, _shade(face.skin, 0.85))
    canvas.ellipse((0.5, 0.42), (0.34, 0.38), face.hair)
    canvas.ellipse((0.5, 0.5), (0.29, 0.35), face.skin)
    if face.fringe:
        canvas.ellipse((0.5, 0.2), (0.26, 0.1), face.hair)
    return canvas


def _draw_features(canvas: Canvas, face: Face, centre: Place, seconds: float) -> None:
    """Eyes, brows, nose and mouth of a moment, around the head's middle."""
    x, y = centre
    level = face.strength * min(1.0, 0.1 + 0.9 * seconds / face.onset_seconds) * (0.93 + 0.07 * math.sin(5 * seconds))
    mood = (face.view - 1) * level
    closed = seconds % face.blink_seconds > face.blink_seconds - 0.15
    for side in (-1, 1):
        eye = (x + side * 0.13, y - 0.07)
        if closed:
            canvas.line([(eye[0] - 0.05, eye[1]), (eye[0] + 0.05, eye[1])], 0.008, _shade(face.skin, 0.5))
        else:
            canvas.ellipse(eye, (0.055, 0.034), (245, 245, 245))
            canvas.disc((eye[0] + 0.012 * math.sin(0.9 * seconds), eye[1]), 0.024, (40, 30, 30))
        # Displeased brows slope down to the nose, pleased ones are raised to an arch.
        brow, lift = y - 0.155 + face.brow_height, 0.035 * mood
        inner = (x + side * 0.06, brow - 1.3 * min(0.0, lift) - 0.6 * max(0.0, lift))
        middle = (x + side * 0.13, brow - 1.2 * max(0.0, lift))
        outer = (x + side * 0.2, brow + 0.8 * min(0.0, lift) - 0.2 * max(0.0, lift))
        canvas.line([inner, middle, outer], 0.014, face.hair)
        if face.glasses:
            ring = [(eye[0] + 0.08 * math.cos(a), eye[1] + 0.06 * math.sin(a)) for a in np.linspace(0, 2 * math.pi, 9)]
            canvas.line(ring, 0.006, (30, 30, 34))
    canvas.line([(x, y - 0.03), (x + 0.02, y + 0.06), (x - 0.01, y + 0.065)], 0.007, _shade(face.skin, 0.75))
    _draw_mouth(canvas, face, (x, y + 0.17), mood, seconds)


def _draw_mouth(canvas: Canvas, face: Face, middle: Place, mood: float, seconds: float) -> None:
    """Two lips that part while talking; a smile's corners are up, a frown's down."""
    places = np.linspace(-1, 1, 5)
    curve = -0.075 * (mood + face.mouth_bias) * (places**2 - 0.4)
    part = face.talk_level * (0.5 + 0.5 * math.sin(2 * math.pi * face.talk_hz * seconds)) * (1 - places**2)
    xs = middle[0] + face.mouth_half * places
    lips = [
        [(float(a), float(b)) for a, b in zip(xs, middle[1] + curve + side * part, strict=True)] for side in (-1, 0, 1)
    ]
    canvas.line(lips[1], max(0.008, float(part.max())), (60, 16, 20))
    canvas.line(lips[0], 0.011, face.lips)
    canvas.line(lips[2], 0.012, face.lips)


def _shade(colour: Rgb, share: float) -> Rgb:
    red, green, blue = (share * value for value in colour)
    return red, green, blue
