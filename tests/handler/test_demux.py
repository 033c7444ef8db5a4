"""Packets that are read again: to the bit those that are kept, whatever the file, and nothing is left open."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from av.container import InputContainer
from av.packet import Packet
from numpy.typing import NDArray

from benchmarks.long_media import make_long_clip
from handler import container as container_module
from handler import demux
from handler.audio import decode_waveform
from handler.container import AudioStream, Container, VideoStream, open_container, open_untrusted
from handler.decode import decode_request
from handler.errors import ActivityError, LimitExceeded, UndecodableMedia
from handler.limits import Limits
from handler.packets import skipped_samples
from handler.recordings.pieces import ModalityFailed, decode_pieces
from handler.video import decode_frame_pieces, decode_frames
from tests.handler.recordings.test_pieces import check_same, everything, with_larger_end
from tests.handler.recordings.test_sound_pieces import LATE
from tests.handler.requests import make_request
from tests.handler.test_audio import LOSSLESS, LOSSY
from tests.handler.test_video import LIMITS, PLANNED, SEQUENTIAL, SIZE
from tests.handler.test_video_pieces import cut, damaged
from tests.media import X264, X264_B_FRAMES, Picture, Sound, overwrite, real_media, render
from tests.models.tiny import TINY

BOTH = ("mp4", Picture(options=X264_B_FRAMES), Sound(rate=44_100))


def later_start() -> bytes:
    data = render(*BOTH)
    media_time = int.from_bytes(data[data.index(b"elst") + 16 :][:4], "big")
    return overwrite(data, b"elst", 12, (media_time + 10 * 512).to_bytes(4, "big"))


def noisy(data: bytes, seed: int) -> bytes:
    """A file with 40 bytes of its second half changed."""
    spoilt = bytearray(data)
    random = np.random.default_rng(seed)
    for place in random.integers(len(data) // 2, len(data), 40).tolist():
        spoilt[place] = int(random.integers(256))
    return bytes(spoilt)


FILES = {
    **{name: render(*parts) for name, parts in (PLANNED | SEQUENTIAL | LOSSLESS | LOSSY).items()},
    "gaps and overlaps": render("matroska", LATE),
    "edit list": later_start(),
    "damaged": damaged(23),
    "larger end": with_larger_end(),
    "another sample rate": b"".join(
        render("mp3", Sound(codec="libmp3lame", rate=rate, seconds=1.0)) for rate in (44_100, 24_000)
    ),
    **{
        f"{name}, {fault}": spoilt
        for name, data in {
            "mp4": render(*BOTH),
            "mpegts": render("mpegts", Picture(options=(*X264, ("g", "10"))), Sound()),
            "webm": render("webm", PLANNED["vp9"][1], Sound(codec="libopus", rate=48_000)),
            "avi": render("avi", Picture(codec="mpeg4"), Sound(codec="libmp3lame")),
        }.items()
        for fault, spoilt in {"whole": data, "cut": data[: len(data) * 2 // 3], "noisy": noisy(data, 3)}.items()
    },
}


@pytest.fixture
def keep_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demux, "KEPT_BYTES", -1)


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[InputContainer]:
    """Every file that is opened."""
    noted: list[InputContainer] = []

    def remember(data: bytes, formats: Sequence[str], options: dict[str, str]) -> InputContainer:
        noted.append(open_untrusted(data, formats, options))
        return noted[-1]

    monkeypatch.setattr(container_module, "open_untrusted", remember)
    return noted


def num_open(files: list[InputContainer]) -> int:
    return sum(bool(file.input_was_opened) for file in files)


def content(packet: Packet[Any]) -> tuple[Any, ...]:
    times = (packet.pts, packet.dts, packet.duration, packet.time_base)
    return (*times, packet.is_keyframe, packet.is_discard, packet.is_corrupt, skipped_samples(packet), bytes(packet))


def index_of(stream: VideoStream | AudioStream | None) -> dict[str, Any] | None:
    if stream is None:
        return None
    packets = stream.packets
    names = [field.name for field in fields(packets) if field.name not in {"items", "read_again"}]
    found = {name: getattr(packets, name) for name in names}
    return {**found, "packets": [content(packet) for packet in packets.read()], "codec": stream.codec}


def result(step: Any) -> Any:
    """What a step gives, or the error that it comes to."""
    try:
        return step()
    except ActivityError as error:
        return type(error), error.message


def everything_of(data: bytes, *, is_again: bool) -> list[Any]:
    """A file's index, its packets, its frames in one and in several pieces, its sound."""
    try:
        opened = open_container(data, LIMITS)
    except ActivityError as error:
        return [type(error), error.message]
    with opened as container:
        found: list[Any] = [index_of(container.video), index_of(container.audio)]
        for stream in (container.video, container.audio):
            assert stream is None or (stream.packets.read_again is not None) == is_again
            assert stream is None or len(stream.packets.items) == (0 if is_again else stream.packets.num_packets)
        times = container.span.start_seconds + np.arange(-0.1, 1.8, 0.07)
        for wanted in (times, times[3::9]):
            found.append(result(lambda wanted=wanted: decode_frames(container, wanted, SIZE, LIMITS)))
            found.append(
                result(lambda wanted=wanted: list(decode_frame_pieces(container, cut(wanted, 4), SIZE, LIMITS)))
            )
    with open_container(data, LIMITS) as container:
        waveform = result(lambda: decode_waveform(container, 16_000, LIMITS))
        found.append(waveform if isinstance(waveform, tuple) else (waveform.samples, waveform.start_seconds))
    return found


