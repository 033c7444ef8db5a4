"""The depth video: one grey channel, in which the nearest thing moves as the object of the video does."""

from __future__ import annotations

import io

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from tests.training.synth.scripts import find_script
from training.synth.depth import LONG_SIDE, DepthContainer, draw_camera, render_depth
from training.synth.labels import Activity
from training.synth.script import ClipScript


def decode(data: bytes) -> tuple[NDArray[np.float64], NDArray[np.uint8]]:
    with av.open(io.BytesIO(data), "r") as container:
        frames = list(container.decode(video=0))
    for frame in frames:
        if frame.format.name != "gray":  # FFmpeg decodes monochrome H.264 to planes of which the chroma is empty
            assert np.all(frame.to_ndarray(format="yuv420p")[frame.height :] == 128)
    times = np.array([frame.time for frame in frames], dtype=np.float64)
    return times, np.stack([frame.to_ndarray(format="gray") for frame in frames])


def has_container(wanted: DepthContainer) -> ClipScript:
    return find_script(lambda s: draw_camera(np.random.default_rng([*s.noise_seed, 3])).container == wanted)


@pytest.mark.parametrize("wanted", ["mp4", "mkv"])
def test_the_nearest_thing_moves_along_the_motions_axis(wanted: DepthContainer) -> None:
    script = has_container(wanted)
    data, container = render_depth(script)
    assert container == wanted
    times, frames = decode(data)
    assert frames.dtype == np.uint8
    assert max(frames.shape[1:]) == LONG_SIDE
    for segment in script.segments:
        inside = (times >= float(segment.start_seconds)) & (times < float(segment.stop_seconds))
        places = [[axis.mean() for axis in np.nonzero(frame > 0.8 * frame.max())] for frame in frames[inside]]
        down, across = np.std(places, axis=0)
        assert (down > 2 * across) if segment.activity.motion else (across > 2 * down)
    first, last = (float(script.timeline.edges_seconds[place]) for place in (0, -1))
    assert first - 0.06 <= times[0] <= first + 0.36
    assert last - 0.11 < times[-1] < last


def test_only_the_motion_changes_the_video_and_the_same_script_gives_the_same_bytes() -> None:
    base, again, moved, other = (
        render_depth(find_script(lambda _: True, activity, seconds=2.6))[0]
        for activity in (Activity(0, 0, 0), Activity(0, 0, 0), Activity(1, 0, 0), Activity(0, 1, 1))
    )
    assert base == again == other
    assert base != moved
