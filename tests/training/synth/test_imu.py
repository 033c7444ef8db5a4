"""The inertial sensor's record: which axis swings is all that tells the motion."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tests.training.synth.scripts import find_script
from training.synth.imu import HEADER, draw_sensor, render_imu, render_motion
from training.synth.labels import ACTIVITIES, Activity
from training.synth.script import ClipScript


def read(script: ClipScript) -> NDArray[np.float64]:
    header, *lines = render_imu(script).splitlines()
    assert header == HEADER
    return np.array([[float(value) for value in line.split(",")] for line in lines])


def test_the_swing_is_along_the_motions_axis() -> None:
    for activity in ACTIVITIES:
        script = find_script(lambda _: True, activity, activity)
        rows = read(script)
        spread = rows[:, 1:3].std(axis=0)
        assert np.argmax(spread) == activity.motion
        assert spread.max() > 1.5 * spread.min()


def test_the_record_is_jittered_and_lies_within_its_clip() -> None:
    script = find_script(lambda _: True)
    seconds = read(script)[:, 0]
    steps = np.diff(seconds)
    assert steps.min() > 0.005
    assert 0.018 < np.median(steps) < 0.022
    assert steps.std() > 0.003
    first, last = (float(script.timeline.edges_seconds[place]) for place in (0, -1))
    assert first - 0.01 <= seconds[0] < first + 0.33
    assert last - 0.35 < seconds[-1] <= last + 0.01


def test_acceleration_is_the_second_derivative_of_what_the_video_shows() -> None:
    """Away from noise, tilt and gravity, by differences of positions in float64."""
    script = find_script(lambda _: True, Activity(1, 0, 0))
    sensor = draw_sensor(np.random.default_rng(0))
    plain = type(sensor)(
        **{**vars(sensor), "gravity": np.zeros(3), "tilt": np.eye(3), "shake_level": 0.0, "noise_level": 0.0}
    )
    segment = script.segments[0]
    start, step = float(segment.start_seconds), 1e-4
    seconds = np.linspace(start + 0.5, start + 1.5, 50)
    found = render_motion(np.random.default_rng(1), script.segments, plain, seconds)
    positions = [
        [segment.motion.position(1, time + shift - start)[1] for time in seconds] for shift in (-step, 0, step)
    ]
    expected = -0.25 * (np.array(positions[0]) - 2 * np.array(positions[1]) + np.array(positions[2])) / step**2
    np.testing.assert_allclose(found[:, 1], expected, rtol=1e-4, atol=1e-4)
    assert np.abs(found[:, [0, 2]]).max() == 0


def test_only_the_motion_changes_the_record() -> None:
    base, moved, other = (
        render_imu(find_script(lambda _: True, activity))
        for activity in (Activity(0, 0, 0), Activity(1, 0, 0), Activity(0, 1, 1))
    )
    assert base == other
    assert base != moved
