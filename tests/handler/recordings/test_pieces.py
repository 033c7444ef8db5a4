"""A recording in pieces: hop by hop what the whole has, and no more memory than a piece takes."""

from __future__ import annotations

import gc
import threading
import tracemalloc
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks.long_media import make_long_clip
from handler import container, decode, sources
from handler.clip import Clip, ModalityStatus
from handler.container import Container
from handler.decode import decode_request
from handler.errors import ActivityError, LimitExceeded, NoUsableModality, UndecodableMedia, UnsupportedMedia
from handler.limits import Limits
from handler.recordings import pieces
from handler.recordings.pieces import ClipPiece, ModalityFailed, Pieces, cut_schedule, decode_pieces, read_ahead
from handler.request import ActivityRequest, parse_request
from handler.windows import Schedule, Span
from models.config import Modality, ModelConfig
from models.encoder_config import CropConfig
from tests.handler.requests import make_request
from tests.handler.tables import as_json
from tests.handler.test_decode import steady
from tests.handler.test_modalities import ROW, swing
from tests.media import X264, X264_B_FRAMES, Picture, Sound, png, render
from tests.models.every import EVERY
from tests.models.tiny import TINY

LIMITS = Limits()
CUES = "WEBVTT\n\n00:00.000 --> 00:02.000\nstir\n\n00:03.400 --> 00:04.100\nthe soup\n"
TIMED = ("frames", "samples", "texts", "depth")


@lru_cache(maxsize=1)
def everything() -> Mapping[str, bytes]:
    """About five seconds of all modalities, none as long as the next."""
    depth = Picture(codec="ffv1", width=32, height=32, num_frames=80, pix_fmt="gray")
    return {
        "video": render("mp4", Picture(num_frames=130, options=X264_B_FRAMES), Sound(rate=44_100, seconds=4.5)),
        "text": CUES.encode(),
        "image": png(24, 16),
        "tabular": as_json(ROW),
        "depth": render("matroska", depth),
        "imu": as_json(swing(3.7, start=0.4)),
    }


def request_of(names: tuple[str, ...] = ("video", "text", "image", "tabular", "depth", "imu")) -> ActivityRequest:
    return parse_request({name: everything()[name] for name in names}, LIMITS, EVERY.vectors)


def all_pieces(
    request: ActivityRequest, config: ModelConfig = EVERY, size: int = 3, limits: Limits = LIMITS
) -> tuple[Pieces, list[ClipPiece]]:
    with decode_pieces(request, config, limits, hops_per_piece=size) as opened:
        return opened, list(opened.pieces)


def of(content: NDArray[Any] | None) -> NDArray[Any]:
    assert content is not None
    return content


def check_same(found: Clip, expected: Clip, first: int, stop: int) -> None:
    """Each hop of a piece holds what the whole's hop holds."""
    assert found.modalities == expected.modalities
    for name in TIMED:
        content, whole = getattr(found, name), getattr(expected, name)
        assert (content is None) == (whole is None), name
        if whole is not None:
            assert np.array_equal(content, whole[first:stop]), name
    assert (found.row, found.transcript) == (expected.row, expected.transcript)
    assert np.array_equal(np.array(found.image), np.array(expected.image))
    assert list(found.vectors) == list(expected.vectors)
    for name, rows in expected.vectors.items():
        assert np.array_equal(found.vectors[name], rows[first:stop])
    assert list(found.masks) == list(expected.masks)
    for name, mask in expected.masks.items():
        assert np.array_equal(found.masks[name], mask[first:stop]), name


@pytest.mark.parametrize("size", [1, 2, 3, 5])
@pytest.mark.parametrize(
    "names", [("video", "text", "image", "tabular", "depth", "imu"), ("video",), ("imu", "text"), ("depth", "image")]
)
def test_pieces_are_the_whole(size: int, names: tuple[str, ...]) -> None:
    request = request_of(names)
    whole = decode_request(request, EVERY, LIMITS)
    opened, found = all_pieces(request, size=size)
    assert (opened.schedule, opened.modalities) == (whole.schedule, whole.modalities)
    assert [piece.first_hop for piece in found] == list(range(0, whole.schedule.num_hops, size))
    for piece in found:
        stop = piece.first_hop + piece.clip.schedule.num_hops
        check_same(piece.clip, whole, piece.first_hop, stop)
    assert sum(piece.clip.schedule.num_hops for piece in found) == whole.schedule.num_hops


