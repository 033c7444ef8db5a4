from __future__ import annotations

import io
import json
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from time import process_time
from typing import Any

import av
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from typer.testing import CliRunner, Result

from cli.app import app
from cli.errors import CommandError
from cli.overlay import COLOURS, Overlay
from handler.container import open_container
from handler.limits import Limits
from tests.cli.checkpoints import write_tiny_checkpoint
from tests.client.fake_server import fake_server
from tests.media import Picture, Sound, real_media, render, with_display_matrix

SEGMENT = {"start_seconds": 0.4, "stop_seconds": 1.0, "label": "wave", "score": 0.93}
ANSWER: dict[str, Any] = {"start_seconds": 0.0, "duration_seconds": 1.6, "segments": [SEGMENT], "activities": []}


def burn(tmp_path: Path, clip: bytes, answer: dict[str, Any] = ANSWER) -> Path:
    (tmp_path / "clip").write_bytes(clip)
    (tmp_path / "answer.json").write_text(json.dumps(answer))
    output = tmp_path / "out" / "labelled.mp4"
    result = invoke(tmp_path / "clip", "--answer", tmp_path / "answer.json", "-o", output)
    assert result.exit_code == 0, (result.stderr, result.exception)
    assert [path.name for path in output.parent.iterdir()] == ["labelled.mp4"]
    return output


def invoke(*arguments: object) -> Result:
    return CliRunner(env={"COLUMNS": "120"}).invoke(app, ["render", *map(str, arguments)])


def frames(path: Path | bytes) -> Iterator[tuple[Fraction, NDArray[np.uint8]]]:
    """When each frame is shown, and its ``(H, W, 3)`` pixels."""
    source: Any = str(path) if isinstance(path, Path) else io.BytesIO(path)
    with av.open(source, "r") as opened:
        for frame in opened.decode(video=0):
            assert frame.pts is not None
            assert frame.time_base is not None
            yield frame.pts * frame.time_base, np.asarray(frame.to_ndarray(format="rgb24"), dtype=np.uint8)


def has_colour(pixels: NDArray[np.uint8], colour: tuple[int, int, int]) -> bool:
    distance = np.abs(pixels.astype(int) - np.array(colour)).max(axis=2)
    return bool((distance < 30).sum() > 20)


def test_a_label_stands_on_the_picture_where_its_segment_is_and_nowhere_else(tmp_path: Path) -> None:
    clip = render("mp4", Picture(width=320, height=240, num_frames=40))
    shown = list(frames(burn(tmp_path, clip)))
    assert len(shown) == 40
    for time, pixels in shown:
        seconds = float(time)
        box = pixels[:40, :120]
        assert has_colour(box, COLOURS[0]) == (0.4 <= seconds < 1.0), seconds
        assert has_colour(pixels[240:], COLOURS[0])  # the strip has the segment all the time
    (_, first), (_, last) = shown[0], shown[-1]
    assert not np.array_equal(first[240:], last[240:])  # and a line that moves
    original = [pixels for _, pixels in frames(clip)]
    assert np.abs(shown[3][1][60:240].astype(int) - original[3][60:]).mean() < 3


@pytest.mark.parametrize(
    "segment",
    [3, {}, SEGMENT | {"score": None}, SEGMENT | {"label": 3}, SEGMENT | {"start_seconds": float("nan")}],
    ids=["a number", "empty", "no score", "a label that is a number", "a time that is none"],
)
def test_an_answer_with_a_broken_segment_is_said_to_be_none(tmp_path: Path, segment: Any) -> None:
    (tmp_path / "clip").write_bytes(b"never decoded")
    (tmp_path / "answer.json").write_text(json.dumps(ANSWER | {"segments": [segment]}))
    result = invoke(tmp_path / "clip", "--answer", tmp_path / "answer.json", "-o", tmp_path / "labelled.mp4")
    assert isinstance(result.exception, CommandError)
    assert "no JSON answer" in str(result.exception)


@pytest.mark.parametrize("label", ["two\nlines", "nothing\0", "half \ud800", "", "long " * 20_000])
def test_any_label_can_be_drawn(tmp_path: Path, label: str) -> None:
    began = process_time()
    answer = ANSWER | {"segments": [SEGMENT | {"label": label}]}
    assert len(list(frames(burn(tmp_path, render("mp4", Picture(num_frames=20)), answer)))) == 20
    assert process_time() - began < 20


@pytest.mark.parametrize("aspect", [Fraction(255), Fraction(1, 255)])
def test_pixels_of_a_form_that_none_have_are_square(tmp_path: Path, aspect: Fraction) -> None:
    target = io.BytesIO()
    with av.open(target, "w", format="matroska") as opened:
        stream: Any = opened.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt, stream.sample_aspect_ratio = 320, 240, "yuv420p", aspect
        frame = av.VideoFrame.from_ndarray(np.zeros((240, 320, 3), np.uint8), format="rgb24")
        opened.mux(stream.encode(frame))
        opened.mux(stream.encode())
    (_, pixels), *_ = frames(burn(tmp_path, target.getvalue()))
    assert pixels.shape[1] == 320


