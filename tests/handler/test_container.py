"""Opening untrusted bytes: streams, spans, limits, and what must never be opened."""

from __future__ import annotations

import ctypes
import re
import resource
import struct
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from av.container import InputContainer

from handler.audio import decode_waveform
from handler.container import MAX_ALLOCATION_BYTES, open_container, open_untrusted
from handler.errors import ActivityError, LimitExceeded, UndecodableMedia, UnsupportedMedia
from handler.limits import Limits
from handler.video import decode_frames
from tests.media import X264, X264_B_FRAMES, Picture, Sound, gif, overwrite, png, render, with_cover

LIMITS = Limits()
H264 = Picture(options=X264)
SDP = (
    b"v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=x\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n"
    b"m=video 5004 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\n"
)


def spans(data: bytes) -> tuple[float, ...]:
    with open_container(data, LIMITS) as container:
        assert container.video is not None
        assert container.audio is not None
        video, audio = container.video.span, container.audio.span
        return video.start_seconds, video.stop_seconds, audio.start_seconds, audio.stop_seconds


def test_streams_are_described() -> None:
    with open_container(render("mp4", H264, Sound(channels=2)), LIMITS) as container:
        assert container.video is not None
        assert container.audio is not None
        assert (container.video.codec, container.video.width, container.video.height) == ("h264", 64, 48)
        assert (container.audio.codec, container.audio.sample_rate, container.audio.channels) == ("aac", 16_000, 2)
        assert len(container.video.packets.items) == 40
        assert container.video.packets.is_exact


@pytest.mark.parametrize(
    ("format_name", "picture", "sound", "tolerance"),
    [
        ("mp4", Picture(options=X264_B_FRAMES), Sound(), 1e-9),
        ("mov", Picture(codec="mjpeg", pix_fmt="yuvj420p"), Sound(codec="pcm_s16le"), 1e-9),
        ("matroska", Picture(codec="ffv1"), Sound(codec="flac"), 0.001),
    ],
)
def test_spans_are_exact_and_leave_out_the_encoder_delay(
    format_name: str, picture: Picture, sound: Sound, tolerance: float
) -> None:
    assert spans(render(format_name, picture, sound)) == pytest.approx((0.0, 1.6, 0.0, 1.6), abs=tolerance)


@pytest.mark.parametrize(
    ("format_name", "sound"),
    [
        ("mp3", Sound(codec="libmp3lame", rate=44_100)),  # its delay of 1105 samples reaches into the second packet
        ("mp3", Sound(codec="libmp3lame", rate=16_000)),
        ("ogg", Sound(codec="libopus", rate=48_000)),
        ("webm", Sound(codec="libopus", rate=48_000)),
        ("wav", Sound(codec="pcm_s24le", rate=22_050)),
    ],
)
def test_spans_of_sound_alone_are_those_of_what_was_encoded(format_name: str, sound: Sound) -> None:
    with open_container(render(format_name, sound), LIMITS) as container:
        span = container.span
    assert (span.start_seconds, span.stop_seconds) == pytest.approx((0.0, 1.6), abs=0.001)  # Matroska's milliseconds


def test_a_later_start_and_a_variable_rate() -> None:
    pts = (2_000, 2_040, 2_300, 2_310, 2_900)
    picture = Picture(codec="ffv1", num_frames=5, pts_ms=pts)
    with open_container(render("matroska", picture), LIMITS) as container:
        assert container.video is not None
        packets = container.video.packets
        assert packets.seconds(packets.pts).tolist() == [2.0, 2.04, 2.3, 2.31, 2.9]
        assert container.span.start_seconds == 2.0
        assert container.span.stop_seconds == pytest.approx(2.94)  # the last frame lasts one nominal frame


def test_the_container_spans_both_streams() -> None:
    data = render(
        "matroska", Picture(codec="ffv1", num_frames=20, pts_ms=tuple(range(500, 1_300, 40))), Sound(codec="flac")
    )
    with open_container(data, LIMITS) as container:
        assert container.span.start_seconds == 0.0
        assert container.span.stop_seconds == pytest.approx(1.6, abs=0.001)


def test_one_modality_alone() -> None:
    with open_container(render("wav", Sound(codec="pcm_s16le")), LIMITS) as container:
        assert container.video is None
        assert container.audio is not None
    with open_container(render("mp4", H264), LIMITS) as container:
        assert container.video is not None
        assert container.audio is None