def check_equal(found: Any, expected: Any) -> None:
    assert type(found) is type(expected)
    if isinstance(expected, np.ndarray):
        assert found.dtype == expected.dtype
        assert np.array_equal(found, expected)
    elif isinstance(expected, dict):
        check_equal(list(found.items()), list(expected.items()))
    elif isinstance(expected, list | tuple):
        assert len(found) == len(expected)
        for one, other in zip(found, expected, strict=True):
            check_equal(one, other)
    else:
        assert found == expected


@pytest.mark.parametrize("name", FILES)
def test_reading_again_gives_the_same_bits(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    data = FILES[name]
    kept = everything_of(data, is_again=False)
    monkeypatch.setattr(demux, "KEPT_BYTES", -1)
    check_equal(everything_of(data, is_again=True), kept)


@pytest.mark.skipif(not real_media(), reason="no shared media folder")
def test_real_files_give_the_same_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    small = [path.read_bytes() for path in real_media() if path.stat().st_size < 300_000][::4]
    assert len(small) > 10
    kept = [everything_of(data, is_again=False) for data in small]
    monkeypatch.setattr(demux, "KEPT_BYTES", -1)
    for data, expected in zip(small, kept, strict=True):
        check_equal(everything_of(data, is_again=True), expected)


@pytest.mark.usefixtures("keep_nothing")
def test_a_recording_in_pieces_is_the_whole(opened: list[InputContainer]) -> None:
    request = make_request(everything()["video"])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(demux, "KEPT_BYTES", 1 << 30)
        whole = decode_request(request, TINY, LIMITS)
    opened.clear()
    for size in (1, 3, 99):
        with decode_pieces(request, TINY, LIMITS, hops_per_piece=size) as found:
            for piece in found.pieces:
                check_same(piece.clip, whole, piece.first_hop, piece.first_hop + piece.clip.schedule.num_hops)
        assert len(opened) == 3  # to see what there is, for the one stream, for the other
        assert num_open(opened) == 0
        opened.clear()


def test_what_fits_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    data = render(*BOTH)
    with open_container(data, LIMITS) as container:
        items = [item for it in (container.video, container.audio) if it is not None for item in it.packets.items]
    size = sum(item.size for item in items)
    for num_packets, num_bytes, keep, is_kept in (
        (len(items), size, False, True),
        (len(items) - 1, size, False, False),
        (len(items), size - 1, False, False),
        (0, 0, True, True),
    ):
        monkeypatch.setattr(demux, "KEPT_PACKETS", num_packets)
        monkeypatch.setattr(demux, "KEPT_BYTES", num_bytes)
        with open_container(data, LIMITS, keep_packets=keep) as container:
            for stream in (container.video, container.audio):
                assert stream is not None
                assert bool(stream.packets.items) is (stream.packets.read_again is None) is is_kept


@pytest.mark.usefixtures("keep_nothing")
def test_limits_hold_in_the_first_pass(opened: list[InputContainer]) -> None:
    for limits in (Limits(max_packets=50), Limits(max_duration_seconds=1.0)):
        with pytest.raises(LimitExceeded):
            open_container(render(*BOTH), limits)
    assert [bool(file.input_was_opened) for file in opened] == [False, False]


@pytest.mark.usefixtures("keep_nothing")
def test_a_pass_that_is_given_up_leaves_nothing_open(opened: list[InputContainer]) -> None:
    with open_container(render(*BOTH), LIMITS) as container:
        assert container.video is not None
        assert num_open(opened) == 1  # the first one has been closed at its end
        passes = [container.video.packets.read() for _ in range(3)]
        for packets in passes[:2]:
            next(packets)
        assert (len(opened), num_open(opened)) == (3, 2)
        passes[1].close()
        assert num_open(opened) == 1
        again = container.video.packets.read()
        next(again)
        assert num_open(opened) == 2
    assert num_open(opened) == 0
    assert list(again) == list(passes[2]) == []


@pytest.mark.parametrize("taken", [0, 1])
@pytest.mark.usefixtures("keep_nothing")
def test_a_recording_that_is_given_up_leaves_nothing_open(taken: int, opened: list[InputContainer]) -> None:
    with decode_pieces(make_request(everything()["video"]), TINY, LIMITS, hops_per_piece=2) as found:
        for _ in range(taken):
            next(found.pieces)
        assert num_open(opened) == 1 + taken
    assert num_open(opened) == 0


@pytest.mark.usefixtures("keep_nothing")
def test_a_modality_that_fails_leaves_nothing_open(opened: list[InputContainer]) -> None:
    limits = Limits(max_frame_pixels=320 * 240 - 1)
    request = make_request(with_larger_end(), render("wav", Sound(codec="pcm_s16le")))
    with decode_pieces(request, TINY, limits, hops_per_piece=1) as found, pytest.raises(ModalityFailed):
        list(found.pieces)
    assert num_open(opened) == 0


def second_time(monkeypatch: pytest.MonkeyPatch, data: bytes) -> None:
    """Let every opening but the first find other bytes."""
    found: list[bool] = []

    def changed(first: bytes, formats: Sequence[str], options: dict[str, str]) -> InputContainer:
        found.append(True)
        return open_untrusted(first if len(found) == 1 else data, formats, options)

    monkeypatch.setattr(container_module, "open_untrusted", changed)


def frames_of(container: Container, size: int) -> list[NDArray[np.uint8]]:
    return list(decode_frame_pieces(container, cut(np.arange(40) / 25, size), SIZE, LIMITS))


@pytest.mark.usefixtures("keep_nothing")
def test_other_packets_the_second_time_are_a_fault_of_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    data = render("matroska", Picture(codec="ffv1"), Sound(codec="flac"))
    second_time(monkeypatch, data[: len(data) // 2])
    with open_container(data, LIMITS) as container:
        assert len(np.concatenate(frames_of(container, 4))) == 40  # the last one that is there is held
        assert 0 < len(decode_waveform(container, 16_000, LIMITS).samples) < 16_000 * 1.6
    second_time(monkeypatch, render("wav", Sound(codec="pcm_s16le")))
    with pytest.raises(UndecodableMedia), open_container(data, LIMITS) as container:
        frames_of(container, 4)


def test_memory_does_not_grow_with_the_packets(tmp_path: Path) -> None:
    """Of half an hour FFmpeg itself holds an index of 3 MB twice; its packets would take 50 MB."""
    make_long_clip(tmp_path / "short.mp4", 64, width=32, height=32)
    make_long_clip(tmp_path / "long.mp4", 1_800, width=32, height=32)
    code = """if True:
        import re, sys
        from pathlib import Path
        from handler.container import open_container
        from handler.limits import Limits

        def resident(kind):
            return int(re.search(kind + r":\\s+(\\d+)", Path("/proc/self/status").read_text())[1])

        for name in sys.argv[1:]:
            data = Path(name).read_bytes()
            before = resident("VmRSS")
            with open_container(data, Limits(max_duration_seconds=1e6)) as container:
                video, audio = container.video.packets, container.audio.packets
                assert sum(1 for _ in zip(video.read(), audio.read())) == video.num_packets
        print(resident("VmHWM") - before, video.num_packets + audio.num_packets)
    """
    command = [sys.executable, "-c", code, str(tmp_path / "short.mp4"), str(tmp_path / "long.mp4")]
    found = subprocess.run(command, check=True, capture_output=True, text=True, cwd=Path(__file__).parents[2])
    grown_kib, num_packets = map(int, found.stdout.split())
    assert num_packets > 45_000
    assert grown_kib < 20 * 1024
