"""The frames shown at given times: the planned way against the sequential one, and both against what was drawn."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from handler import video
from handler.container import VideoStream, open_container
from handler.errors import ActivityError, LimitExceeded, UndecodableMedia, UnsupportedMedia
from handler.limits import Limits
from handler.packets import Packets
from handler.picture import Converter, FrameCount
from handler.video import decode_frames
from handler.windows import Span
from tests.media import (
    X264,
    X264_B_FRAMES,
    X265,
    Picture,
    Sound,
    gif,
    nearest_place,
    overwrite,
    real_media,
    render,
)

LIMITS = Limits()
SIZE = 24
REALTIME = (("deadline", "realtime"), ("speed", "8"))
OPEN_GOP = (*X264, ("g", "8"), ("x264-params", "open-gop=1:bframes=3"))
HEVC_OPEN_GOP = (
    ("preset", "ultrafast"),
    ("x265-params", "log-level=none:pools=1:frame-threads=1:bframes=3:keyint=8:min-keyint=8:open-gop=1:scenecut=0"),
)
ALT_REF = (("g", "16"), ("lag-in-frames", "10"), ("auto-alt-ref", "1"), ("deadline", "good"), ("speed", "8"))
GOP = (("g", "12"), ("b", "2000000"))
GOP_B_FRAMES = (*GOP, ("bf", "2"))

PLANNED = {
    "h264 long gop": ("mp4", Picture(options=X264_B_FRAMES)),
    "h264 short gop": ("matroska", Picture(options=(*X264, ("bf", "2"), ("g", "8")))),
    "h264 pyramid": ("flv", Picture(options=(*X264, ("bf", "3"), ("g", "20"), ("b-pyramid", "normal")))),
    "h264 open gop": ("mp4", Picture(options=OPEN_GOP)),
    "h264 open gop, later start": ("mpegts", Picture(options=OPEN_GOP)),
    "h264 avi": ("avi", Picture(options=(*X264, ("g", "12")))),
    "h264 10 bit": ("mp4", Picture(pix_fmt="yuv420p10le", options=X264_B_FRAMES)),
    "h264 gray": ("mp4", Picture(pix_fmt="gray", options=X264_B_FRAMES)),
    "h264 odd size": ("mp4", Picture(width=65, height=49, pix_fmt="yuv444p", options=X264_B_FRAMES)),
    "h264 rgb": ("matroska", Picture(codec="libx264rgb", pix_fmt="rgb24", options=X264_B_FRAMES)),
    "hevc": ("mp4", Picture(codec="libx265", options=X265)),
    "hevc open gop": ("mp4", Picture(codec="libx265", options=HEVC_OPEN_GOP)),
    "vp8": ("webm", Picture(codec="libvpx", options=ALT_REF)),
    "vp9": ("webm", Picture(codec="libvpx-vp9", options=ALT_REF)),
    "vp9 odd size": ("webm", Picture(codec="libvpx-vp9", width=65, height=49, options=REALTIME)),
    "vp9 alpha": ("webm", Picture(codec="libvpx-vp9", pix_fmt="yuva420p", options=REALTIME)),
    "av1": ("mp4", Picture(codec="libsvtav1", options=(("preset", "11"), ("g", "16")))),
    "mpeg-4": ("mp4", Picture(codec="mpeg4", options=GOP_B_FRAMES)),
    "mpeg-4 avi": ("avi", Picture(codec="mpeg4", options=GOP)),
    "mpeg-2": ("mpegts", Picture(codec="mpeg2video", options=GOP_B_FRAMES)),
    "mjpeg": ("avi", Picture(codec="mjpeg", pix_fmt="yuvj420p")),
    "prores": ("mov", Picture(codec="prores", pix_fmt="yuv422p10le")),
    "ffv1": ("matroska", Picture(codec="ffv1", options=(("g", "8"),))),
    "ffv1 16 bit gray": ("matroska", Picture(codec="ffv1", pix_fmt="gray16le")),
    "ffv1 alpha": ("matroska", Picture(codec="ffv1", pix_fmt="yuva420p")),
    "raw": ("matroska", Picture(codec="rawvideo")),
    "gif": ("gif", Picture(codec="gif", pix_fmt="rgb8")),
    "flv": ("flv", Picture(codec="flv", options=GOP)),
    "h263": ("3gp", Picture(codec="h263", width=128, height=96, options=GOP)),
    "wmv2": ("asf", Picture(codec="wmv2", options=GOP)),
}
"""What the planned way decodes by itself."""

SEQUENTIAL = {
    "guessed order": ("avi", Picture(codec="mpeg4", options=GOP_B_FRAMES)),
    "guessed order, h264": ("avi", Picture(options=X264_B_FRAMES)),
    "missing pts": ("mpeg", Picture(codec="mpeg1video", options=(("bf", "2"), ("g", "12")))),
}
"""What only the sequential way decodes, since pts do not tell which frame is which."""

INEXACT_GREY = {"h264 gray", "gif", "mpeg-2", "wmv2"}
"""Encoders that are off by more than half a step of the grey, be it by range, palette or quantizer."""


def stream_of(data: bytes) -> VideoStream:
    stream = open_container(data, LIMITS).video
    assert stream is not None
    return stream


def expected_places(picture: Picture, times: NDArray[np.float64]) -> list[int]:
    places = np.searchsorted(picture.times_seconds, times + 1e-6, side="right") - 1
    return [max(0, int(place)) for place in places]


def decoded_places(images: NDArray[np.uint8]) -> list[int]:
    return [nearest_place(image) for image in images]


def planned(stream: VideoStream, times: NDArray[np.float64]) -> NDArray[np.uint8] | None:
    """The planned way alone; None where it does not give every frame."""
    return next(video._decode_planned(stream, [times], Converter(SIZE), LIMITS), None)


def sequential(stream: VideoStream, times: NDArray[np.float64], size: int = SIZE) -> NDArray[np.uint8]:
    """The sequential way alone."""
    return video._decode_at_once(stream, times, Converter(size), LIMITS)


def samplings(picture: Picture, start_seconds: float) -> list[NDArray[np.float64]]:
    """Times to ask for: all frames, a few, one alone, each GOP's edge, twice the same, and beyond both ends."""
    shown = picture.times_seconds
    times = [shown, shown[3::7] + 0.02, shown[17:18], shown[[7, 8, 9, 15, 16]], shown[[30, 4, 4]]]
    return [chosen + start_seconds for chosen in [*times, np.array([-3.0, 99.0])]]