def test_frames_are_cropped_as_the_whole() -> None:
    assert TINY.video is not None
    crop = CropConfig(left=0.25, top=0.5, side=0.5)
    config = TINY.model_copy(update={"video": TINY.video.model_copy(update={"crop": crop})})
    request = request_of(("video",))
    whole = decode_request(request, config, LIMITS)
    for piece in all_pieces(request, config, 4)[1]:
        check_same(piece.clip, whole, piece.first_hop, piece.first_hop + piece.clip.schedule.num_hops)


def test_a_clip_of_one_piece_is_decoded_as_before() -> None:
    request = request_of()
    whole = decode_request(request, EVERY, LIMITS)
    opened, (piece,) = all_pieces(request, size=whole.schedule.num_hops)
    assert piece.first_hop == 0
    assert piece.clip.schedule == opened.schedule == whole.schedule
    check_same(piece.clip, whole, 0, whole.schedule.num_hops)


def test_each_file_is_demuxed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[int] = []
    open_container = container.open_container

    def noted(data: bytes, limits: Limits) -> Container:
        opened.append(len(data))
        return open_container(data, limits)

    monkeypatch.setattr(sources, "open_container", noted)
    for size in (2, 99):
        opened.clear()
        all_pieces(request_of(("video", "depth")), size=size)
        assert opened == [len(everything()["video"]), len(everything()["depth"])]


def test_the_schedule_of_a_piece() -> None:
    schedule = Schedule(Span(1.0, 4.2), 0.5, 4, 6)  # the tail has no hop of its own
    assert cut_schedule(schedule, 2, 4) == Schedule(Span(2.0, 3.0), 0.5, 4, 2)
    assert cut_schedule(schedule, 4, 6) == Schedule(Span(3.0, 4.2), 0.5, 4, 2)
    assert cut_schedule(Schedule(Span(0.0, 0.8), 0.5, 4, 2), 1, 2).span == Span(0.5, 0.8)


# What cannot be used


def with_larger_end(container: str = "mpegts") -> bytes:
    """A second in a small format, then one in a larger one; and sound."""
    later = Picture(options=X264, num_frames=25, width=320, height=240, pts_ms=tuple(range(1_000, 2_000, 40)))
    return render(container, Picture(options=X264, num_frames=25)) + render(container, later)


def test_a_picture_that_fails_in_its_midst_is_left_out_in_the_next_attempt() -> None:
    limits = Limits(max_frame_pixels=320 * 240 - 1)
    request = make_request(with_larger_end(), render("wav", Sound(codec="pcm_s16le", seconds=1.6)))
    failed: dict[Modality, ActivityError] = {}
    with decode_pieces(request, TINY, limits, hops_per_piece=1) as opened:
        assert opened.modalities["video"].used
        assert next(opened.pieces).clip.frames is not None
        with pytest.raises(ModalityFailed, match="video: a frame has 320 x 240 pixels") as caught:
            list(opened.pieces)
    failed[caught.value.modality] = caught.value.error
    assert isinstance(failed["video"], LimitExceeded)
    whole = decode_request(request, TINY, limits)
    for size in (1, 99):
        with decode_pieces(request, TINY, limits, hops_per_piece=size, failed=failed) as opened:
            assert opened.modalities == whole.modalities
            assert opened.schedule == whole.schedule
            for piece in opened.pieces:
                check_same(piece.clip, whole, piece.first_hop, piece.first_hop + piece.clip.schedule.num_hops)


def test_a_lone_picture_that_fails_in_its_midst_is_its_own_error() -> None:
    limits = Limits(max_frame_pixels=320 * 240 - 1)
    request = make_request(with_larger_end())
    with decode_pieces(request, TINY, limits, hops_per_piece=1) as opened, pytest.raises(ModalityFailed) as caught:
        list(opened.pieces)
    with pytest.raises(LimitExceeded, match="a frame has 320 x 240 pixels"):
        decode_pieces(request, TINY, limits, hops_per_piece=1, failed={"video": caught.value.error})


def test_sound_of_which_nothing_decodes_fails() -> None:
    data = render("mp4", Sound(seconds=3.0))
    start, stop = data.index(b"mdat") + 4, data.index(b"moov") - 4
    request = make_request(render("mov", steady(3.0)), data[:start] + b"\xff" * (stop - start) + data[stop:])
    with (
        decode_pieces(request, TINY, LIMITS, hops_per_piece=2) as opened,
        pytest.raises(ModalityFailed, match="audio: no sample came out of") as caught,
    ):
        list(opened.pieces)
    failed = {"audio": caught.value.error}
    with decode_pieces(request, TINY, LIMITS, hops_per_piece=2, failed=failed) as opened:
        assert opened.modalities == decode_request(request, TINY, LIMITS).modalities
        assert opened.modalities["audio"].code == "undecodable_media"
        assert len(list(opened.pieces)) == 3


