from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

import cli.long_files
from cli.app import app
from cli.errors import CommandError
from cli.long_files import LongFile, find_long_file, predict_long
from cli.timed_words import split_words
from client.cutting import Chunk
from client.errors import ServerUnreachable
from tests.cli.checkpoints import write_tiny_checkpoint
from tests.cli.stream_asker import StreamAsker
from tests.client.fake_stream import error
from tests.media import X264, Picture, Sound, render

PICTURE = Picture(num_frames=250, options=(*X264, ("g", "25")))


@pytest.fixture
def asker(monkeypatch: pytest.MonkeyPatch) -> StreamAsker:
    """Ten seconds are long, and a chunk has two."""
    monkeypatch.setattr(cli.long_files, "LONG_SECONDS", 5.0)
    monkeypatch.setattr(cli.long_files, "CHUNK_SECONDS", 2.0)
    asker = StreamAsker()
    asker.install(monkeypatch)
    return asker


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    path = tmp_path / "clips" / "long.mp4"
    path.parent.mkdir()
    path.write_bytes(render("mp4", PICTURE, Sound(seconds=10.0)))
    return path


def predict(*arguments: object) -> Result:
    return CliRunner(env={"COLUMNS": "120"}).invoke(app, ["predict", *map(str, arguments)])


def chunk(start: float, stop: float, *, last: bool = False) -> Chunk:
    return Chunk(b"", start, stop, last=last)


@pytest.mark.parametrize("shown", ["json", "ndjson", "vtt", "srt"])
def test_a_long_file_goes_in_chunks_and_comes_back_in_one_piece(asker: StreamAsker, clip: Path, shown: str) -> None:
    result = predict(clip, "--format", shown, "--options", '{"top_k": 2}')
    assert result.exit_code == 0, result.stderr
    spans = [asked["options"]["chunk"] for asked in asker.model.asked]
    assert [it.get("stop_seconds") for it in spans] == [2.0, 4.0, 6.0, 8.0, None]
    assert spans[-1]["last"]
    assert all(asked["options"].keys() == {"top_k", "chunk"} for asked in asker.model.asked)
    if shown == "json":
        assert json.loads(result.stdout)["segments"][0] == {
            "start_seconds": 0.0,
            "stop_seconds": 1.0,
            "label": "walk",
            "score": 0.9,
        }
    elif shown == "ndjson":
        assert [json.loads(line)["type"] for line in result.stdout.splitlines()][:2] == ["header", "segment"]
    else:
        assert "walk (90%)" in result.stdout
    assert "10 of 10 s" in result.stderr


def test_the_table_is_shown_too(asker: StreamAsker, clip: Path) -> None:
    result = predict(clip)
    assert "activity 1.0: 5 segments in 9.00 s" in result.stdout  # the model takes the last chunk for a second
    assert len(asker.model.asked) == 5


@pytest.mark.parametrize(
    "options",
    ['{"extras": ["explanation"]}', '{"extras": ["embedding"]}', '{"transcribe": true}', '{"stream": true}'],
)
def test_what_needs_the_whole_recording_is_one_request(asker: StreamAsker, clip: Path, options: str) -> None:
    predict(clip, "--options", options, "--format", "ndjson")
    assert len(asker.model.asked) == 1
    assert asker.model.asked[0]["video"] == clip.read_bytes()


@pytest.mark.usefixtures("asker")
def test_short_ones_unreadable_ones_and_several_media_are_one_request(tmp_path: Path) -> None:
    short, broken, long = tmp_path / "short.mp4", tmp_path / "broken.mp4", tmp_path / "long.mp4"
    short.write_bytes(render("mp4", Picture(num_frames=20)))
    broken.write_bytes(b"no media")
    long.write_bytes(render("mp4", PICTURE))
    assert find_long_file({"video": short}, {}, {}) is None
    assert find_long_file({"video": broken}, {}, {}) is None
    assert find_long_file({"video": long, "depth": long}, {}, {}) is None
    assert find_long_file({"video": long}, {"imu": b""}, {}) is None
    assert find_long_file({"video": long}, {"text": b"auto"}, {}) is None
    assert find_long_file({}, {"text": b"words"}, {}) is None
    assert find_long_file({"video": long}, {}, {"extras": ["windows"], "format": "vtt"}) is None
    assert find_long_file({"video": long}, {"text": b"words"}, {"extras": ["windows"]}) == LongFile(long, "video", 10.0)


def test_an_error_of_the_model_is_shown_like_that_of_one_request(asker: StreamAsker, clip: Path) -> None:
    asker.model.failures = [error(422, "undecodable_media")]
    result = predict(clip, "--format", "json")
    assert result.exit_code == 1
    assert json.loads(result.stdout)["code"] == "undecodable_media"
    assert "because of undecodable_media" in result.stderr


def test_a_stream_that_begins_anew_is_said(asker: StreamAsker, clip: Path) -> None:
    def roll_out(number: int) -> None:
        if number == 2:
            asker.model.version = "2.0"

    asker.before = roll_out
    result = predict(clip, "--format", "json")
    assert result.exit_code == 0
    assert "long.mp4: begun anew at 4.0 s (state_foreign)" in result.stderr