@pytest.mark.parametrize("name", PLANNED)
def test_the_planned_way_gives_the_same_bits(name: str) -> None:
    container, picture = PLANNED[name]
    stream = stream_of(render(container, picture))
    start = stream.span.start_seconds
    for times in samplings(picture, start):
        by_plan, reference = planned(stream, times), sequential(stream, times)
        assert by_plan is not None
        assert np.array_equal(by_plan, reference)
        if name not in INEXACT_GREY:
            assert decoded_places(reference) == expected_places(picture, times - start)


@pytest.mark.parametrize("name", SEQUENTIAL)
def test_doubtful_timestamps_are_decoded_sequentially(name: str) -> None:
    container, picture = SEQUENTIAL[name]
    data = render(container, picture)
    stream = stream_of(data)
    times = stream.span.start_seconds + picture.times_seconds[:36]
    assert planned(stream, times) is None
    with open_container(data, LIMITS) as opened:
        images = decode_frames(opened, times, SIZE, LIMITS)
    places = decoded_places(images)
    assert places == sorted(places)
    assert places[-1] - places[0] >= 30


def test_a_variable_rate_and_a_later_start() -> None:
    pts = (5_000, 5_010, 5_500, 5_520, 5_530, 7_000, 7_001, 7_900)
    picture = Picture(codec="ffv1", num_frames=8, pts_ms=pts)
    times = np.array([[0.0, 5.0, 5.009], [5.01, 5.4, 5.499], [5.5, 6.99, 7.0], [7.0011, 7.5, 60.0]])
    with open_container(render("matroska", picture), LIMITS) as container:
        images = decode_frames(container, times, SIZE, LIMITS)
    assert images.shape == (4, 3, 3, SIZE, SIZE)
    assert images.dtype == np.uint8
    assert decoded_places(images.reshape(-1, 3, SIZE, SIZE)) == [0, 0, 0, 1, 1, 1, 2, 4, 5, 6, 6, 7]


def test_a_time_that_is_the_rounded_pts_shows_that_frame() -> None:
    picture = Picture(options=X264, rate=30, num_frames=30)
    times = np.arange(30) / 30 - 1e-9
    with open_container(render("mp4", picture), LIMITS) as container:
        images = decode_frames(container, times, SIZE, LIMITS)
    assert decoded_places(images) == list(range(30))


