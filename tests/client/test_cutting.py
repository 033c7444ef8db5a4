from __future__ import annotations

import io
import socket
import subprocess
import sys
from collections.abc import Iterator
from fractions import Fraction
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from pathlib import Path
from threading import Thread
from typing import Any

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from client.chunk_files import choose_format
from client.cutting import Chunk, Cutter, cut_file, cut_source
from client.errors import SourceUnusable
from client.sources import Address, open_source, read_address
from tests.media import X264, X264_B_FRAMES, Picture, Sound, real_media, render

SHORT_GROUPS = (*X264, ("g", "10"))
OPEN_GROUPS = (*X264, ("bf", "3"), ("g", "12"), ("sc_threshold", "0"), ("x264-params", "open-gop=1"))
SOURCES: dict[str, tuple[str, str, tuple[Picture | Sound, ...]]] = {
    "mp4": ("mp4", "mov,mp4", (Picture(num_frames=120, options=SHORT_GROUPS), Sound(rate=44_100, seconds=4.8))),
    "b frames": ("mp4", "mov,mp4", (Picture(num_frames=120, options=X264_B_FRAMES), Sound(seconds=4.8))),
    "open groups": ("mp4", "mov,mp4", (Picture(num_frames=120, options=OPEN_GROUPS), Sound(seconds=4.8))),
    "odd rate": ("mp4", "mov,mp4", (Picture(num_frames=90, rate=29, options=SHORT_GROUPS),)),
    "matroska": ("matroska", "matroska", (Picture(num_frames=120, options=X264_B_FRAMES), Sound(seconds=4.8))),
    "webm": (
        "webm",
        "matroska",
        (Picture(codec="libvpx", num_frames=120, options=(("g", "20"),)), Sound("libopus", 48_000, seconds=4.8)),
    ),
    "transport": ("mpegts", "mpegts", (Picture(num_frames=120, options=OPEN_GROUPS), Sound(rate=44_100, seconds=4.8))),
    "variable": (
        "mp4",
        "mov,mp4",
        (Picture(num_frames=60, options=SHORT_GROUPS, pts_ms=tuple(80 * n + (n % 7) * 5 for n in range(60))),),
    ),
    "late sound": (
        "mp4",
        "mov,mp4",
        (
            Picture(num_frames=120, options=SHORT_GROUPS),
            Sound(seconds=3.0, pts_ms=tuple(1500 + 100 * n for n in range(30))),
        ),
    ),
    "sound": ("mp4", "mov,mp4", (Sound(seconds=5.0, rate=22_050),)),
    "mp3": ("mp3", "mov,mp4", (Sound("libmp3lame", 44_100, seconds=5.0),)),
    "wav": ("wav", "mov,mp4", (Sound("pcm_s16le", 16_000, seconds=5.0),)),
    "ogg": ("ogg", "mov,mp4", (Sound("libopus", 48_000, seconds=5.0),)),
    "av1": ("matroska", "matroska", (Picture(codec="libsvtav1", num_frames=60, options=(("g", "15"),)),)),
}


def opened_bytes(data: bytes) -> Any:
    return av.open(io.BytesIO(data))


def packet_times(data: bytes) -> dict[str, list[tuple[Fraction, int]]]:
    """Seconds and sizes of the packets by kind of stream."""
    found: dict[str, list[tuple[Fraction, int]]] = {}
    with opened_bytes(data) as opened:
        for packet in opened.demux():
            if packet.size:
                found.setdefault(packet.stream.type, []).append((packet.pts * packet.time_base, packet.size))
    return found


def frames(data: bytes) -> Iterator[tuple[Fraction, NDArray[np.uint8]]]:
    with opened_bytes(data) as opened:
        for frame in opened.decode(video=0):
            yield frame.pts * frame.time_base, frame.to_ndarray(format="gray")


def sound(data: bytes) -> tuple[NDArray[np.int64], NDArray[np.float64], int]:
    """The places of the decoded samples, the samples, the mean of the channels, and their rate."""
    places, samples, rate = [np.zeros(0, dtype=np.int64)], [np.zeros(0)], 1
    with opened_bytes(data) as opened:
        for frame in opened.decode(*opened.streams.audio[:1]) if opened.streams.audio else ():
            values = frame.to_ndarray() / (32768 if frame.format.name.startswith("s16") else 1)
            first, rate = round(frame.pts * frame.time_base * frame.sample_rate), frame.sample_rate
            places.append(np.arange(first, first + frame.samples))
            samples.append(values.reshape(-1, frame.samples).mean(axis=0))
    return np.concatenate(places), np.concatenate(samples), rate