def test_what_an_edit_list_cuts_is_not_shown() -> None:
    data = render("mp4", Picture(options=(*X264, ("g", "250"))))
    timescale = 12_800  # ticks a second of the track
    data = overwrite(data, b"elst", 12, struct.pack(">i", 10 * timescale // 25))  # begin with frame 10
    with open_container(data, LIMITS) as container:
        assert container.video is not None
        packets = container.video.packets
        assert np.flatnonzero(~packets.is_shown).tolist() == list(range(10))
        assert container.span.start_seconds == 0.0
        assert container.span.stop_seconds == pytest.approx(1.2)


def test_a_guessed_order_is_not_exact() -> None:
    for codec, options, exact in (("mpeg4", (("bf", "2"),), False), ("mpeg4", (), True), ("mjpeg", (), True)):
        picture = Picture(codec=codec, options=options, pix_fmt="yuvj420p" if codec == "mjpeg" else "yuv420p")
        with open_container(render("avi", picture), LIMITS) as container:
            assert container.video is not None
            assert container.video.packets.is_exact is exact


def test_a_cover_picture_is_no_video() -> None:
    data = with_cover(render("mp3", Sound(codec="libmp3lame")), png(6_000, 6_000))
    with open_container(data, LIMITS) as container:
        assert container.video is None
        assert container.audio is not None
        assert container.audio.codec == "mp3float"


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b"", UndecodableMedia),
        (b"hello, world", UndecodableMedia),
        (bytes(range(256)) * 64, UndecodableMedia),
        (render("mp4", H264)[:600], UndecodableMedia),
        (b"ffconcat version 1.0\nfile clip.mp4\n", UnsupportedMedia),
        (SDP, UnsupportedMedia),
        (b"#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\nclip.mp4\n", ActivityError),
        (png(8, 8), UnsupportedMedia),
    ],
    ids=["empty", "text", "noise", "cut", "ffconcat", "sdp", "m3u8", "png"],
)
def test_what_is_no_media_is_refused(data: bytes, error: type[ActivityError]) -> None:
    with pytest.raises(error) as caught:
        open_container(data, LIMITS)
    assert caught.value.status in {413, 415, 422}


def test_a_playlist_reads_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "clip.mp4").write_bytes(render("mp4", H264))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UnsupportedMedia, match="the container is not one of those allowed: mov"):
        open_container(b"ffconcat version 1.0\nfile clip.mp4\n", LIMITS)


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        (Limits(max_bytes=1_000), r"the media part has \d+ bytes, the limit is 1000"),
        (Limits(max_streams=1), "the file has 2 streams, the limit is 1"),
        (Limits(max_packets=50), "the file has 51 packets or more, the limit is 50"),
        (Limits(max_duration_seconds=1.0), r"the clip lasts 1\.\d+ s or more, the limit is 1 s"),
    ],
)
def test_limits_say_the_value_and_the_limit(limits: Limits, message: str) -> None:
    with pytest.raises(LimitExceeded, match=message):
        open_container(render("mp4", H264, Sound()), limits)


def test_a_recording_that_is_too_long_is_told_of_streams() -> None:
    for limits, remedy in (
        (Limits(max_duration_seconds=1.0, max_streamed_seconds=90.0), r'by REST, .* \{"stream": true\} .* up to 90 s'),
        (Limits(max_duration_seconds=1.0, max_streamed_seconds=1.0), r"or the recording in chunks\.$"),
    ):
        with pytest.raises(LimitExceeded) as caught:
            open_container(render("mp4", H264, Sound()), limits)
        assert re.search(remedy, caught.value.remedy)


def test_a_gap_between_picture_and_sound_counts_as_duration() -> None:
    picture = Picture(codec="ffv1", num_frames=5, pts_ms=tuple(range(50_000, 50_200, 40)))
    with pytest.raises(LimitExceeded, match=r"the clip lasts 5\d\.\d+ s or more, the limit is 40 s"):
        open_container(render("matroska", picture, Sound(codec="flac")), Limits(max_duration_seconds=40.0))


def test_the_stream_with_an_allowed_codec_is_preferred() -> None:
    other = Picture(codec="png", pix_fmt="rgb24", width=96, height=96)
    for streams, codec in (((other, H264), "h264"), ((H264, other), "h264"), ((other,), "png")):
        with open_container(render("mov", *streams), LIMITS) as container:
            assert container.video is not None
            assert container.video.codec == codec
            assert len(container.video.packets.items) == 40