def test_another_commands_draft_is_left_alone(tmp_path: Path) -> None:
    clip = tmp_path / ".labelled.mp4.draft"
    clip.write_bytes(render("mp4", Picture(num_frames=3)))
    (tmp_path / "answer.json").write_text(json.dumps(ANSWER))
    assert invoke(clip, "--answer", tmp_path / "answer.json", "-o", tmp_path / "labelled.mp4").exit_code == 0
    assert clip.exists()


@pytest.mark.parametrize(
    ("container", "picture"),
    [
        ("mp4", Picture(width=64, height=48)),
        ("mp4", Picture(pts_ms=(0, 40, 50, 300, 333, 900, 1500), num_frames=7)),
        ("matroska", Picture(pts_ms=(700, 711, 950, 1600), num_frames=4)),
        ("mp4", Picture(pts_ms=(2500, 2540, 2600), num_frames=3)),
        ("mpegts", Picture(num_frames=10)),
        ("webm", Picture(codec="libvpx-vp9", width=97, height=61, num_frames=8)),
        ("avi", Picture(codec="mpeg4", num_frames=10)),
        ("gif", Picture(codec="gif", pix_fmt="rgb8", num_frames=5, rate=10)),
    ],
)
def test_frames_keep_their_times(tmp_path: Path, container: str, picture: Picture) -> None:
    clip = render(container, picture)
    before, after = [time for time, _ in frames(clip)], [time for time, _ in frames(burn(tmp_path, clip))]
    assert before == after
    with open_container(clip, Limits()) as source, open_container(burn(tmp_path, clip).read_bytes(), Limits()) as made:
        assert made.video is not None
        assert source.video is not None
        assert made.video.codec == "h264"
        assert made.video.span.stop_seconds == pytest.approx(source.video.span.stop_seconds, abs=0.011)


@pytest.mark.parametrize(("width", "height"), [(64, 48), (97, 61), (321, 241), (2, 300), (640, 2)])
def test_any_size_gets_an_even_frame_with_room_for_words(tmp_path: Path, width: int, height: int) -> None:
    clip = render("matroska", Picture(codec="ffv1", width=width, height=height, num_frames=2, pix_fmt="bgr0"))
    _, pixels = next(frames(burn(tmp_path, clip)))
    assert pixels.shape[0] % 2 == pixels.shape[1] % 2 == 0
    assert pixels.shape[1] >= 320


def test_a_turned_picture_is_upright(tmp_path: Path) -> None:
    clip = render("mp4", Picture(width=320, height=200, num_frames=40))
    turned = with_display_matrix(clip, (0, 1, -1, 0))
    pixels = list(frames(burn(tmp_path, turned)))[30][1]
    shown = pixels[:640, :400]  # 200 x 320, twice as wide for the words
    source = np.rot90(list(frames(clip))[30][1], -1).repeat(2, 0).repeat(2, 1)
    assert np.abs(shown[80:].astype(int) - source[80:]).mean() < 3


@pytest.mark.parametrize(
    ("container", "sound", "is_copied"),
    [
        ("mp4", Sound(rate=44_100, channels=2), True),
        ("mpegts", Sound(), False),
        ("matroska", Sound(codec="libopus", rate=48_000), False),
        ("matroska", Sound(codec="flac", rate=44_100, channels=6), False),
        ("matroska", Sound(codec="pcm_s16le", pts_ms=(500, *range(1000, 2500, 100))), False),
    ],
)
def test_the_sound_stays_where_it_was(tmp_path: Path, container: str, sound: Sound, is_copied: bool) -> None:
    clip = render(container, Picture(), sound)
    with open_container(clip, Limits()) as source, open_container(burn(tmp_path, clip).read_bytes(), Limits()) as made:
        assert source.audio is not None
        assert made.audio is not None
        assert made.audio.codec == "aac"
        assert made.audio.span.start_seconds == pytest.approx(source.audio.span.start_seconds, abs=0.065)
        assert made.audio.span.stop_seconds == pytest.approx(source.audio.span.stop_seconds, abs=0.05)
        before, after = ([bytes(packet) for packet in it.audio.packets.items] for it in (source, made) if it.audio)
        assert (before == after) == is_copied


def test_a_gap_in_the_sound_is_silence(tmp_path: Path) -> None:
    sound = Sound(codec="pcm_s16le", pts_ms=(0, 100, 200, *range(1200, 2500, 100)))
    with av.open(str(burn(tmp_path, render("matroska", Picture(), sound)))) as opened:
        blocks = [(frame.time or 0.0, float(np.abs(frame.to_ndarray()).max())) for frame in opened.decode(audio=0)]
    assert max(level for time, level in blocks if 0.45 < time < 1.0) < 0.02
    assert min(level for time, level in blocks if 1.3 < time < 2.2) > 0.3


