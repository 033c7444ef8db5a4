"""Simple drawings with smooth edges: places are fractions of the width and height, sizes of the shorter side.

Every shape is a signed distance to its outline in pixels; half a pixel on either side of it is blended.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

Rgb = tuple[float, float, float]
"""8-bit red, green, blue."""
Place = tuple[float, float]
"""(x, y), fractions of the width and height, y down."""
Outside = Callable[[NDArray[np.float32], NDArray[np.float32]], NDArray[Any]]
"""From a row of x and a column of y in pixels to how far outside the shape each pixel is."""


class Canvas:
    """A picture being drawn; ``pixels`` is ``(H, W, 3)`` float32 in [0, 255].

    Args:
        width: in pixels.
        height: in pixels.
        top: colour of the upper edge.
        bottom: colour of the lower edge; in between it changes evenly.
    """

    def __init__(self, width: int, height: int, top: Rgb, bottom: Rgb) -> None:
        share = ((np.arange(height, dtype=np.float32) + 0.5) / height)[:, None]
        rows = np.asarray(top, np.float32) + share * (np.asarray(bottom, np.float32) - np.asarray(top, np.float32))
        self.pixels: NDArray[np.float32] = np.repeat(rows[:, None, :], width, axis=1)

    @property
    def width(self) -> int:
        """In pixels."""
        return int(self.pixels.shape[1])

    @property
    def height(self) -> int:
        """In pixels."""
        return int(self.pixels.shape[0])

    @classmethod
    def of(cls, pixels: NDArray[np.float32]) -> Self:
        """A canvas to go on drawing on ``pixels``, ``(H, W, 3)`` float32, in place."""
        canvas = cls.__new__(cls)
        canvas.pixels = pixels
        return canvas

    def disc(self, centre: Place, radius: float, colour: Rgb, opacity: float = 1.0) -> None:
        """A filled circle."""
        self.ellipse(centre, (radius, radius), colour, opacity)

    def ellipse(self, centre: Place, radii: tuple[float, float], colour: Rgb, opacity: float = 1.0) -> None:
        """A filled ellipse of the given half axes."""
        (x, y), (a, b) = self._pixel(centre), (self._length(radius) for radius in radii)

        def outside(across: NDArray[np.float32], down: NDArray[np.float32]) -> NDArray[Any]:
            return np.asarray((np.hypot((across - x) / a, (down - y) / b) - 1) * min(a, b))

        self._blend((x - a, y - b, x + a, y + b), outside, colour, opacity)

    def line(self, points: Sequence[Place], radius: float, colour: Rgb, opacity: float = 1.0) -> None:
        """A line of round ends through points, ``radius`` to either side."""
        places, reach = [self._pixel(point) for point in points], max(0.5, self._length(radius))
        xs, ys = zip(*places, strict=True)

        def outside(across: NDArray[np.float32], down: NDArray[np.float32]) -> NDArray[Any]:
            nearest: NDArray[Any] = np.full((len(down), across.shape[1]), np.inf, dtype=np.float32)
            for (x0, y0), (x1, y1) in pairwise(places):
                dx, dy = x1 - x0, y1 - y0
                along = ((across - x0) * dx + (down - y0) * dy) / max(1e-6, dx * dx + dy * dy)
                along = np.clip(along, 0, 1)
                nearest = np.minimum(nearest, (across - x0 - along * dx) ** 2 + (down - y0 - along * dy) ** 2)
            return np.asarray(np.sqrt(nearest) - reach)

        box = (min(xs) - reach, min(ys) - reach, max(xs) + reach, max(ys) + reach)
        self._blend(box, outside, colour, opacity)

    def polygon(self, points: Sequence[Place], colour: Rgb, opacity: float = 1.0) -> None:
        """A filled convex polygon, its corners in either order."""
        places = [self._pixel(point) for point in points]
        ends = [*places[1:], places[0]]
        area = sum(x0 * y1 - x1 * y0 for (x0, y0), (x1, y1) in zip(places, ends, strict=True))
        turn = 1 if area > 0 else -1
        xs, ys = zip(*places, strict=True)

        def outside(across: NDArray[np.float32], down: NDArray[np.float32]) -> NDArray[Any]:
            farthest: NDArray[Any] = np.full((len(down), across.shape[1]), -np.inf, dtype=np.float32)
            for (x0, y0), (x1, y1) in zip(places, ends, strict=True):
                length = max(1e-6, math.hypot(x1 - x0, y1 - y0))
                side = turn * ((across - x0) * (y1 - y0) - (down - y0) * (x1 - x0)) / length
                farthest = np.maximum(farthest, side)
            return farthest

        self._blend((min(xs), min(ys), max(xs), max(ys)), outside, colour, opacity)

    def box(self, corner: Place, opposite: Place, colour: Rgb, opacity: float = 1.0) -> None:
        """A filled rectangle between two opposite corners."""
        (x0, y0), (x1, y1) = corner, opposite
        self.polygon([(x0, y0), (x1, y0), (x1, y1), (x0, y1)], colour, opacity)

    def finish(self, rng: np.random.Generator, *, gain: float, noise_level: float) -> NDArray[np.uint8]:
        """The picture as a camera of that exposure and noise takes it: ``(H, W, 3)`` uint8."""
        noise = noise_level * rng.standard_normal(self.pixels.shape, dtype=np.float32)
        return np.clip(gain * self.pixels + noise, 0, 255).astype(np.uint8)

    def _pixel(self, place: Place) -> tuple[float, float]:
        return place[0] * self.width, place[1] * self.height

    def _length(self, fraction: float) -> float:
        return max(0.3, fraction * min(self.width, self.height))

    def _blend(self, bounds: tuple[float, float, float, float], outside: Outside, colour: Rgb, opacity: float) -> None:
        left, top = (max(0, math.floor(value - 1)) for value in bounds[:2])
        right, bottom = (
            min(most, math.ceil(value + 1)) for value, most in zip(bounds[2:], (self.width, self.height), strict=True)
        )
        if left >= right or top >= bottom:
            return
        across = np.arange(left, right, dtype=np.float32)[None, :] + 0.5
        down = np.arange(top, bottom, dtype=np.float32)[:, None] + 0.5
        cover = (opacity * np.clip(0.5 - outside(across, down), 0, 1)).astype(np.float32)[..., None]
        patch = self.pixels[top:bottom, left:right]
        patch += cover * (np.asarray(colour, np.float32) - patch)


def draw_rgb(rng: np.random.Generator, low: float, high: float, *, spread: float = 40) -> Rgb:
    """A colour whose brightness is between ``low`` and ``high``, and whose channels differ from it by ``spread``."""
    base = rng.uniform(low, high) + rng.uniform(-spread, spread, size=3)
    red, green, blue = (float(value) for value in np.clip(base, 0, 255))
    return red, green, blue


SKINS: tuple[Rgb, ...] = ((241, 204, 177), (214, 162, 122), (160, 106, 72), (98, 64, 46))
HAIRS: tuple[Rgb, ...] = ((30, 24, 22), (92, 60, 34), (196, 164, 98), (130, 130, 134), (140, 62, 36))
