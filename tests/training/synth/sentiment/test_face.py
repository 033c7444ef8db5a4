"""The curve of the mouth tells, in any frame; the rest of the face does not depend on it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from training.synth.sentiment.face import Face, draw_face, draw_face_frames

SIZE = (136, 136)


def frame(face: Face, seconds: float) -> NDArray[np.float64]:
    (picture,) = draw_face_frames(np.random.default_rng(0), face, SIZE, [seconds])
    return picture.astype(np.float64)


def test_a_view_changes_brows_and_mouth_only() -> None:
    for seed in range(6):
        face = replace(draw_face(np.random.default_rng(seed), 1), noise_level=0.0, sway_level=0.0, blink_seconds=9.0)
        neutral = frame(face, 1.0)
        for view in (0, 2):
            rows, columns, _ = np.nonzero(frame(replace(face, view=view), 1.0) != neutral)
            brows = rows < 0.45 * SIZE[1]
            assert brows.any()
            assert not brows.all()
            assert rows.min() > 0.15 * SIZE[1]
            assert rows.max() < 0.85 * SIZE[1]
            assert columns.min() > 0.15 * SIZE[0]
            assert columns.max() < 0.85 * SIZE[0]
            assert rows[~brows].min() > 0.5 * SIZE[1]


def test_the_corners_of_the_mouth_rise_with_the_mood() -> None:
    """Rows of the lips' centre of change against a face without lips."""
    for seed in range(6):
        face = replace(draw_face(np.random.default_rng(seed), 1), noise_level=0.0, sway_level=0.0, mouth_bias=0.0)
        bare = frame(replace(face, lips=face.skin, talk_level=0.0), 0.9)
        heights = []
        for view in range(3):
            change = np.abs(frame(replace(face, view=view, talk_level=0.0), 0.9) - bare).sum(axis=2)
            corners = change[70:, :].copy()
            corners[:, 58:78] = 0
            heights.append(float((corners.sum(axis=1) @ np.arange(len(corners))) / corners.sum()))
        assert heights[0] > heights[1] > heights[2]


def test_the_same_draws_whatever_the_view() -> None:
    one, other = (draw_face(np.random.default_rng(5), view) for view in (0, 2))
    assert replace(one, view=2) == other


def test_an_expression_grows() -> None:
    face = replace(draw_face(np.random.default_rng(3), 2), noise_level=0.0, sway_level=0.0, talk_level=0.0)
    neutral = replace(face, view=1)
    early, late = (np.abs(frame(face, seconds) - frame(neutral, seconds)).sum() for seconds in (0.0, 1.0))
    assert late > 1.3 * early > 0
