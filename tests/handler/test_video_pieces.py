"""Frames in pieces: the pixels of the whole, each packet decoded once and each frame converted once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator
from typing import Any

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from handler import video
from handler.container import VideoStream, open_container
from handler.errors import LimitExceeded, UndecodableMedia
from handler.limits import Limits
from handler.picture import Converter
from handler.recordings.frame_pieces import FramePieces
from handler.video import decode_frame_pieces, decode_frames
from tests.handler.test_video import LIMITS, PLANNED, SEQUENTIAL, SIZE, decoded_places
from tests.media import X264, X264_B_FRAMES, Picture, render

Times = NDArray[np.float64]


def cut(times: Times, size: int) -> list[Times]:
    return np.split(times, range(size, len(times), size))


def whole(data: bytes, times: Times) -> NDArray[np.uint8]:
    with open_container(data, LIMITS) as container:
        return decode_frames(container, times, SIZE, LIMITS)


def in_pieces(data: bytes, times: Times, size: int) -> NDArray[np.uint8]:
    with open_container(data, LIMITS) as container:
        pieces = list(decode_frame_pieces(container, cut(times, size), SIZE, LIMITS))
    assert [len(piece) for piece in pieces] == [len(part) for part in cut(times, size)]
    return np.concatenate(pieces)


def start_of(data: bytes) -> float:
    with open_container(data, LIMITS) as container:
        assert container.video is not None
        return container.video.span.start_seconds


@pytest.mark.parametrize("name", [*PLANNED, *SEQUENTIAL])
def test_pieces_are_the_whole(name: str) -> None:
    data = render(*(PLANNED | SEQUENTIAL)[name])
    start = start_of(data)
    dense, sparse = np.arange(-0.1, 1.8, 0.03), np.arange(0.1, 3.0, 0.21)  # repeats, and frames left out
    for times, size in ((dense, 1), (dense, 7), (sparse, 2), (sparse, 100)):
        assert np.array_equal(in_pieces(data, start + times, size), whole(data, start + times))


class Counts:
    """How often each packet is decoded and each frame converted."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.decoded: Counter[int] = Counter()
        self.converted: Counter[int | None] = Counter()
        ready_context: Any = video._ready_context
        convert = Converter.convert
        counts = self

        class Context:
            skip_frame = "DEFAULT"

            def __init__(self, stream: VideoStream, limits: Limits) -> None:
                self._context = ready_context(stream, limits)
                self.width, self.height = self._context.width, self._context.height

            def decode(self, packet: Any) -> Any:
                self._context.skip_frame = self.skip_frame
                if packet is not None:
                    counts.decoded[id(packet)] += 1
                return self._context.decode(packet)

        def count(self: Converter, frame: av.VideoFrame) -> NDArray[np.uint8]:
            counts.converted[frame.pts] += 1
            return convert(self, frame)

        monkeypatch.setattr(video, "_ready_context", Context)
        monkeypatch.setattr(Converter, "convert", count)


def test_one_long_group_of_pictures_is_decoded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    data = render("mp4", Picture(num_frames=120, options=X264_B_FRAMES))
    counts = Counts(monkeypatch)
    images = in_pieces(data, np.arange(0.1, 4.0, 0.25), 2)
    assert set(counts.decoded.values()) == {1}
    assert set(counts.converted.values()) == {1}
    assert len(counts.converted) == len(images)
    assert len(counts.decoded) <= 100  # the last wanted frame is number 96


def test_a_frame_that_several_pieces_want_is_converted_once(monkeypatch: pytest.MonkeyPatch) -> None:
    data = render("matroska", Picture(codec="ffv1", num_frames=3, pts_ms=(0, 1_000, 2_000)))
    counts = Counts(monkeypatch)
    images = in_pieces(data, np.arange(0.0, 6.0, 0.25), 3)
    assert decoded_places(images) == [0] * 4 + [1] * 4 + [2] * 16
    assert list(counts.converted.values()) == [1, 1, 1]