def test_what_an_edit_list_cuts_is_never_shown() -> None:
    data = render("mp4", Picture(options=X264_B_FRAMES))
    media_time = int.from_bytes(data[data.index(b"elst") + 16 :][:4], "big")
    data = overwrite(data, b"elst", 12, (media_time + 10 * 512).to_bytes(4, "big"))  # begin with frame 10
    stream = stream_of(data)
    times = np.array([-1.0, 0.0, 0.041, 0.4])
    by_plan = planned(stream, times)
    assert by_plan is not None
    assert decoded_places(by_plan) == [10, 10, 11, 20]
    assert np.array_equal(by_plan, sequential(stream, times))


@pytest.mark.parametrize("name", ["h264 long gop", "vp8", "mpeg-4 avi", "h263"])
def test_key_frames_that_are_none_are_found_out(name: str) -> None:
    container, picture = PLANNED[name]
    stream = stream_of(render(container, picture))
    lying = replace(stream, packets=replace(stream.packets, is_key=np.ones(40, dtype=np.bool_)))
    times = np.array([0.5, 1.0, 1.3])
    assert planned(lying, times) is None
    assert decoded_places(sequential(lying, times)) == [12, 25, 32]


def test_frames_that_come_out_in_another_order_than_their_pts_are_found_out() -> None:
    container, picture = SEQUENTIAL["guessed order, h264"]
    stream = stream_of(render(container, picture))
    trusting = replace(stream, packets=replace(stream.packets, is_exact=True))
    times = stream.span.start_seconds + picture.times_seconds
    run, is_wanted = video._Run(0, 40), np.ones(40, dtype=np.bool_)
    with pytest.raises(video._Missing):
        list(
            video._decode_run(
                trusting, run, trusting.packets.read(), is_wanted, lambda _: True, FrameCount(LIMITS), LIMITS
            )
        )
    assert planned(trusting, times) is None


