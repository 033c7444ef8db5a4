"""What the frames look like: colours, the whole picture, the right way up."""

from __future__ import annotations

import gc
import io

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from handler.container import open_container
from handler.limits import Limits
from handler.video import decode_frames
from tests.media import (
    X264,
    Picture,
    frame_level,
    nearest_place,
    render,
    with_display_matrix,
)

LIMITS = Limits()
SIZE = 24


def test_planes_are_red_green_blue_in_full_range() -> None:
    colours = {"red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255), "white": (255,) * 3, "black": (0,) * 3}
    for pix_fmt, tolerance in (("yuv444p", 3), ("bgr0", 0), ("yuv420p", 3)):
        for colour in colours.values():
            images = flat_clip(colour, pix_fmt)
            assert np.abs(images[0].mean(axis=(1, 2)) - colour).max() <= tolerance


def flat_clip(colour: tuple[int, ...], pix_fmt: str) -> NDArray[np.uint8]:
    """A clip of one colour, coded without loss and decoded again."""
    file = io.BytesIO()
    with av.open(file, "w", format="matroska") as output:
        stream = output.add_stream("ffv1", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, pix_fmt
        image = np.broadcast_to(np.array(colour, dtype=np.uint8), (48, 64, 3))
        output.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")))
        output.mux(stream.encode(None))
    with open_container(file.getvalue(), LIMITS) as container:
        return decode_frames(container, np.zeros(1), SIZE, LIMITS)


def test_the_whole_picture_is_squashed() -> None:
    with open_container(render("matroska", Picture(codec="rawvideo", width=96, num_frames=1)), LIMITS) as container:
        image = decode_frames(container, np.zeros(1), 48, LIMITS)[0]
    ground = frame_level(0)
    red = image[0] > ground + 60
    rows, columns = np.flatnonzero(red.any(axis=1)), np.flatnonzero(red.any(axis=0))
    assert (rows[0], rows[-1]) == (24, 31)  # 8 pixels from the middle down
    assert (columns[0], columns[-1]) == (0, 3)  # 8 of 96 pixels become 4 of 48


CORNERS = {
    "upright": ((1, 0, 0, 1), "left"),
    "90 degrees clockwise": ((0, 1, -1, 0), "top"),
    "180 degrees": ((-1, 0, 0, -1), "right"),
    "90 degrees counterclockwise": ((0, -1, 1, 0), "bottom"),
    "mirrored": ((-1, 0, 0, 1), "right"),
    "upside down": ((1, 0, 0, -1), "left"),
    "transposed": ((0, 1, 1, 0), "top"),
}


@pytest.mark.parametrize("name", CORNERS)
def test_rotated_and_mirrored_pictures_come_out_upright(name: str) -> None:
    matrix, side = CORNERS[name]
    data = with_display_matrix(render("mp4", Picture(options=X264, num_frames=1)), matrix)
    with open_container(data, LIMITS) as container:
        image = decode_frames(container, np.zeros(1), SIZE, LIMITS)[0]
    red = image[0].astype(int) - image[1] > 60  # the square: at the left, a sixth high from the middle down
    row, column = (np.flatnonzero(red.any(axis=axis)).mean() / (SIZE - 1) for axis in (1, 0))
    place = {"left": column, "right": 1 - column, "top": row, "bottom": 1 - row}[side]
    assert place < 0.15
    across = row if side in {"left", "right"} else column
    below = across if name in {"upright", "mirrored", "90 degrees counterclockwise", "transposed"} else 1 - across
    assert 0.5 < below < 0.7


def test_a_picture_turned_by_45_degrees_is_left_or_turned_but_whole() -> None:
    data = with_display_matrix(render("mp4", Picture(options=X264, num_frames=1)), (1, 1, -1, 1))
    with open_container(data, LIMITS) as container:
        assert nearest_place(decode_frames(container, np.zeros(1), SIZE, LIMITS)[0]) == 0


def test_one_decode_thread() -> None:
    with open_container(render("mp4", Picture(options=X264)), LIMITS) as container:
        decode_frames(container, np.zeros(1), SIZE, LIMITS)
        assert container.video is not None
        assert container.video.handle.codec_context.thread_count == 1


def test_no_frame_waits_for_the_garbage_collector() -> None:
    data = with_display_matrix(render("mp4", Picture(options=X264)), (0, 1, -1, 0))
    with open_container(data, LIMITS) as container:
        gc.collect()
        gc.disable()
        gc.set_debug(gc.DEBUG_SAVEALL)
        try:
            decode_frames(container, np.arange(4) / 4, SIZE, LIMITS)
            gc.collect()
            assert not [each for each in gc.garbage if isinstance(each, av.VideoFrame)]
        finally:
            gc.set_debug(0)
            gc.garbage.clear()
            gc.enable()