def cut_bytes(tmp_path: Path, data: bytes, chunk_seconds: float) -> list[Chunk]:
    path = tmp_path / "source"
    path.write_bytes(data)
    return list(cut_file(str(path), chunk_seconds))


def assert_tiles(chunks: list[Chunk]) -> None:
    assert [chunk.last for chunk in chunks] == [False] * (len(chunks) - 1) + [True]
    for before, after in pairwise(chunks):
        assert before.stop_seconds == after.start_seconds
        assert before.says_stop
        assert after.says_start


@pytest.mark.parametrize("name", SOURCES)
@pytest.mark.parametrize("chunk_seconds", [0.37, 1.5])
def test_every_packet_keeps_its_time(tmp_path: Path, name: str, chunk_seconds: float) -> None:
    container, written, streams = SOURCES[name]
    data = render(container, *streams)
    chunks = cut_bytes(tmp_path, data, chunk_seconds)
    assert_tiles(chunks)
    assert len(chunks) >= 2
    whole = packet_times(data)
    parts = [packet_times(chunk.data) for chunk in chunks]
    with av.open(io.BytesIO(chunks[-1].data)) as opened:
        assert opened.format.name.startswith(written)
    for kind, packets in whole.items():
        found = {pts for part in parts for pts, _ in part.get(kind, [])}
        assert found >= {pts for pts, _ in packets} or name == "wav"  # a muxer may part raw samples otherwise
        assert found <= {pts for pts, _ in packets} or name == "wav"
    if name == "mp3":
        assert chunks[0].start_seconds == 0.0
        assert chunks[0].offset_seconds == pytest.approx(-1105 / 44_100)
        assert chunks[-1].stop_seconds == pytest.approx(5.0)
    else:
        assert {chunk.offset_seconds for chunk in chunks} == {0.0}


@pytest.mark.parametrize("name", [name for name, (_, _, streams) in SOURCES.items() if isinstance(streams[0], Picture)])
@pytest.mark.parametrize("chunk_seconds", [0.37, 1.5])
def test_each_chunk_decodes_by_itself_to_the_frames_of_the_whole(
    tmp_path: Path, name: str, chunk_seconds: float
) -> None:
    container, _, streams = SOURCES[name]
    data = render(container, *streams)
    whole = dict(frames(data))
    seen: list[Fraction] = []
    for chunk in cut_bytes(tmp_path, data, chunk_seconds):
        for pts, image in frames(chunk.data):
            if chunk.start_seconds - 1e-6 < pts and (chunk.last or pts < chunk.stop_seconds - 1e-6):
                assert np.array_equal(image, whole[pts])
                seen.append(pts)
    assert seen == list(whole)


@pytest.mark.parametrize("name", [name for name, (_, _, streams) in SOURCES.items() if isinstance(streams[-1], Sound)])
@pytest.mark.parametrize("chunk_seconds", [0.37, 1.5])
def test_each_chunk_decodes_by_itself_to_the_sound_of_the_whole(
    tmp_path: Path, name: str, chunk_seconds: float
) -> None:
    container, _, streams = SOURCES[name]
    data = render(container, *streams)
    places, samples, rate = sound(data)
    whole = dict(zip(places.tolist(), samples.tolist(), strict=True))
    seen: list[NDArray[np.int64]] = []
    for chunk in cut_bytes(tmp_path, data, chunk_seconds):
        found, values, _ = sound(chunk.data)
        moved = round(chunk.offset_seconds * rate)
        seconds = (found + moved) / rate
        counts = (chunk.start_seconds - 1e-9 <= seconds) & (not chunk.says_stop or seconds < chunk.stop_seconds - 1e-9)
        expected = np.array([whole[place] for place in found[counts].tolist()])
        # A decoder draws an AAC's noise by chance.
        assert np.allclose(values[counts], expected, rtol=0, atol=2e-3 if rate == 44_100 else 0)
        seen.append(found[counts])
    assert np.array_equal(np.concatenate(seen), places)


def test_cuts_are_at_the_key_frames_nearest_to_the_wanted_length(tmp_path: Path) -> None:
    data = render("mp4", Picture(num_frames=150, options=SHORT_GROUPS))  # a key frame each 0.4 s
    chunks = cut_bytes(tmp_path, data, 1.0)
    assert [chunk.stop_seconds for chunk in chunks] == [0.8, 1.6, 2.4, 3.2, 4.0, 4.8, 5.6, 6.0]
    for chunk in chunks:
        with av.open(io.BytesIO(chunk.data), "r") as opened:
            stream: Any = opened.streams.video[0]
            assert float(stream.start_time * stream.time_base) == chunk.start_seconds


