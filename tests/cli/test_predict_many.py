from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from cli.answers import Line, open_answers
from cli.app import app
from cli.errors import CommandError
from tests.cli.checkpoints import write_tiny_checkpoint
from tests.client.fake_server import FakeServer, fake_server
from tests.media import Picture, Sound, render

PREDICTION = b'{"status":200,"model":{"name":"activity","version":"1.0"},"segments":[],"activities":[]}'
NAMELESS = (
    b'{"file":[],"status":200,"asked":{"options":{},"words":true,"text":false,"model":"activity","version":null}}\n'
)
ERROR = b'{"status":422,"code":"undecodable_media","message":"no frame came [out]","remedy":"Send a whole file."}'


@pytest.fixture
def server() -> Iterator[FakeServer]:
    with fake_server() as fake:
        fake.body = PREDICTION
        yield fake


@pytest.fixture
def clips(tmp_path: Path) -> Path:
    folder = tmp_path / "clips"
    (folder / "more").mkdir(parents=True)
    for name in ("a.mp4", "b.wav", "more/c.mkv", ".hidden.mp4", "notes.pdf"):
        (folder / name).write_bytes(name.encode())
    (folder / "a.vtt").write_bytes(b"WEBVTT\n")
    return folder


def command(server: FakeServer, *arguments: object) -> list[str]:
    return ["predict", "--server", server.url, "--token", "key", *map(str, arguments)]


def predict(server: FakeServer, *arguments: object) -> Result:
    return CliRunner(env={"COLUMNS": "120"}).invoke(app, command(server, *arguments))


def read(path: Path) -> dict[str, Any]:
    lines = [json.loads(line) for line in path.read_bytes().splitlines()]
    assert max(Counter(line["file"] for line in lines).values()) == 1
    return {line["file"]: line for line in lines}


def test_a_folder_becomes_one_line_a_clip_with_the_answers_own_bytes(
    server: FakeServer, clips: Path, tmp_path: Path
) -> None:
    answers = tmp_path / "answers.jsonl"
    result = predict(server, clips, "--jobs", 3, "--options", '{"top_k": 3}', "-o", answers)
    assert result.exit_code == 0, result.stderr
    assert read(answers).keys() == {"clips/a.mp4", "clips/b.wav", "clips/more/c.mkv"}
    assert all(b'"answer":' + PREDICTION + b"}" in line for line in answers.read_bytes().splitlines())
    sent = {parts["video"][2]: parts for parts in (request.parts() for request in server.received)}
    assert sent[b"a.mp4"]["text"][2] == b"WEBVTT\n"
    assert "text" not in sent[b"b.wav"]
    assert "3 of 3 clips answered" in result.stderr


def test_what_has_a_line_is_not_asked_again_and_a_half_line_is(server: FakeServer, clips: Path, tmp_path: Path) -> None:
    answers = tmp_path / "answers.jsonl"
    assert predict(server, clips, "-o", answers).exit_code == 0
    whole = answers.read_bytes()
    for length in (len(whole) - 1, len(whole) - 30, whole.rindex(b"\n", 0, -1) + 4):
        answers.write_bytes(whole[:length])
        server.received.clear()
        result = predict(server, clips, "-o", answers)
        assert result.exit_code == 0
        is_whole_but_for_its_end = length == len(whole) - 1
        assert len(server.received) == (0 if is_whole_but_for_its_end else 1)
        assert ("was half written" in result.stderr) != is_whole_but_for_its_end
        assert answers.read_bytes() == whole


def test_a_line_that_the_disk_took_half_of_is_cut_off_before_another_follows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "answers.jsonl"
    with open_answers(path, {}) as answers:
        answers.append(Line("a", 200), PREDICTION)
        monkeypatch.setattr(os, "write", HalfWrites())
        with pytest.raises(OSError, match="No space"):
            answers.append(Line("b", 200), PREDICTION)
        monkeypatch.undo()
        answers.append(Line("c", 200), PREDICTION)
    assert read(path).keys() == {"a", "c"}


class HalfWrites:
    """A disk that has room for a hundred bytes more."""

    def __init__(self) -> None:
        self._write, self._left = os.write, 100

    def __call__(self, descriptor: int, content: bytes) -> int:
        if not self._left:
            raise OSError(errno.ENOSPC, "No space left on device")
        self._left -= (written := self._write(descriptor, content[: self._left]))
        return written


