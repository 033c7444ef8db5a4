"""Frames: layout, what a pixel holds, and that the motion bit can be read from their change."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.training.synth.scripts import find_script
from training.synth.drawing import draw_frames
from training.synth.labels import Activity
from training.synth.scene import Sprite
from training.synth.script import ClipScript


def still_script(sprite: Sprite) -> ClipScript:
    """A flat grey clip without noise whose object stands in the middle and whose distractors are gone."""
    script = find_script(lambda _: True, Activity(0, 0, 0))
    gone = Sprite("disc", -1.0, (128, 128, 128))
    flat = replace(
        script.scene, colours=((60, 100, 150),) * 2, ripple_level=0, noise_level=0, sprite=sprite, still=gone, blob=gone
    )
    segment = script.segments[0]
    motion = replace(segment.motion, centre=(0.5, 0.5), amplitude=0.0)
    return replace(script, scene=flat, segments=(replace(segment, motion=motion),))


def planes(frame: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.uint8]]:
    """Luma and the two chroma planes of a frame of 160 x 120."""
    flat = frame.ravel()
    chroma = flat[160 * 120 :].reshape(2, 60, 80)
    return flat[: 160 * 120].reshape(120, 160), chroma[0], chroma[1]


@pytest.mark.parametrize(
    ("shape", "area", "middle"),
    [
        ("disc", np.pi * 12**2, 200),
        ("square", (2 * 0.85 * 12) ** 2, 200),
        ("diamond", 2 * 12**2, 200),
        ("ring", np.pi * (12**2 - (0.4 * 12) ** 2), 60),
        ("cross", 2 * (24 * 0.7 * 12) - (0.7 * 12) ** 2, 200),
    ],
)
def test_a_shape_has_its_place_colour_and_area(shape: str, area: float, middle: int) -> None:
    script = still_script(Sprite(shape, 0.1, (200, 180, 90)))  # a radius of 12 pixels
    frame = next(draw_frames(script))
    assert frame.shape == (180, 160)
    assert frame.dtype == np.uint8
    luma, cb, cr = planes(frame)
    assert luma[60, 80] == middle
    assert [plane[0, 0] for plane in (luma, cb, cr)] == [60, 100, 150]
    for plane, ground, colour, scale in ((luma, 60, 200, 1), (cb, 100, 180, 4), (cr, 150, 90, 4)):
        covered = (plane.astype(float) - ground).sum() / (colour - ground) * scale
        assert covered == pytest.approx(area, rel=0.04)
    assert (luma == luma[::-1]).all()
    assert (luma == luma[:, ::-1]).all()


def test_a_sprite_at_the_edge_is_cut() -> None:
    script = still_script(Sprite("disc", 0.1, (200, 128, 128)))
    segment = script.segments[0]
    corner = replace(segment, motion=replace(segment.motion, centre=(1.0, 0.0)))
    luma = planes(next(draw_frames(replace(script, segments=(corner,)))))[0].astype(float)
    assert (luma - 60).sum() / 140 == pytest.approx(np.pi * 12**2 / 4, rel=0.05)
    assert luma[0, 159] == 200
    outside = replace(segment, motion=replace(segment.motion, centre=(1.5, -0.5)))
    assert (planes(next(draw_frames(replace(script, segments=(outside,)))))[0] == 60).all()


def test_noise_has_its_level_and_changes() -> None:
    script = still_script(Sprite("disc", -1.0, (0, 0, 0)))
    script = replace(script, scene=replace(script.scene, noise_level=4.0))
    frames = draw_frames(script)
    one, other = (planes(next(frames))[0].astype(float) for _ in range(2))
    assert one.std() == pytest.approx(4, abs=0.2)
    assert (one - other).std() == pytest.approx(4 * np.sqrt(2), abs=0.3)


def test_the_object_is_where_its_activity_has_it_at_each_pts() -> None:
    """The last frame before the edge belongs to the first activity, the frame at the edge to the second."""
    base = still_script(Sprite("disc", 0.1, (200, 128, 128)))
    script = find_script(lambda _: True, Activity(0, 0, 0), Activity(1, 0, 0))
    script = replace(script, scene=base.scene)
    times = script.timeline.frame_seconds
    edge = times.index(script.segments[1].start_seconds)
    frames = list(draw_frames(script))
    for index, segment in ((0, 0), (edge - 1, 0), (edge, 1), (edge + 7, 1)):
        shown = script.segments[segment]
        luma = planes(frames[index])[0].astype(float) - 60
        rows, columns = np.mgrid[0:120, 0:160] + 0.5
        found = (luma * columns).sum() / luma.sum() / 160, (luma * rows).sum() / luma.sum() / 120
        want = shown.motion.position(segment, float(times[index] - shown.start_seconds))
        assert found == pytest.approx(want, abs=0.002)


@pytest.mark.parametrize("motion", [0, 1])
def test_the_motion_is_read_from_the_change(motion: int) -> None:
    """Over half a second the profile along the moving axis varies more, with all distractors and noise."""
    for hum_hz in (50, 60, 100, 120):  # four different clips
        script = find_script(partial(_hums, hum_hz), Activity(motion, 0, 1))
        times = script.timeline.frame_seconds
        frames = [frame for frame, t in zip(draw_frames(script), times, strict=True) if t < times[0] + 0.5]
        luma = np.stack([planes(frame)[0] for frame in frames]).astype(float)
        across, down = luma.mean(axis=1).var(axis=0).sum(), luma.mean(axis=2).var(axis=0).sum()
        assert (across > down) == (motion == 0)


def _hums(hum_hz: float, script: ClipScript) -> bool:
    return script.room.hum_hz == hum_hz
