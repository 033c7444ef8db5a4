from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner, Result

from cli.app import app
from cli.predict import Format, read_options, read_whole_options
from tests.cli.checkpoints import write_tiny_checkpoint
from tests.client.fake_server import FakeServer, fake_server
from tests.media import Picture, Sound, render

PREDICTION = (
    b'{"status":200,"model":{"name":"activity","version":"1.0"},"start_seconds":0.0,"duration_seconds":2.0,'
    b'"modalities":{"video":{"used":true}},"activities":[{"label":"walk","score":0.9}],'
    b'"segments":[{"start_seconds":0.0,"stop_seconds":2.0,"label":"walk","score":0.9}]}'
)
ERROR = b'{"status":422,"code":"undecodable_media","message":"no frame came [out]","remedy":"Send a whole file."}'


@pytest.fixture
def server() -> Iterator[FakeServer]:
    with fake_server() as fake:
        fake.body = PREDICTION
        yield fake


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    path = tmp_path / "clip with space.mp4"
    path.write_bytes(b"clip")
    return path


def predict(server: FakeServer, *arguments: object) -> Result:
    command = ["predict", "--server", server.url, "--token", "key", *map(str, arguments)]
    return CliRunner(env={"COLUMNS": "120"}).invoke(app, command)


@pytest.mark.parametrize("shown", ["json", "ndjson", "vtt", "srt"])
def test_the_servers_bytes_go_out_as_they_came(server: FakeServer, clip: Path, shown: str) -> None:
    server.body = PREDICTION if shown == "json" else b"WEBVTT\r\n\xff\n"
    server.content_type = "application/json" if shown == "json" else "text/vtt"
    result = predict(server, clip, "--format", shown)
    assert result.exit_code == 0
    assert result.stdout_bytes == server.body


def test_the_table_shows_label_and_time(server: FakeServer, clip: Path) -> None:
    result = predict(server, clip)
    assert result.exit_code == 0
    assert "activity 1.0: 1 segment in 2.00 s" in result.stdout
    assert "walk" in result.stdout
    assert server.received[0].body == b"clip"
    assert server.received[0].headers["authorization"] == "Bearer key"


def test_a_picture_a_row_a_depth_and_named_parts_are_sent(server: FakeServer, tmp_path: Path) -> None:
    for name in ("image", "tabular", "depth", "imu", "gaze"):
        (tmp_path / name).write_bytes(name.encode())
    options = [item for name in ("image", "tabular", "depth") for item in (f"--{name}", tmp_path / name)]
    named = [item for name in ("imu", "gaze") for item in ("--part", f"{name}={tmp_path / name}")]
    assert predict(server, *options, *named).exit_code == 0
    parts = {name: body for name, (_, _, body) in server.received[0].parts().items()}
    assert parts == {name: name.encode() for name in ("image", "tabular", "depth", "imu", "gaze")}


@pytest.mark.parametrize("pair", ["imu", "=file", "imu=", "imu=/no/such/file"])
def test_a_named_part_needs_a_name_and_a_file(server: FakeServer, pair: str) -> None:
    result = predict(server, "--part", pair)
    assert result.exit_code == 2
    assert "--part" in result.stderr
    assert not server.received


def test_every_part_is_sent_with_the_options(server: FakeServer, clip: Path, tmp_path: Path) -> None:
    sound, words = tmp_path / "sound.wav", tmp_path / "words.vtt"
    sound.write_bytes(b"sound")
    words.write_bytes(b"WEBVTT\n")
    result = predict(server, clip, "--audio", sound, "--text", words, "--options", '{"top_k": 3}', "--format", "srt")
    assert result.exit_code == 0
    parts = {name: body for name, (_, _, body) in server.received[0].parts().items()}
    assert json.loads(parts.pop("options")) == {"top_k": 3, "format": "srt"}
    assert parts == {"video": b"clip", "audio": b"sound", "text": b"WEBVTT\n"}


def test_words_alone_are_enough(server: FakeServer, tmp_path: Path) -> None:
    words = tmp_path / "words.txt"
    words.write_text("somebody walks")
    assert predict(server, "--text", words, "--version", "2.0").exit_code == 0
    assert server.received[0].path == "/predictions/activity/2.0"