def test_what_is_declared_out_of_bounds_is_known_before_anything_is_decoded() -> None:
    request = request_of(("video",))
    opened, found = all_pieces(request, TINY, 2, Limits(max_frame_pixels=100))
    assert opened.modalities["video"].code == "limit_frame_pixels"
    assert opened.modalities["audio"] == ModalityStatus(used=True)
    assert all(piece.clip.frames is None and list(piece.clip.masks) == ["audio"] for piece in found)


def test_nothing_usable_is_the_same_error() -> None:
    for request, kind in (
        (make_request(b"this is no media file" * 20), UndecodableMedia),
        (make_request(png(8, 8)), UnsupportedMedia),
        (make_request(png(8, 8), b"no media", " "), NoUsableModality),
    ):
        with pytest.raises(ActivityError) as caught:
            decode_pieces(request, TINY, LIMITS, hops_per_piece=1)
        assert type(caught.value) is kind
        with pytest.raises(kind, match=caught.value.message[:20]):
            decode_request(request, TINY, LIMITS)


def test_a_recording_that_is_too_long_is_refused_before_it_is_decoded() -> None:
    late = render("matroska", steady(1.0, start_ms=700_000))
    request = make_request(late, render("wav", Sound(codec="pcm_s16le")))
    with pytest.raises(LimitExceeded, match=r"the clip spans 701\.000 s, at most 600 s are allowed"):
        decode_pieces(request, TINY, LIMITS)


def test_running_out_of_memory_is_that_modalitys_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    def exhausted(*_: Any) -> Any:
        raise MemoryError
        yield

    monkeypatch.setattr(pieces, "decode_sound_pieces", exhausted)
    with (
        decode_pieces(request_of(("video",)), TINY, LIMITS, hops_per_piece=2) as opened,
        pytest.raises(ModalityFailed, match="audio: decoding needs more memory than is allowed"),
    ):
        list(opened.pieces)


@pytest.fixture
def closed(monkeypatch: pytest.MonkeyPatch) -> list[Container]:
    """The containers that have been closed."""
    noted: list[Container] = []
    close = Container.close

    def note(container: Container) -> None:
        noted.append(container)
        close(container)

    monkeypatch.setattr(Container, "close", note)
    return noted


@pytest.mark.parametrize("taken", [0, 1, 99])
@pytest.mark.parametrize("size", [2, 99])
def test_every_container_is_closed(taken: int, size: int, closed: list[Container]) -> None:
    with decode_pieces(request_of(("video", "depth")), EVERY, LIMITS, hops_per_piece=size) as opened:
        for _, _ in zip(range(taken), opened.pieces, strict=False):
            pass
    assert len(closed) == 2
    assert list(opened.pieces) == []
    opened.close()
    assert len(closed) == 2


def test_every_container_is_closed_where_nothing_can_be_used(
    closed: list[Container], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(NoUsableModality):
        decode_pieces(request_of(("video",)), TINY, Limits(max_frame_pixels=9, max_sample_rate=9_000), hops_per_piece=2)
    assert len(closed) == 1
    monkeypatch.setattr(decode, "decode_cropped", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        decode_pieces(request_of(("video",)), TINY, LIMITS)
    assert len(closed) == 2


def test_the_next_piece_is_decoded_while_the_caller_is_at_this_one(monkeypatch: pytest.MonkeyPatch) -> None:
    begun = [threading.Event() for _ in range(4)]
    decode_piece = pieces._Recording._piece

    def noted(self: Any, first: int, *rest: Any) -> Clip:
        begun[first // 3].set()
        return decode_piece(self, first, *rest)

    monkeypatch.setattr(pieces._Recording, "_piece", noted)
    before = threading.active_count()
    with read_ahead(decode_pieces(request_of(), EVERY, LIMITS, hops_per_piece=3)) as opened:
        assert not begun[0].is_set()
        next(opened.pieces)
        assert begun[1].wait(20)
        assert not begun[2].is_set()
        next(opened.pieces)
        assert begun[2].wait(20)
        assert not begun[3].is_set()
    assert not begun[3].is_set()
    assert threading.active_count() == before


def test_memory_does_not_grow_with_the_length(tmp_path: Path) -> None:
    make_long_clip(tmp_path / "long.mp4", 192, width=32, height=32)
    request = make_request((tmp_path / "long.mp4").read_bytes())
    with decode_pieces(request, TINY, LIMITS, hops_per_piece=16) as opened:
        next(opened.pieces)
        gc.collect()
        tracemalloc.start()
        num_bytes = [of(piece.clip.samples).nbytes + of(piece.clip.frames).nbytes for piece in opened.pieces]
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert sum(num_bytes) > 12e6
    assert peak < 5e6
