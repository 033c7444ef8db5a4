"""A recording in chunks, from the client's side, against a real server: what comes back is what one request gives."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

import cli.long_files
from cli.app import app
from cli.destination import Destination
from client.cutting import cut_file
from client.grpc import GrpcClient
from client.rest import RestClient
from client.stream import ActivityStream
from handler.answer_text import encode_json
from tests.media import X264, X264_B_FRAMES, Picture, Sound, render

pytestmark = pytest.mark.server

PICTURE = Picture(num_frames=300, options=(*X264, ("g", "25")))
SOUND = Sound(seconds=12.0)


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    path = tmp_path / "recording.mp4"
    path.write_bytes(render("mp4", PICTURE, SOUND))
    return path


def invoke(destination: Destination, *arguments: object) -> Result:
    address = ["--server", destination.rest_url, "--token", str(destination.token)]
    return CliRunner(env={"COLUMNS": "120"}).invoke(app, [*map(str, arguments), *address])


@pytest.mark.parametrize(
    ("container", "streams"),
    [
        ("mp4", (PICTURE, SOUND)),
        ("mp4", (Picture(num_frames=300, options=X264_B_FRAMES), SOUND)),
        (
            "webm",
            (Picture(codec="libvpx", num_frames=300, options=(("g", "60"),)), Sound("libopus", 48_000, seconds=12)),
        ),
        ("mpegts", (Picture(num_frames=300, options=X264_B_FRAMES), SOUND)),
    ],
    ids=["mp4", "b frames", "webm", "mpegts"],
)
def test_cut_on_the_client_a_recording_is_itself(
    destination: Destination, tmp_path: Path, container: str, streams: tuple[Picture | Sound, ...]
) -> None:
    path = tmp_path / "recording"
    path.write_bytes(render(container, *streams))
    options = {"extras": ["windows"]}
    bodies = []
    with (
        RestClient(destination.rest_url, destination.token) as rest,
        GrpcClient(destination.grpc_target, destination.token) as grpc,
    ):
        whole = rest.predict(path.read_bytes(), options=options).json()
        for client in (rest, grpc):
            stream = ActivityStream(client, options)
            for chunk in cut_file(str(path), 2.0):
                answer = stream.send(chunk)
                assert answer.gap_seconds == 0
            bodies.append(stream.answer())
    assert whole["status"] == 200
    assert bodies[0] == bodies[1]
    assert bodies[0]["windows"] == whole["windows"]
    assert bodies[0]["segments"] == whole["segments"]
    assert bodies[0]["activities"] == whole["activities"]
    assert encode_json(bodies[0]) == encode_json(whole)


@pytest.mark.parametrize("shown", ["json", "ndjson", "vtt", "srt"])
def test_a_long_file_is_answered_as_one_request_would_be(
    destination: Destination, recording: Path, shown: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = recording.with_suffix(".vtt")
    words.write_text("WEBVTT\n\n00:01.000 --> 00:05.000\nhello\n\n00:06.500 --> 00:11.000\ngoodbye &amp; so on\n")
    asked = ("predict", recording, "--text", words, "--format", shown)
    single = invoke(destination, *asked)
    monkeypatch.setattr(cli.long_files, "LONG_SECONDS", 5.0)
    monkeypatch.setattr(cli.long_files, "CHUNK_SECONDS", 3.0)
    long = invoke(destination, *asked)
    assert "12 of 12 s" in long.stderr
    assert long.stdout_bytes == single.stdout_bytes


def test_watching_ends_with_the_segments_of_one_request(destination: Destination, recording: Path) -> None:
    result = invoke(destination, "watch", recording, "--fast", "--json")
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    assert [line["chunk"] for line in lines] == [1, 2, 3, 4, 5, 6]
    assert all(line["latency_seconds"] > 0 for line in lines)
    final = [segment for line in lines for segment in line["segments"] if segment["final"]]
    single = json.loads(invoke(destination, "predict", recording, "--format", "json").stdout)
    assert [{key: it[key] for key in it if key != "final"} for it in final] == single["segments"]