def test_a_long_group_is_cut_inside_with_lead_in_from_its_key_frame(tmp_path: Path) -> None:
    data = render("mp4", Picture(num_frames=250, options=(*X264, ("g", "200"))))  # key frames at 0 s and 8 s
    chunks = cut_bytes(tmp_path, data, 1.0)
    assert [chunk.stop_seconds for chunk in chunks] == [*map(float, range(1, 9)), 9.0, 10.0]
    starts = [float(min(pts for pts, _ in packet_times(chunk.data)["video"])) for chunk in chunks]
    assert starts == [0.0] * 8 + [8.0, 8.0]
    assert [chunk.options() for chunk in (chunks[0], chunks[3], chunks[-1])] == [
        {"stop_seconds": 1.0},
        {"start_seconds": 3.0, "stop_seconds": 4.0},
        {"start_seconds": 9.0, "last": True},
    ]


def test_the_first_chunk_of_a_live_source_begins_at_zero(tmp_path: Path) -> None:
    path = tmp_path / "late.ts"
    times = tuple(70_000_000 + 40 * place for place in range(100))
    path.write_bytes(render("mpegts", Picture(num_frames=100, options=SHORT_GROUPS, pts_ms=times)))
    with open_source(Address(str(path), is_file=False)) as source:
        chunks = list(cut_source(source, 1.0))
    first = float(min(pts for pts, _ in packet_times(chunks[0].data)["video"]))
    assert first == 70_000.0
    assert chunks[0].start_seconds == 0.0
    assert {chunk.offset_seconds for chunk in chunks} == {-first}
    assert chunks[-1].stop_seconds == pytest.approx(4.0)


def test_the_cutter_keeps_two_chunks_of_an_endless_source_at_most() -> None:
    data = render("mp4", Picture(num_frames=100, options=SHORT_GROUPS), Sound(seconds=4.0))
    with av.open(io.BytesIO(data)) as opened:
        streams = (opened.streams.video[0], opened.streams.audio[0])
        kind = choose_format(opened.format.name, ["h264", "aac"])
        assert kind is not None
        cutter = Cutter(kind, streams, 0.5)
        most = 0
        source = _Endless(data, 20)
        for _ in cutter.cut(source):
            most = max(most, len(cutter._held))
    assert source.num_packets > 3000
    assert most < (2 * 0.5 + 1.0) * (25 + 16) + 10  # a second of sound is kept for the next chunk


class _Endless:
    """A clip's packets over and over, their times going on."""

    def __init__(self, data: bytes, times: int) -> None:
        self._data, self._times = data, times
        self.num_packets = 0

    def __iter__(self) -> Iterator[Any]:
        from dataclasses import replace  # noqa: PLC0415

        for turn in range(self._times):
            with open_source(_written(self._data)) as source:
                for held in source.held():
                    shift = Fraction(5 * turn)
                    packet = held.packet
                    packet.pts += int(shift / packet.time_base)
                    packet.dts += int(shift / packet.time_base)
                    self.num_packets += 1
                    yield replace(held, pts=held.pts + shift, dts=held.dts + shift)


def _written(data: bytes) -> Address:
    return Address(io.BytesIO(data), is_file=True)  # type: ignore[arg-type]  # PyAV reads both


def test_a_source_that_cannot_be_copied_is_encoded(tmp_path: Path) -> None:
    data = render("avi", Picture(codec="huffyuv", pix_fmt="yuv422p", num_frames=60), Sound("pcm_s16le", seconds=2.4))
    chunks = cut_bytes(tmp_path, data, 0.8)
    assert_tiles(chunks)
    assert [round(chunk.stop_seconds, 2) for chunk in chunks[:2]] == [0.8, 1.6]
    for chunk in chunks:
        with av.open(io.BytesIO(chunk.data), "r") as opened:
            assert [stream.codec_context.name for stream in opened.streams] == ["h264", "aac"]
    times = [pts for chunk in chunks for pts, _ in frames(chunk.data)]
    assert times == [Fraction(n, 25) for n in range(60)]


def test_a_device_of_raw_frames_is_encoded() -> None:
    address = read_address("testsrc=size=96x64:rate=25:duration=3", format="lavfi")
    with open_source(address) as source:
        assert choose_format(source.container, source.codecs) is None
        chunks = list(cut_source(source, 1.0))
    assert [(chunk.start_seconds, chunk.stop_seconds) for chunk in chunks] == [(0.0, 1.0), (1.0, 2.0), (2.0, 3.0)]
    assert sum(1 for chunk in chunks for _ in frames(chunk.data)) == 75


PUBLISHER = """
import sys, time, av
for _ in range(100):
    try:
        with av.open(sys.argv[1]) as source, av.open(sys.argv[2], "w", "rtsp", {"rtsp_transport": "tcp"}) as output:
            copies = [output.add_stream_from_template(stream) for stream in source.streams]
            for packet in source.demux():
                if packet.dts is not None:
                    packet.stream = copies[packet.stream.index]
                    output.mux(packet)
        break
    except OSError:
        time.sleep(0.1)
"""