@pytest.mark.parametrize(("container", "codec"), [("wav", "pcm_s16le"), ("mp3", "libmp3lame"), ("ogg", "libopus")])
def test_a_sound_gets_a_plain_picture(tmp_path: Path, container: str, codec: str) -> None:
    rate = 48_000
    output = burn(tmp_path, render(container, Sound(codec=codec, rate=rate)))
    shown = list(frames(output))
    assert [float(time) for time, _ in shown] == pytest.approx([0.1 * place for place in range(len(shown))])
    assert len(shown) == pytest.approx(16, abs=1)
    for time, pixels in shown:
        seconds = float(time)
        assert has_colour(pixels[:60, :160], COLOURS[0]) == (0.4 <= seconds < 1.0)
    with open_container(output.read_bytes(), Limits()) as made:
        assert made.audio is not None
        assert made.audio.span.duration_seconds == pytest.approx(1.6, abs=0.06)


def test_overlapping_segments_have_lanes_and_a_box_each() -> None:
    times = ((0.0, 1.0), (0.2, 1.6), (1.0, 1.6))
    segments = [
        {"start_seconds": start, "stop_seconds": stop, "label": f"label {place} " * (1 + 20 * place), "score": 0.5}
        for place, (start, stop) in enumerate(times)
    ]
    overlay = Overlay({**ANSWER, "segments": segments}, (400, 300))
    assert overlay.layout.num_lanes == 2
    one, two = (np.asarray(overlay.draw(Image.new("RGB", (400, 300)), seconds)) for seconds in (0.1, 0.5))
    assert [has_colour(one, colour) for colour in COLOURS[:3]] == [True] * 3
    assert [has_colour(one[:300], colour) for colour in COLOURS[:2]] == [True, False]
    assert [has_colour(two[:300], colour) for colour in COLOURS[:2]] == [True, True]


def test_the_model_in_the_process_and_a_server_are_asked_as_by_predict(tmp_path: Path) -> None:
    clip = tmp_path / "clip.mp4"
    clip.write_bytes(render("mp4", Picture(num_frames=50)))
    checkpoint = write_tiny_checkpoint(tmp_path / "tiny")
    result = invoke(clip, "--local", "--checkpoint", checkpoint, "-o", tmp_path / "a.mp4")
    assert result.exit_code == 0, result.exception
    assert len(list(frames(tmp_path / "a.mp4"))) == 50
    with fake_server() as server:
        server.body = json.dumps({**ANSWER, "status": 200}).encode()
        options = ["--options", '{"top_k": 1}', "--text", __file__, "-o", tmp_path / "b.mp4"]
        assert invoke(clip, "--server", server.url, *options).exit_code == 0
        assert server.received[0].parts().keys() == {"video", "text", "options"}
        server.status, server.body = 422, b'{"status":422,"code":"undecodable_media","message":"no","remedy":"do"}'
        failed = invoke(clip, "--server", server.url, "-o", tmp_path / "c.mp4")
    assert failed.exit_code == 1
    assert str(failed.exception) == "undecodable_media: no\ndo"
    assert not (tmp_path / "c.mp4").exists()


def test_what_cannot_be_rendered_is_said_and_leaves_nothing(tmp_path: Path) -> None:
    broken, answer, output = tmp_path / "clip.mp4", tmp_path / "answer.json", tmp_path / "o.mp4"
    broken.write_bytes(b"no media")
    answer.write_text(json.dumps(ANSWER))
    assert "do not open as a media file" in str(invoke(broken, "--answer", answer, "-o", output).exception)
    assert "is no JSON answer" in str(invoke(broken, "--answer", broken, "-o", output).exception)
    assert "there is no file" in str(invoke(tmp_path / "none.mp4", "-o", output).exception)
    for wrong in (broken, tmp_path / "o.webm"):
        assert invoke(broken, "--answer", answer, "-o", wrong).exit_code == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["answer.json", "clip.mp4"]


@pytest.mark.parametrize("path", [path for path in real_media() if path.name in {"bento.mp4", "video_90.mov"}], ids=str)
def test_real_clips_keep_their_times(tmp_path: Path, path: Path) -> None:
    clip = path.read_bytes()
    assert [time for time, _ in frames(burn(tmp_path, clip))] == [time for time, _ in frames(clip)]


def test_a_clock_that_counts_from_long_ago_begins_at_0(tmp_path: Path) -> None:
    start = 1_700_000_000
    times = (0, 40, 500, 940)
    picture = Picture(width=320, height=240, pts_ms=tuple(start * 1000 + time for time in times), num_frames=4)
    sound = Sound(codec="pcm_s16le", pts_ms=tuple(range(start * 1000 + 100, start * 1000 + 1700, 100)))
    segment = {**SEGMENT, "start_seconds": start + 0.4, "stop_seconds": start + 0.6}
    answer = {**ANSWER, "start_seconds": start, "segments": [segment]}
    output = burn(tmp_path, render("matroska", picture, sound), answer)
    shown = list(frames(output))
    assert [round(float(time) * 1000) for time, _ in shown] == list(times)
    assert [has_colour(pixels[:40, :120], COLOURS[0]) for _, pixels in shown] == [False, False, True, False]
    with open_container(output.read_bytes(), Limits()) as made:
        assert made.audio is not None
        assert made.audio.span.start_seconds == pytest.approx(0.1, abs=0.065)