def test_a_piece_comes_before_the_next_one_is_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    data = render("mp4", Picture(num_frames=40, options=(*X264, ("g", "250"))))
    counts = Counts(monkeypatch)
    with open_container(data, LIMITS) as container:
        pieces = decode_frame_pieces(container, cut(np.arange(40) / 25, 8), SIZE, LIMITS)
        next(pieces)
        assert len(counts.decoded) <= 8 + 2
        assert len(counts.converted) <= 8 + 1


def damaged(place: int) -> bytes:
    """A file with groups of ten pictures, one packet of which is empty."""
    data = bytearray(render("mp4", Picture(options=(*X264, ("g", "10")))))
    with open_container(bytes(data), LIMITS) as container:
        assert container.video is not None
        broken = container.video.packets.items[place]
        assert broken.pos is not None
        data[broken.pos + 8 : broken.pos + broken.size] = bytes(broken.size - 8)
    return bytes(data)


@pytest.mark.parametrize("place", [0, 20, 23, 39])
@pytest.mark.parametrize("size", [3, 5, 39])
def test_the_sequential_way_takes_over_where_the_plan_fails(
    place: int, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, times = damaged(place), np.arange(40) / 25
    expected = whole(data, times)
    counts = Counts(monkeypatch)
    images = in_pieces(data, times, size)
    # without its key frame the decoder patches the last frame of a group up with what its memory happens to hold
    invented = [29] if place == 20 else []
    assert np.array_equal(np.delete(images, invented, axis=0), np.delete(expected, invented, axis=0))
    assert decoded_places(images) == decoded_places(expected)
    assert max(counts.decoded.values()) <= 3
    assert sum(counts.converted.values()) <= 40 + 2 * size  # those of the piece in which the plan failed


def test_a_long_file_without_true_times_is_decoded_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    data = render(*SEQUENTIAL["missing pts"])
    times = start_of(data) + np.arange(0.0, 1.6, 0.1)
    counts = Counts(monkeypatch)
    in_pieces(data, times, 4)
    assert max(counts.decoded.values()) <= 2
    assert sum(counts.converted.values()) == len(times)


def test_frames_with_the_same_time_are_the_last_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    data = render("matroska", Picture(codec="ffv1", num_frames=40))
    decode_all = video.decode_all

    def restarting(stream: VideoStream, limits: Limits) -> Any:
        for frame, ticks in decode_all(stream, limits):
            yield frame, ticks % 800  # what comes after 0.8 s has the times of what came before

    def no_plan(*_: Any) -> Generator[NDArray[np.uint8], None, int]:
        yield from ()
        return 0

    monkeypatch.setattr(video, "decode_all", restarting)
    monkeypatch.setattr(video, "_decode_planned", no_plan)
    times = np.arange(4) / 25
    assert decoded_places(whole(data, times)) == [20, 21, 22, 23]
    assert decoded_places(in_pieces(data, times, 2)) == [20, 21, 22, 23]


def test_frames_far_out_of_order_are_refused_before_they_fill_the_memory() -> None:
    keys = [np.arange(4 * piece, 4 * piece + 4) for piece in range(40)]
    frames = FramePieces(keys, Converter(SIZE))
    frame = av.VideoFrame(16, 16, "rgb24")
    for key in (*range(1, 68), 68, 999):  # the first of all does not come
        if key == 68:
            with pytest.raises(UndecodableMedia, match="the picture's frames come far from the order of their times"):
                frames.take(frame, key)
        else:
            frames.take(frame, key)
    assert not list(frames.completed())


def test_a_frame_that_is_too_large_ends_the_recording_in_its_midst() -> None:
    later = Picture(options=X264, num_frames=10, width=320, height=240, pts_ms=tuple(range(400, 800, 40)))
    data = render("mpegts", Picture(options=X264, num_frames=10)) + render("mpegts", later)
    limits = Limits(max_frame_pixels=320 * 240 - 1)
    with open_container(data, limits) as container:
        assert container.video is not None
        times = cut(container.video.span.start_seconds + np.arange(20) / 25, 4)
        pieces = decode_frame_pieces(container, times, SIZE, limits)
        assert decoded_places(next(pieces)) == [0, 1, 2, 3]
        with pytest.raises(LimitExceeded, match="a frame has 320 x 240 pixels"):
            list(pieces)