def test_the_words_of_the_sound_are_asked_for_by_a_word(
    server: FakeServer, clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert predict(server, clip, "--text", "auto").exit_code == 0
    assert server.received[0].parts()["text"][2] == b"auto"
    Path("auto").write_text("somebody walks")
    assert predict(server, clip, "--text", "auto").exit_code == 0
    assert server.received[1].parts()["text"][2] == b"somebody walks"


@pytest.mark.parametrize(("shown", "stdout"), [("table", b""), ("json", ERROR), ("vtt", b"")])
def test_an_error_ends_with_1_and_shows_its_remedy(server: FakeServer, clip: Path, shown: str, stdout: bytes) -> None:
    server.status, server.body = 422, ERROR
    result = predict(server, clip, "--format", shown)
    assert result.exit_code == 1
    assert result.stdout_bytes == stdout
    assert "Error 422 (undecodable_media): no frame came [out]" in result.stderr
    assert "Send a whole file." in result.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["missing.mp4"],
        ["--text", "missing.vtt"],
        ["--text", __file__, "--options", "{"],
        ["--text", __file__, "--format", "xml"],
    ],
)
def test_a_wrong_command_ends_with_2(server: FakeServer, arguments: list[str]) -> None:
    assert predict(server, *arguments).exit_code == 2
    assert server.received == []


@pytest.mark.parametrize(
    ("text", "shown", "expected"),
    [
        (None, Format.table, {}),
        (None, Format.json, {}),
        (None, Format.vtt, {"format": "vtt"}),
        ('{"top_k": 1}', Format.srt, {"top_k": 1, "format": "srt"}),
        ('{"format": "vtt"}', Format.vtt, {"format": "vtt"}),
        ('{"stream": true}', Format.ndjson, {"stream": True, "format": "ndjson"}),
    ],
)
def test_options_get_the_format_that_is_shown(text: str | None, shown: Format, expected: dict[str, Any]) -> None:
    assert read_options(text, shown) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is no JSON"),
        ('{"threshold": NaN}', "is no JSON"),
        ("[1]", "must be a JSON object"),
        ('{"format": "srt"}', "asks for the format 'srt'"),
        ('{"stream": true}', "add --format ndjson"),
    ],
)
def test_options_that_cannot_be_meant_are_refused(text: str, message: str) -> None:
    with pytest.raises(typer.BadParameter, match=message):
        read_options(text, Format.table)


@pytest.mark.parametrize("text", ['{"stream": true}', '{"chunk": {}}'])
@pytest.mark.parametrize("command", ["render", "explain", "watch"])
def test_a_command_that_needs_the_whole_answer_says_so(command: str, text: str, clip: Path, tmp_path: Path) -> None:
    output = ["-o", str(tmp_path / ("answer.mp4" if command == "render" else "answer.json"))]
    place = [] if command == "explain" else ["--local"]
    result = CliRunner().invoke(app, [command, str(clip), *place, *output, "--options", text])
    assert result.exit_code == 2
    assert "settles that itself" in " ".join(result.output.replace("│", " ").split())


@pytest.mark.parametrize("text", ['{"stream": false}', '{"top_k": 2, "chunk": null}'])
def test_a_command_that_needs_the_whole_answer_takes_other_options(text: str) -> None:
    assert read_whole_options(text, "it") == json.loads(text)


def test_without_a_server_it_says_how_to_start_one(clip: Path, tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["predict", str(clip), "--run-dir", str(tmp_path)])
    assert result.exit_code == 1
    assert "No server was started from" in str(result.exception)


def test_a_folder_that_is_no_checkpoint_is_a_wrong_command(clip: Path, tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["predict", str(clip), "--local", "--checkpoint", str(tmp_path)])
    assert result.exit_code == 2
    words = result.stderr.replace("│", " ").split()  # the box breaks its lines where the folder's name makes it
    assert "is no checkpoint" in " ".join(words)


def test_a_long_answer_in_the_process_says_how_far_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clip = tmp_path / "clip.mp4"
    clip.write_bytes(render("mp4", Picture(num_frames=200), Sound(seconds=8.0)))
    local = ["--local", "--checkpoint", str(write_tiny_checkpoint(tmp_path / "tiny"))]
    quiet = CliRunner().invoke(app, ["predict", str(clip), *local])
    assert "%" not in quiet.stderr
    monkeypatch.setattr("cli.asking.QUIET_SECONDS", 0.0)
    result = CliRunner().invoke(app, ["predict", str(clip), *local])
    assert result.stdout == quiet.stdout
    for stage in ("video", "audio", "windows"):
        assert f"Predicting: {stage} 100 %" in result.stderr
