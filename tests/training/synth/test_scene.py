"""The motion is in the change alone: where the object is in one frame tells nothing."""

from __future__ import annotations

import numpy as np
import pytest

from training.synth.scene import draw_motion, draw_scene


def test_an_object_swings_along_its_axis_only() -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        motion = draw_motion(rng)
        times = np.linspace(0, 1 / motion.frequency_hz, 400)
        for axis in (0, 1):
            path = np.array([motion.position(axis, seconds) for seconds in times])
            assert np.ptp(path[:, axis]) == pytest.approx(2 * motion.amplitude, rel=1e-3)
            assert np.ptp(path[:, 1 - axis]) == 0
            assert path.min() > 0.13
            assert path.max() < 0.87
        assert 1.2 <= motion.frequency_hz <= 2.0
        assert 0.2 <= motion.amplitude <= 0.3


def test_one_frame_does_not_tell_the_axis() -> None:
    """Positions of the two motions at one moment have the same quantiles on both axes."""
    rng = np.random.default_rng(1)
    motions = [draw_motion(rng) for _ in range(6000)]
    quantiles = [
        np.quantile([motion.position(axis, 1.3)[side] for motion in motions], (0.05, 0.25, 0.5, 0.75, 0.95))
        for axis in (0, 1)
        for side in (0, 1)
    ]
    assert np.ptp(quantiles, axis=0).max() < 0.025  # the standard deviation of a quantile here is about 0.004


def test_the_drifting_distractor_stays_and_drifts_every_way() -> None:
    rng = np.random.default_rng(2)
    scenes = [draw_scene(rng) for _ in range(400)]
    for scene in scenes[:50]:
        path = np.array([scene.blob_position(seconds) for seconds in np.linspace(0, 33, 100)])
        assert path.min() >= 0
        assert path.max() <= 1
        assert np.abs(np.diff(path, axis=0)).max() < 0.08 * 0.34
    velocities = np.array([scene.blob_velocity for scene in scenes])
    assert np.hypot(*velocities.T).min() >= 0.02
    assert np.abs(np.mean(np.sign(velocities), axis=0)).max() < 0.15
    horizontal = np.mean(np.abs(velocities[:, 0]) > np.abs(velocities[:, 1]))
    assert horizontal == pytest.approx(0.5, abs=0.08)


def test_the_object_stands_out_more_than_its_distractors() -> None:
    rng = np.random.default_rng(3)
    for scene in (draw_scene(rng) for _ in range(100)):
        ground = np.mean([colour[0] for colour in scene.colours])
        contrast = abs(scene.sprite.colour[0] - ground)
        assert contrast > 60
        assert contrast > abs(scene.blob.colour[0] - ground)