def test_ffmpeg_gets_no_large_allocation() -> None:
    maps = Path("/proc/self/maps").read_text(encoding="utf-8")
    library = next(line.split(maxsplit=5)[5] for line in maps.splitlines() if "/libavutil" in line)
    avutil = ctypes.CDLL(library)
    avutil.av_malloc.restype = ctypes.c_void_p
    avutil.av_free.argtypes = [ctypes.c_void_p]
    assert avutil.av_malloc(ctypes.c_size_t(MAX_ALLOCATION_BYTES + 1)) is None
    allowed = avutil.av_malloc(ctypes.c_size_t(MAX_ALLOCATION_BYTES // 2))
    assert allowed is not None
    avutil.av_free(allowed)


def test_a_table_of_fifty_million_samples_takes_no_memory() -> None:
    data = render("mp4", H264)
    data = overwrite(data, b"stsz", 4, struct.pack(">II", 1, 50_000_000))
    data = overwrite(data, b"stts", 8, struct.pack(">I", 50_000_000))
    data = overwrite(data, b"stsc", 12, struct.pack(">I", 50_000_000))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ActivityError) as caught:
        open_container(data, LIMITS)
    assert caught.value.status in {413, 422}
    grown_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown_kib < 300 * 1024  # plain PyAV takes 1.8 GB


def test_a_gif_of_many_huge_frames_opens_without_decoding_them() -> None:
    with open_container(gif(16_000, 16_000, 2_000), LIMITS) as container:
        assert container.video is not None
        assert len(container.video.packets.items) == 2_000


def test_files_are_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    opened = []

    def remember(data: bytes, formats: Sequence[str], options: dict[str, str]) -> InputContainer:
        opened.append(open_untrusted(data, formats, options))
        return opened[-1]

    monkeypatch.setattr("handler.container.open_untrusted", remember)
    with pytest.raises(ZeroDivisionError), open_container(render("mp4", H264), LIMITS):
        raise ZeroDivisionError
    with pytest.raises(LimitExceeded):
        open_container(render("mp4", H264), Limits(max_packets=5))
    assert [bool(file.input_was_opened) for file in opened] == [False, False]


MUTATED = (
    render("mp4", Picture(options=X264_B_FRAMES), Sound()),
    render("webm", Picture(codec="libvpx", options=(("deadline", "realtime"),)), Sound(codec="libopus", rate=48_000)),
    render("mpegts", H264, Sound()),
    render("avi", Picture(codec="mpeg4"), Sound(codec="libmp3lame")),
    render("matroska", Picture(codec="ffv1"), Sound(codec="flac")),
    render("gif", Picture(codec="gif", pix_fmt="rgb8")),
    render("wav", Sound(codec="pcm_f32le")),
    render("ogg", Sound(codec="libopus", rate=48_000)),
)


def outcome(data: bytes) -> str:
    """What becomes of a file; every error is one of ours and tells nothing of our insides."""
    limits = Limits(max_frame_pixels=500_000, max_duration_seconds=60.0)
    try:
        with open_container(data, limits) as container:
            usable = []
            for name, decode in (
                ("video", lambda: decode_frames(container, np.linspace(0.0, 1.6, 4), 16, limits)),
                ("audio", lambda: decode_waveform(container, 16_000, limits)),
            ):
                try:
                    decode()
                    usable.append(name)
                except ActivityError as error:
                    check_message(error)
            return "+".join(usable)
    except ActivityError as error:
        check_message(error)
        return error.code


def check_message(error: ActivityError) -> None:
    for text in (error.message, error.remedy):
        assert re.search(r"/|\\|Error|Exception|Errno|\bav\.|0x|<", text) is None
        assert text.isprintable()


def test_spoilt_files_give_what_they_can_or_our_errors() -> None:
    random = np.random.default_rng(20)
    outcomes = Counter(outcome(spoil(MUTATED[round_ % len(MUTATED)], random)) for round_ in range(240))
    assert outcomes["video+audio"] > 40
    assert outcomes["undecodable_media"] > 10
    assert sum(outcomes[name] for name in ("video", "audio")) > 40


def spoil(data: bytes, random: np.random.Generator) -> bytes:
    """Change some bytes, half the time near the beginning, where the headers are, and sometimes cut the file."""
    spoilt = bytearray(data)
    reach = len(spoilt) if random.random() < 0.5 else min(len(spoilt), 1_500)
    for place in random.integers(0, reach, random.choice([1, 3, 10, 60])):
        spoilt[place] = random.choice([0, 127, 255, int(random.integers(256))])
    return bytes(spoilt[: random.integers(1, len(spoilt))] if random.random() < 0.25 else spoilt)
