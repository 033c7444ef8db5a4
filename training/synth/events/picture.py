"""Drawings of a stage, of a lecture hall and of a field, each of many looks.

People, heads of an audience, colours, light, exposure and noise come with all three, so what tells is the place.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from training.synth.canvas import HAIRS, SKINS, Canvas, Place, Rgb, draw_rgb

SIZES = ((160, 120), (160, 160), (192, 108), (128, 160), (180, 120))
"""Width and height in pixels."""


def draw_picture(rng: np.random.Generator, view: int) -> NDArray[np.uint8]:
    """A picture ``(H, W, 3)`` uint8 of the place of one of ``EVENTS``."""
    size = SIZES[rng.integers(len(SIZES))]
    scenes: tuple[Callable[[np.random.Generator, tuple[int, int]], Canvas], ...] = (_stage, _lecture, _field)
    canvas = scenes[view](rng, size)
    if rng.uniform() < 0.5:
        canvas.pixels = np.ascontiguousarray(canvas.pixels[:, ::-1])
    return canvas.finish(rng, gain=float(rng.uniform(0.75, 1.25)), noise_level=float(rng.uniform(1, 12)))


def _stage(rng: np.random.Generator, size: tuple[int, int]) -> Canvas:
    """Beams of light from above, musicians on a platform, an audience in the dark."""
    canvas = Canvas(*size, draw_rgb(rng, 5, 60), draw_rgb(rng, 20, 90))
    floor = float(rng.uniform(0.58, 0.7))
    canvas.box((0, floor), (1, floor + 0.12), draw_rgb(rng, 40, 130))
    for place in _spread(rng, int(rng.integers(3, 7)), 0.05, 0.95):
        lean, width = float(rng.uniform(-0.3, 0.3)), float(rng.uniform(0.05, 0.14))
        foot = (place + lean - width, floor), (place + lean + width, floor)
        colour = draw_rgb(rng, 130, 230, spread=120)
        canvas.polygon([(place, -0.02), *foot], colour, float(rng.uniform(0.25, 0.6)))
        canvas.disc((place, 0.03), float(rng.uniform(0.015, 0.035)), draw_rgb(rng, 210, 255))
    for place in _spread(rng, int(rng.integers(1, 5)), 0.15, 0.85):
        tall = float(rng.uniform(0.16, 0.24))
        _person(canvas, rng, (place, floor + 0.03), tall)
        if rng.uniform() < 0.6:  # a microphone's stand
            canvas.line([(place + 0.05, floor + 0.03), (place + 0.03, floor - 0.8 * tall)], 0.004, (190, 190, 190))
    if rng.uniform() < 0.7:  # boxes of loudspeakers
        for left in (0.0, 0.9):
            canvas.box((left, floor - 0.25), (left + 0.1, floor + 0.03), draw_rgb(rng, 15, 50, spread=8))
            canvas.disc((left + 0.05, floor - 0.06), 0.035, draw_rgb(rng, 70, 110, spread=8))
    _audience(canvas, rng, floor + 0.2)
    return canvas


def _lecture(rng: np.random.Generator, size: tuple[int, int]) -> Canvas:
    """A board or a screen with writing, somebody beside it, rows of seats."""
    wall = draw_rgb(rng, 90, 215, spread=25)
    canvas = Canvas(*size, wall, draw_rgb(rng, 60, 190, spread=30))
    floor = float(rng.uniform(0.58, 0.68))
    left, right = float(rng.uniform(0.08, 0.25)), float(rng.uniform(0.62, 0.8))
    top, bottom = float(rng.uniform(0.06, 0.14)), float(rng.uniform(0.4, 0.5))
    boards: tuple[tuple[Rgb, Rgb], ...] = (
        ((38, 84, 62), (225, 230, 225)),
        ((245, 246, 250), (45, 50, 90)),
        ((30, 34, 40), (225, 225, 220)),
    )
    ground, ink = boards[rng.integers(len(boards))]
    canvas.box((left - 0.012, top - 0.015), (right + 0.012, bottom + 0.015), draw_rgb(rng, 60, 160))
    canvas.box((left, top), (right, bottom), ground)
    for row in np.arange(top + 0.05, bottom - 0.02, rng.uniform(0.045, 0.07)):
        end = left + 0.03 + (right - left - 0.06) * float(rng.uniform(0.3, 1))
        canvas.line([(left + 0.03, float(row)), (end, float(row))], 0.006, ink, 0.85)
    if rng.uniform() < 0.5:  # a curve of some function
        xs = np.linspace(left + 0.3 * (right - left), right - 0.04, 12)
        waves = 0.5 * (top + bottom) + 0.1 * np.sin(rng.uniform(8, 20) * xs + rng.uniform(0, 6))
        canvas.line([(float(x), float(y)) for x, y in zip(xs, waves, strict=True)], 0.008, draw_rgb(rng, 90, 220))
    _person(canvas, rng, (float(rng.uniform(right + 0.02, 0.93)), floor + 0.06), float(rng.uniform(0.26, 0.34)))
    desk = draw_rgb(rng, 60, 150)
    canvas.box((left, floor - 0.04), (left + float(rng.uniform(0.15, 0.3)), floor + 0.06), desk)
    seat, rows = draw_rgb(rng, 40, 160, spread=60), int(rng.integers(2, 4))
    for row in range(rows):
        y, across = floor + 0.12 + row * 0.3 / rows, int(rng.integers(5, 9))
        for place in (np.arange(across) + 0.5) / across:
            half = 0.36 / across
            canvas.box((place - half, y), (place + half, y + 0.1), seat)
            if rng.uniform() < 0.5:
                canvas.disc((float(place), y - 0.01), 0.04, _skin_or_hair(rng))
    return canvas


def _field(rng: np.random.Generator, size: tuple[int, int]) -> Canvas:
    """A field with lines and a goal or a net, players of two teams, a stand full of people."""
    horizon = float(rng.uniform(0.24, 0.38))
    grounds: tuple[Rgb, ...] = ((62, 132, 58), (92, 150, 70), (176, 116, 66), (72, 106, 158), (150, 80, 62))
    shade = float(rng.uniform(0.7, 1.2))
    red, green, blue = (shade * value for value in grounds[rng.integers(len(grounds))])
    canvas = Canvas(*size, draw_rgb(rng, 40, 200), (red, green, blue))
    _stand(canvas, rng, horizon)
    canvas.box((0, horizon), (1, 1.02), (red, green, blue))
    for stripe in range(0, 6, 2):  # mown stripes
        y = horizon + (1 - horizon) * stripe / 6
        canvas.box((0, y), (1, y + (1 - horizon) / 6), (1.12 * red, 1.12 * green, 1.12 * blue), 0.7)
    chalk, slant = (240.0, 240.0, 235.0), float(rng.uniform(-0.15, 0.15))
    near, far = float(rng.uniform(0.85, 0.97)), horizon + 0.05
    corners = [(0.12 + slant, far), (0.88 + slant, far), (1.05, near), (-0.05, near), (0.12 + slant, far)]
    canvas.line(corners, 0.008, chalk)
    canvas.line([(0.5 + slant, far), (0.5, near)], 0.007, chalk)
    ring = [
        (0.5 + slant / 2 + 0.15 * math.cos(a), 0.62 * near + 0.08 * math.sin(a)) for a in np.linspace(0, 2 * np.pi, 17)
    ]
    canvas.line(ring, 0.006, chalk)
    post, goal = float(rng.uniform(0.1, 0.22)), 0.5 + slant
    canvas.line([(goal - 0.1, far), (goal - 0.1, far - post), (goal + 0.1, far - post), (goal + 0.1, far)], 0.01, chalk)
    teams = draw_rgb(rng, 60, 220, spread=110), draw_rgb(rng, 60, 220, spread=110)
    for number, place in enumerate(_spread(rng, int(rng.integers(4, 9)), 0.05, 0.95)):
        depth = float(rng.uniform(0.1, 1))
        foot = (place, far + 0.1 + depth * (near - far - 0.1))
        _person(canvas, rng, foot, 0.1 + 0.12 * depth, teams[number % 2])
    canvas.disc((float(rng.uniform(0.2, 0.8)), float(rng.uniform(0.55, 0.9))), 0.018, (250, 250, 245))
    if rng.uniform() < 0.4:  # somebody sits in front of the camera
        _audience(canvas, rng, 0.97)
    return canvas


def _stand(canvas: Canvas, rng: np.random.Generator, horizon: float) -> None:
    """Coloured dots in rows, above the field."""
    top, bottom = round(0.05 * canvas.height), round(horizon * canvas.height)
    rows, columns = -(-(bottom - top) // 3), -(-canvas.width // 3)
    dots = rng.uniform(30, 220, size=(rows, columns, 3)).astype(np.float32)
    tiles = np.repeat(np.repeat(dots, 3, axis=0), 3, axis=1)[: bottom - top, : canvas.width]
    canvas.pixels[top:bottom] += 0.65 * (tiles - canvas.pixels[top:bottom])


def _audience(canvas: Canvas, rng: np.random.Generator, y: float) -> None:
    """Heads and shoulders seen from behind, some with an arm up."""
    for place in _spread(rng, int(rng.integers(4, 9)), 0.0, 1.0):
        height, colour = y + float(rng.uniform(-0.05, 0.05)), _skin_or_hair(rng)
        canvas.ellipse((place, height + 0.16), (0.09, 0.12), draw_rgb(rng, 10, 90))
        canvas.disc((place, height), float(rng.uniform(0.045, 0.065)), colour)
        if rng.uniform() < 0.25:
            canvas.line([(place + 0.06, height + 0.12), (place + 0.08, height - 0.12)], 0.015, colour)


def _person(canvas: Canvas, rng: np.random.Generator, foot: Place, tall: float, shirt: Rgb | None = None) -> None:
    """Somebody who stands at ``foot``, ``tall`` in heights of the picture."""
    x, y = foot
    shirt = shirt or draw_rgb(rng, 30, 220, spread=80)
    stride, trousers = float(rng.uniform(0.04, 0.16)) * tall, draw_rgb(rng, 20, 110)
    for side in (-stride, stride):
        canvas.line([(x, y - 0.45 * tall), (x + side, y)], 0.06 * tall, trousers)
    canvas.line([(x, y - 0.72 * tall), (x, y - 0.48 * tall)], 0.13 * tall, shirt)
    for side in (-1, 1):
        swing = float(rng.uniform(-0.2, 0.2)) * tall
        hand = (x + side * 0.22 * tall, y - 0.5 * tall + swing)
        canvas.line([(x + side * 0.08 * tall, y - 0.75 * tall), hand], 0.045 * tall, shirt)
    canvas.disc((x, y - 0.9 * tall), 0.1 * tall, SKINS[rng.integers(len(SKINS))])


def _skin_or_hair(rng: np.random.Generator) -> Rgb:
    return (*HAIRS, *SKINS)[rng.integers(len(HAIRS) + len(SKINS))]


def _spread(rng: np.random.Generator, count: int, low: float, high: float) -> list[float]:
    """``count`` places in [low, high), one in each equal part."""
    return [float(low + (high - low) * (i + u) / count) for i, u in enumerate(rng.uniform(size=count))]