def test_a_wanted_frame_that_is_damaged_is_found_out() -> None:
    data = bytearray(render("mp4", Picture(options=(*X264, ("g", "10")), width=320, height=240)))
    item = stream_of(bytes(data)).packets.items[20]
    assert item.pos is not None
    data[item.pos + item.size // 2 : item.pos + item.size] = bytes(item.size - item.size // 2)
    stream = stream_of(bytes(data))
    frames = stream.handle.codec_context.decode(stream.packets.items[20]) + stream.handle.codec_context.decode(None)
    assert [frame.is_corrupt for frame in frames] == [True]  # it comes out, patched up
    assert planned(stream, np.array([0.8])) is None
    assert planned(stream, np.array([0.7])) is not None


@pytest.mark.parametrize(
    ("name", "optional"),
    [("h264 long gop", "all but the first and the wanted"), ("av1", "none")],
)
def test_frames_are_skipped_only_where_nothing_wants_them(
    name: str, optional: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    modes: list[str] = []

    class Recorder:
        """A decoder that notes how each packet is to be decoded."""

        def __init__(self, stream: VideoStream, limits: Limits) -> None:
            self._context = ready_context(stream, limits)

        skip_frame = "DEFAULT"

        def decode(self, packet: object) -> list[object]:
            modes.append(self.skip_frame)
            return list(self._context.decode(packet))

    ready_context: Any = video._ready_context
    monkeypatch.setattr(video, "_ready_context", Recorder)
    container, picture = PLANNED[name]
    stream = stream_of(render(container, picture))
    is_wanted = np.isin(np.arange(40), [4, 9])
    run, count = video._Run(0, 12), FrameCount(LIMITS)
    list(video._decode_run(stream, run, stream.packets.read(), is_wanted, lambda _: False, count, LIMITS))
    skipped = set() if optional == "none" else set(range(12)) - {0, 4, 9}
    assert modes == ["NONREF" if place in skipped else "DEFAULT" for place in range(12)] + ["DEFAULT"]


@pytest.mark.parametrize(
    ("stamps", "ticks"),
    [
        pytest.param([(0, 0), (2, 1), (4, 2)], [0, 2, 4], id="pts where both rise"),
        pytest.param([(1, 0), (3, 1), (2, 2), (5, 3)], [1, 3, 2, 3], id="dts from where pts went backwards"),
        pytest.param([(1, 5), (2, 4), (3, 3)], [1, 2, 3], id="pts where dts go backwards"),
        pytest.param([(None, 7), (None, 9)], [7, 9], id="dts where there are no pts"),
        pytest.param([(3, None), (None, None), (9, None), (None, None)], [3, 5, 9, 11], id="the nominal rate"),
        pytest.param([(None, None), (None, None)], [100, 102], id="from the first packet on"),
    ],
)
def test_the_clock(stamps: list[tuple[int | None, int | None]], ticks: list[int]) -> None:
    clock = video._Clock(first=100, nominal_ticks=2)
    frames = []
    for pts, dts in stamps:
        frame = av.VideoFrame(16, 16)
        frame.pts, frame.dts = pts, dts
        frames.append(frame)
    assert [clock.read(frame) for frame in frames] == ticks


def test_a_damaged_stream_falls_back_and_holds_frames() -> None:
    data = bytearray(render("mp4", Picture(options=(*X264, ("g", "10")))))
    with open_container(bytes(data), LIMITS) as container:
        assert container.video is not None
        broken = container.video.packets.items[20]
        assert broken.pos is not None
        data[broken.pos + 8 : broken.pos + broken.size] = bytes(broken.size - 8)
    with open_container(bytes(data), LIMITS) as container:
        assert container.video is not None
        times = np.array([0.0, 0.6, 0.84, 1.3])
        images = decode_frames(container, times, SIZE, LIMITS)
        assert np.array_equal(images, sequential(container.video, times))
    assert decoded_places(images)[:2] == [0, 15]
    assert decoded_places(images)[3] == 32


def test_only_wanted_frames_are_converted(monkeypatch: pytest.MonkeyPatch) -> None:
    converted: list[int | None] = []
    convert = Converter.convert

    def count(self: Converter, frame: av.VideoFrame) -> NDArray[np.uint8]:
        converted.append(frame.pts)
        return convert(self, frame)

    monkeypatch.setattr(Converter, "convert", count)
    stream = stream_of(render("mp4", Picture(options=X264_B_FRAMES)))
    times = np.array([0.2, 0.21, 1.0])
    for way in (planned, sequential):
        converted.clear()
        way(stream, times)
        assert converted == [5 * 512, 25 * 512]


def index(pts: list[int], keys: list[int], hidden: tuple[int, ...] = ()) -> Packets:
    places = np.arange(len(pts))
    return Packets(
        items=(),
        pts=np.array(pts),
        is_key=np.isin(places, keys),
        is_shown=~np.isin(places, hidden),
        is_exact=True,
        nominal_ticks=1,
        time_base=Fraction(1, 10),
        span=Span(0.0, len(pts) / 10),
    )


@pytest.mark.parametrize(
    ("pts", "keys", "wanted", "runs"),
    [
        pytest.param(range(12), [0, 4, 8], [5], [(4, 6)], id="from the key frame to the wanted one"),
        pytest.param(range(12), [0, 4, 8], [1, 9], [(0, 2), (8, 10)], id="groups without a wanted frame are left out"),
        pytest.param(range(12), [0, 4, 8], [4, 6], [(4, 7)], id="one run for one group"),
        pytest.param(range(12), [3, 8], [1], [(0, 2)], id="what lies before the first key frame"),
        pytest.param(range(12), [], [7], [(0, 8)], id="no key frame at all"),
        pytest.param([0, 2, 1, 6, 4, 3, 5, 8, 7], [0, 3], [4], [(0, 5)], id="open: shown before its key frame"),
        pytest.param([0, 2, 1, 6, 4, 3, 5, 8, 7], [0, 3], [7], [(3, 8)], id="open: shown after its key frame"),
        pytest.param([2, 1, 4, 3], [0], [1], [(0, 2)], id="open at the very beginning"),
        pytest.param([0, 2, 1, 6, 4, 3, 5, 8, 7], [0, 3], [1, 4, 7], [(0, 8)], id="runs that meet are one"),
        pytest.param(
            [0, 2, 1, 6, 4, 3, 5, 8, 7], [0, 3], [1, 3, 4], [(0, 5)], id="open: nothing is fed twice, or backwards"
        ),
    ],
)
def test_runs(pts: list[int], keys: list[int], wanted: list[int], runs: list[tuple[int, int]]) -> None:
    packets = index(list(pts), keys)
    planned = video._plan_runs(packets, np.isin(np.arange(len(pts)), wanted))
    assert [(run.start, run.stop) for run in planned] == runs


def test_frames_that_outgrow_the_limit_in_mid_stream() -> None:
    later = Picture(options=X264, num_frames=10, width=320, height=240, pts_ms=tuple(range(400, 800, 40)))
    data = render("mpegts", Picture(options=X264, num_frames=10)) + render("mpegts", later)
    times = np.linspace(0.0, 0.8, 9)
    with open_container(data, LIMITS) as container:
        assert decode_frames(container, times, SIZE, LIMITS).shape == (9, 3, SIZE, SIZE)
    for max_frame_pixels in (64 * 48, 320 * 240 - 1):  # beyond four times the limit FFmpeg refuses, below we do
        limits = Limits(max_frame_pixels=max_frame_pixels)
        with (
            open_container(data, limits) as container,
            pytest.raises(LimitExceeded, match=f"a frame has 320 x 240 pixels, the limit is {max_frame_pixels} in all"),
        ):
            decode_frames(container, times, SIZE, limits)


@pytest.mark.parametrize("name", ["h264 long gop", "vp9", "mpeg-4", "mjpeg", "gif", "av1"])
def test_frames_that_are_declared_too_large(name: str) -> None:
    limits = Limits(max_frame_pixels=64 * 48 - 1)
    with (
        open_container(render(*PLANNED[name]), limits) as container,
        pytest.raises(LimitExceeded, match="a frame has 64 x 48 pixels, the limit is 3071 in all"),
    ):
        decode_frames(container, np.zeros(1), SIZE, limits)


@pytest.mark.parametrize(
    "data",
    [
        gif(16_000, 16_000, 3),
        render("avi", Picture("mjpeg", 64, 48, 3, pix_fmt="yuvj420p")),
        render("matroska", Picture("ffv1", 64, 48, 3)),
        render("mpegts", Picture("mpeg2video", 64, 48, 10)),
    ],
    ids=["gif", "mjpeg", "ffv1", "mpeg2"],
)
def test_frames_that_are_far_beyond_the_limit_are_said_with_their_size(data: bytes) -> None:
    limits = Limits(max_frame_pixels=64)  # the decoder, which is told 256, forgets the size
    with (
        open_container(data, limits) as container,
        pytest.raises(LimitExceeded, match=r"a frame has \d+ x \d+ pixels, the limit is 64 in all"),
    ):
        decode_frames(container, np.zeros(1), SIZE, limits)


def test_a_codec_that_is_not_allowed() -> None:
    with (
        open_container(render("mov", Picture(codec="png", pix_fmt="rgb24")), LIMITS) as container,
        pytest.raises(UnsupportedMedia, match="the picture's codec png is not one of those allowed: av1, dnxhd"),
    ):
        decode_frames(container, np.zeros(1), SIZE, LIMITS)


def test_a_file_without_picture() -> None:
    with (
        open_container(render("wav", Sound(codec="pcm_s16le")), LIMITS) as container,
        pytest.raises(UnsupportedMedia, match="the file has no picture"),
    ):
        decode_frames(container, np.zeros(1), SIZE, LIMITS)


def test_a_picture_of_which_nothing_decodes() -> None:
    data = render("mp4", Picture(options=X264, num_frames=3))
    start = data.index(b"mdat") + 4
    stop = data.index(b"moov") - 4
    data = data[:start] + bytes(stop - start) + data[stop:]
    with (
        open_container(data, LIMITS) as container,
        pytest.raises(UndecodableMedia, match="came out of the 3 packets of codec h264"),
    ):
        decode_frames(container, np.zeros(1), SIZE, LIMITS)


@pytest.mark.skipif(not real_media(), reason="no shared media folder")
def test_real_files_decode_or_say_why() -> None:
    outcomes = {path.name: compare_ways(path) for path in real_media()}
    assert set(outcomes.values()) <= {"same", "long", "no picture", 413, 415, 422}
    assert list(outcomes.values()).count("same") >= 50


def compare_ways(path: Path) -> str | int:
    """Decode a few frames; in both ways if the file is short. A status where it cannot be decoded."""
    try:
        with open_container(path.read_bytes(), LIMITS) as container:
            if container.video is None:
                return "no picture"
            span = container.video.span
            times = span.start_seconds + np.linspace(0.0, min(span.duration_seconds, 10.0), 9)
            images = decode_frames(container, times, 32, LIMITS)
            if len(container.video.packets.items) > 300:
                return "long"
            reference = sequential(container.video, times, 32)
            return "same" if np.array_equal(images, reference) else "different"
    except ActivityError as error:
        return error.status