def test_ctrl_c_says_how_far_it_was(asker: StreamAsker, clip: Path) -> None:
    def interrupt(number: int) -> None:
        if number == 2:
            raise KeyboardInterrupt

    asker.before = interrupt
    result = predict(clip)
    assert isinstance(result.exception, CommandError)
    assert "stopped in long.mp4 after 4 of 10 s" in str(result.exception)


def test_in_a_folder_long_and_short_ones_each_have_their_line(asker: StreamAsker, clip: Path, tmp_path: Path) -> None:
    (clip.parent / "short.mp4").write_bytes(render("mp4", Picture(num_frames=20)))
    (clip.parent / "long.wav").write_bytes(render("wav", Sound("pcm_s16le", seconds=8.0)))
    (clip.parent / "long.vtt").write_text("WEBVTT\n\n00:01.000 --> 00:02.000\none\n\n00:05.000 --> 00:07.000\ntwo\n")
    answers = tmp_path / "answers.jsonl"
    assert predict(clip.parent, "--jobs", 2, "-o", answers).exit_code == 0
    lines = {line["file"]: line for line in map(json.loads, answers.read_text().splitlines())}
    assert set(lines) == {"clips/long.mp4", "clips/long.wav", "clips/short.mp4"}
    assert lines["clips/long.mp4"]["answer"]["segments"][0]["label"] == "walk"
    assert lines["clips/short.mp4"]["answer"]["single"]
    texts = [asked["text"] for asked in asker.model.asked if "text" in asked]
    assert len(texts) >= 2
    assert len(set(texts)) == 2


def test_in_a_folder_a_stop_is_looked_for_between_chunks(asker: StreamAsker, clip: Path) -> None:
    stopped = threading.Event()
    asker.before = lambda number: stopped.set() if number == 1 else None
    long = LongFile(clip, "video", 10.0)
    with pytest.raises(CommandError, match=r"stopped in long\.mp4 after 4 of 10 s"):
        predict_long(long, asker, {}, {}, stopped=stopped)
    assert len(asker.model.asked) == 2


def test_nobody_there_ends_the_command(asker: StreamAsker, clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("client.patience.UNREACHABLE_SECONDS", 0.0)
    asker.model.failures = [ServerUnreachable("nobody listens", remedy="Start one.")] * 9
    result = predict(clip)
    assert isinstance(result.exception, ServerUnreachable)


@pytest.mark.parametrize("options", ["{}", '{"extras": ["windows"], "top_k": 2}'])
def test_in_the_process_the_answer_is_that_of_one_request_to_the_byte(
    clip: Path, tmp_path: Path, options: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    local = ("--local", "--checkpoint", write_tiny_checkpoint(tmp_path / "tiny"), "--options", options)
    for shown in ("json", "ndjson" if "extras" in options else "vtt"):
        single = predict(clip, *local, "--format", shown)
        with monkeypatch.context() as patch:
            patch.setattr(cli.long_files, "LONG_SECONDS", 5.0)
            patch.setattr(cli.long_files, "CHUNK_SECONDS", 3.0)
            long = predict(clip, *local, "--format", shown)
        assert "10 of 10 s" in long.stderr
        assert long.stdout_bytes == single.stdout_bytes


def test_each_cue_goes_once_with_the_chunk_that_it_begins_in() -> None:
    cues = ("00:05.000 --> 01:01:07.500\nb &amp; &lt;c", "00:01.000 --> 00:09.000\na", "00:30.000 --> 00:31.000\nz")
    words = split_words("\n\n".join(("WEBVTT", *cues)).encode())
    assert words.take(chunk(0, 4)) == b"WEBVTT\n\n00:00:01.000 --> 00:00:09.000\na\n"
    assert words.take(chunk(4, 6)) == b"WEBVTT\n\n00:00:05.000 --> 01:01:07.500\nb &amp; &lt;c\n"
    assert words.take(chunk(6, 8)) is None
    assert words.take(chunk(8, 10, last=True)) == b"WEBVTT\n\n00:00:30.000 --> 00:00:31.000\nz\n"


@pytest.mark.parametrize("text", [b"a hand waves", b"\xff\xfe"])
def test_words_without_times_go_with_every_chunk_as_they_are(text: bytes) -> None:
    words = split_words(text)
    assert [words.take(chunk(0, 2)), words.take(chunk(2, 4, last=True))] == [text, text]
    assert split_words(None).take(chunk(0, 2)) is None


def test_no_part_of_a_request_is_read_before_it_is_sent(asker: StreamAsker, clip: Path) -> None:
    read: list[Any] = []
    original = Path.read_bytes

    def read_bytes(path: Path) -> bytes:
        read.append(path)
        return original(path)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Path, "read_bytes", read_bytes)
        assert predict(clip).exit_code == 0
    assert clip not in read
    assert len(asker.model.asked) == 5