def test_lines_do_not_go_to_a_file_that_another_has_replaced(tmp_path: Path) -> None:
    path = tmp_path / "answers.jsonl"
    with open_answers(path, {}) as answers:
        path.rename(tmp_path / "moved.jsonl")
        with pytest.raises(CommandError, match="replaced or taken away"):
            answers.append(Line("a", 200), PREDICTION)
        path.write_bytes(b"")
        with pytest.raises(CommandError, match="replaced or taken away"):
            answers.append(Line("a", 200), PREDICTION)


def test_what_is_no_file_is_not_written_to(server: FakeServer, clips: Path, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    for name, words in (("pipe", "is no file"), ("clips", "is no file"), ("loop", "leads back to itself")):
        result = predict(server, clips, "-o", tmp_path / name)
        assert isinstance(result.exception, CommandError)
        assert words in str(result.exception)
    assert not server.received


def test_a_link_to_the_answers_stays_one(server: FakeServer, clips: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "answers.jsonl")
    server.status, server.body = 422, ERROR
    assert predict(server, clips / "a.mp4", "-o", tmp_path / "link").exit_code == 101
    server.status, server.body = 200, PREDICTION
    assert predict(server, clips / "a.mp4", "--retry", "-o", tmp_path / "link").exit_code == 0
    assert (tmp_path / "link").is_symlink()
    assert [line["status"] for line in read(tmp_path / "answers.jsonl").values()] == [200]


def test_words_beside_are_left_and_words_of_the_sound_are_asked_for(
    server: FakeServer, clips: Path, tmp_path: Path
) -> None:
    assert predict(server, clips / "a.mp4", "--no-words", "-o", tmp_path / "1.jsonl").exit_code == 0
    assert server.received[-1].body == b"a.mp4"
    assert (
        predict(server, clips / "a.mp4", clips / "b.wav", "--text", "auto", "-o", tmp_path / "2.jsonl").exit_code == 0
    )
    texts = {parts["video"][2]: parts["text"][2] for parts in (request.parts() for request in server.received[1:])}
    assert texts == {b"a.mp4": b"WEBVTT\n", b"b.wav": b"auto"}


def test_a_manifest_names_the_files(server: FakeServer, clips: Path, tmp_path: Path) -> None:
    manifest = clips / "manifest.jsonl"
    manifest.write_text('{"clip": "a.mp4", "text": "a.vtt", "audio": "b.wav", "label": "walk"}\n')
    assert predict(server, manifest, clips / "a.mp4", "-o", tmp_path / "answers.jsonl").exit_code == 0
    (request,) = server.received
    assert {name: part[2] for name, part in request.parts().items()} == {
        "video": b"a.mp4",
        "text": b"WEBVTT\n",
        "audio": b"b.wav",
    }


def test_failures_are_counted_listed_and_asked_for_again_when_wanted(
    server: FakeServer, clips: Path, tmp_path: Path
) -> None:
    answers = tmp_path / "answers.jsonl"
    assert predict(server, clips / "a.mp4", "-o", answers).exit_code == 0
    server.status, server.body = 422, ERROR
    for _ in range(2):
        result = predict(server, clips, "-o", answers)
        assert result.exit_code == 102
        assert len(server.received) == 3
        assert "2 clips failed:" in result.stderr
        assert "clips/b.wav: no frame came [out]" in result.stderr
    assert read(answers)["clips/b.wav"]["error"] == json.loads(ERROR)
    server.status, server.body = 200, PREDICTION
    assert predict(server, clips, "--retry", "-o", answers).exit_code == 0
    assert len(server.received) == 5
    assert [line["status"] for line in read(answers).values()] == [200] * 3


def test_other_options_another_model_and_another_file_are_refused(
    server: FakeServer, clips: Path, tmp_path: Path
) -> None:
    answers = tmp_path / "answers.jsonl"
    assert predict(server, clips / "a.mp4", "-o", answers).exit_code == 0
    before = answers.read_bytes()
    for changed, named in ((["--options", '{"top_k": 1}'], "options"), (["--version", "2.0"], "version")):
        result = predict(server, clips, *changed, "-o", answers)
        assert result.exit_code == 1
        assert f"another value of: {named}\n" in str(result.exception)
        assert "Write to another file with -o" in str(result.exception)
    server.body = PREDICTION.replace(b"1.0", b"2.0")
    result = predict(server, clips, "-o", answers)
    assert "was answered by activity 2.0, those before it by activity 1.0" in str(result.exception)
    assert answers.read_bytes() == before
    for content in (b'{"clip": "a.mp4"}\n', NAMELESS, b"some bytes", b"\x00\x01\n"):
        answers.write_bytes(content)
        assert "is no file of answers" in str(predict(server, clips, "-o", answers).exception)
        assert answers.read_bytes() == content


def test_what_every_clip_would_meet_ends_the_command_with_what_is_there_kept(
    server: FakeServer, clips: Path, tmp_path: Path
) -> None:
    server.status, server.body = 404, b'{"code":404,"type":"ModelNotFoundException","message":"Model not found"}'
    result = predict(server, clips, "-o", tmp_path / "answers.jsonl")
    assert result.exit_code == 1
    assert "Model not found" in str(result.exception)
    assert (tmp_path / "answers.jsonl").read_bytes() == b""


@pytest.mark.parametrize(
    "arguments", [["-o", "x"], ["missing", "-o", "x"], ["."], [__file__, "--audio", __file__, "-o", "x"]]
)
def test_a_wrong_command_ends_with_2(
    server: FakeServer, arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert predict(server, *arguments).exit_code == 2
    assert not Path("x").exists()


def start(server: FakeServer, *arguments: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "cli.app", *command(server, *arguments)], stderr=subprocess.PIPE, text=True
    )


def wait_for(server: FakeServer, count: int) -> None:
    until = time.monotonic() + 30
    while len(server.received) < count:
        assert time.monotonic() < until, "no request came"
        time.sleep(0.01)


def test_killed_at_any_moment_it_goes_on_and_asks_for_no_line_twice(
    server: FakeServer, clips: Path, tmp_path: Path
) -> None:
    answers = tmp_path / "answers.jsonl"
    for place in range(40):
        (clips / f"{place:02}.mp4").write_bytes(b"clip")
    for goal in (5, 20):
        server.received.clear()
        process = start(server, clips, "--jobs", 2, "-o", answers)
        wait_for(server, goal)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert process.returncode == -signal.SIGKILL
    lines = answers.read_bytes().splitlines()
    assert 2 <= len(lines) < 43
    server.received.clear()
    assert predict(server, clips, "--jobs", 2, "-o", answers).exit_code == 0
    assert len(server.received) == 43 - sum(line.endswith(b"}}") for line in lines)
    assert len(read(answers)) == 43


def test_ctrl_c_writes_what_is_in_flight_and_a_second_writer_is_refused(
    server: FakeServer, clips: Path, tmp_path: Path
) -> None:
    answers = tmp_path / "answers.jsonl"
    server.release.clear()
    process = start(server, clips, "--jobs", 2, "-o", answers)
    wait_for(server, 2)
    assert "another command is writing to" in str(predict(server, clips, "-o", answers).exception)
    process.send_signal(signal.SIGINT)
    assert process.stderr is not None
    while "Stopping" not in process.stderr.readline():
        pass
    server.release.set()
    _, said = process.communicate(timeout=30)
    assert process.returncode == 1
    assert "stopped after 2 of 3 clips" in said
    assert len(read(answers)) == len(server.received) == 2


def test_in_the_process_each_line_has_what_a_single_prediction_gives(tmp_path: Path) -> None:
    checkpoint = write_tiny_checkpoint(tmp_path / "tiny")
    clips = tmp_path / "clips"
    clips.mkdir()
    (clips / "a.mp4").write_bytes(render("mp4", Picture(num_frames=50), Sound(seconds=2.0)))
    (clips / "b.mp4").write_bytes(b"no media")
    local = ["--local", "--checkpoint", str(checkpoint)]
    answers = tmp_path / "answers.jsonl"
    result = CliRunner().invoke(app, ["predict", str(clips), *local, "--jobs", "2", "-o", str(answers)])
    assert result.exit_code == 101
    single = CliRunner().invoke(app, ["predict", str(clips / "a.mp4"), *local, "--format", "json"])
    assert b'"answer":' + single.stdout_bytes + b"}\n" in answers.read_bytes()
    assert read(answers)["clips/b.mp4"]["error"]["code"] == "undecodable_media"
    os.utime(checkpoint / "model.json")
    description = json.loads((checkpoint / "model.json").read_text())
    description["config"]["decision"] = {"threshold": 0.123}
    (checkpoint / "model.json").write_text(json.dumps(description))
    changed = CliRunner().invoke(app, ["predict", str(clips), *local, "-o", str(answers)])
    assert "another value of: checkpoint" in str(changed.exception)