def test_an_rtsp_session_is_cut_from_where_its_clock_is_known(tmp_path: Path) -> None:
    picture = Picture(rate=10, num_frames=80, options=(*X264, ("bf", "2"), ("g", "10")))
    path = tmp_path / "clip.mp4"
    path.write_bytes(render("mp4", picture, Sound(seconds=8.0)))
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        url = f"rtsp://127.0.0.1:{held.getsockname()[1]}/live"
    listening = {"rtsp_flags": "listen", "listen_timeout": "20"}
    with subprocess.Popen([sys.executable, "-c", PUBLISHER, str(path), url]) as publisher:
        try:
            with open_source(read_address(url, options=listening)) as source:
                chunks = list(cut_source(source, 2.0))
        finally:
            publisher.kill()
    assert len(chunks) >= 3
    assert all(after.start_seconds == pytest.approx(before.stop_seconds) for before, after in pairwise(chunks))
    length = chunks[-1].stop_seconds - chunks[0].start_seconds
    assert 5.5 < length < 8.1  # the group of pictures before the clock was known is left out
    for chunk in chunks:
        with av.open(io.BytesIO(chunk.data), "r") as opened:
            assert next(opened.decode(video=0)).key_frame
            assert opened.streams.audio


def test_what_is_no_source_is_said_with_a_remedy(tmp_path: Path, closed_port: int) -> None:
    text = tmp_path / "words.txt"
    text.write_text("no media")
    said = {
        "/dev/video9": ("The camera /dev/video9 cannot be opened: No such file", "ls /dev/video"),
        f"rtsp://127.0.0.1:{closed_port}/live": ("Nobody serves rtsp://", "Check host and port"),
        f"http://127.0.0.1:{closed_port}/live.ts": ("Nobody serves http://", "Check host and port"),
        str(text): ("does not open as a media file", "--input-format"),
    }
    for name, (message, remedy) in said.items():
        with pytest.raises(SourceUnusable) as caught:
            open_source(read_address(name))
        assert message in caught.value.message
        assert remedy in caught.value.remedy
    with pytest.raises(SourceUnusable, match=r"no file missing\.mp4"):
        read_address("missing.mp4")


def test_an_index_at_the_end_is_said_to_need_a_server_that_can_go_back(tmp_path: Path) -> None:
    data = render("mp4", Picture(num_frames=50, options=SHORT_GROUPS))
    index, filling = data.index(b"moov") - 4, 2**20  # more than FFmpeg keeps of what it has read
    far = data[:index] + filling.to_bytes(4) + b"free" + bytes(filling - 8) + data[index:]
    (tmp_path / "clip.mp4").write_bytes(far)
    quiet = type("Quiet", (SimpleHTTPRequestHandler,), {"log_message": lambda *_: None})
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(quiet, directory=str(tmp_path))) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        with pytest.raises(SourceUnusable, match="broke off before its first packet") as caught:
            list(cut_file(f"http://127.0.0.1:{server.server_port}/clip.mp4", 1.0))
        server.shutdown()
    assert "faststart" in caught.value.remedy


def test_an_address_is_opened_so_that_its_packets_come_whole_and_soon() -> None:
    assert read_address("rtsp://camera/1").options == {"analyzeduration": "1000000", "rtsp_transport": "tcp"}
    assert read_address("rtsp://camera/1", options={"rtsp_transport": "udp"}).options["rtsp_transport"] == "udp"
    assert read_address("http://host/live.ts").options == {"analyzeduration": "1000000"}
    camera = read_address("/dev/video0", options={"video_size": "640x480"})
    assert (camera.format, camera.options, camera.is_file) == ("v4l2", {"video_size": "640x480"}, False)


@pytest.mark.parametrize("path", [path for path in real_media() if "malformed" not in path.parts], ids=lambda p: p.name)
def test_real_clips_keep_every_packet(path: Path) -> None:
    with open_source(read_address(str(path))) as source:
        whole: dict[int, set[Fraction]] = {}
        for held in source.held():
            whole.setdefault(held.stream, set()).add(held.pts)
        kinds = [stream.type for stream in source.streams]
    found: dict[str, set[float]] = {kind: set() for kind in kinds}
    for chunk in cut_file(str(path), 2.0):
        for kind, packets in packet_times(chunk.data).items():
            found[kind] |= {round(float(pts), 4) for pts, _ in packets}
    for place, kind in enumerate(kinds):
        lost = {round(float(pts), 4) for pts in whole[place]} - found[kind]
        assert not lost
