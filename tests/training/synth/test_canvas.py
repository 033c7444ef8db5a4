"""Shapes cover what their formulas say, against a count of finer points."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from training.synth.canvas import Canvas, draw_rgb

BLACK, WHITE = (0.0, 0.0, 0.0), (255.0, 255.0, 255.0)


def cover(draw: Callable[[Canvas], None]) -> float:
    """Covered share of a picture of 80 x 60."""
    canvas = Canvas(80, 60, BLACK, BLACK)
    draw(canvas)
    return float(canvas.pixels.mean() / 255)


@pytest.mark.parametrize(
    ("draw", "area"),
    [
        (lambda c: c.disc((0.5, 0.5), 0.2, WHITE), np.pi * 12**2),
        (lambda c: c.ellipse((0.4, 0.6), (0.3, 0.2), WHITE), np.pi * 18 * 12),
        (lambda c: c.box((0.25, 0.2), (0.75, 0.6), WHITE), 40 * 24),
        (lambda c: c.polygon([(0.1, 0.9), (0.9, 0.9), (0.5, 0.1)], WHITE), 64 * 48 / 2),
        (lambda c: c.polygon([(0.5, 0.1), (0.9, 0.9), (0.1, 0.9)], WHITE), 64 * 48 / 2),
        (lambda c: c.line([(0.2, 0.5), (0.8, 0.5)], 0.1, WHITE), 48 * 12 + np.pi * 6**2),
        (lambda c: c.line([(0.2, 0.5), (0.5, 0.5), (0.8, 0.5)], 0.1, WHITE, 0.5), (48 * 12 + np.pi * 6**2) / 2),
        (lambda c: c.disc((2.0, 2.0), 0.2, WHITE), 0.0),
        (lambda c: c.box((-1, -1), (2, 0.5), WHITE), 80 * 30),
    ],
)
def test_areas(draw: Callable[[Canvas], None], area: float) -> None:
    assert cover(draw) * 80 * 60 == pytest.approx(area, rel=0.01, abs=1e-6)


def test_the_ground_goes_from_one_colour_to_the_other() -> None:
    canvas = Canvas(4, 100, (0, 100, 200), (100, 200, 0))
    np.testing.assert_allclose(canvas.pixels[0, 0], (0.5, 100.5, 199))
    np.testing.assert_allclose(canvas.pixels[-1, 3], (99.5, 199.5, 1))
    pixels = canvas.finish(np.random.default_rng(0), gain=2.0, noise_level=0.0)
    assert pixels.dtype == np.uint8
    assert pixels[-1, 0].tolist() == [199, 255, 2]


def test_colours_keep_their_brightness() -> None:
    rng = np.random.default_rng(0)
    means = [np.mean(draw_rgb(rng, 100, 120, spread=30)) for _ in range(200)]
    assert 70 <= min(means) < max(means) <= 150
