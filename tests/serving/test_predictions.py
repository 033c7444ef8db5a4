from __future__ import annotations

import base64
import dataclasses
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner

from cli.app import app
from cli.destination import Destination
from cli.properties import read_properties
from cli.record import ServerRecord
from cli.server import DEFAULT_CONFIG
from client.errors import ModelNotFound, Refused, TooLarge
from handler.pipeline import ActivityPipeline
from training.synth.render import RenderedClip

pytestmark = pytest.mark.server

BROKEN = b"\x00\x00\x00\x18ftypmp42 and then nothing that a demuxer could read"


def expected(pipeline: ActivityPipeline, parts: dict[str, bytes], options: dict[str, Any] | None = None) -> bytes:
    """The answer in this process."""
    raw = {name: bytearray(body) for name, body in parts.items()}
    if options:
        raw["options"] = bytearray(json.dumps(options).encode())
    (response,) = pipeline.respond([raw], ["test"])
    return response.body


@pytest.fixture
def parts(clip: RenderedClip) -> dict[str, bytes]:
    return {"video": clip.video, "text": clip.words.encode()}


@pytest.mark.parametrize("grpc", [False, True], ids=["rest", "grpc"])
def test_a_clip_alone_is_answered_as_in_this_process(
    destination: Destination, pipeline: ActivityPipeline, clip: RenderedClip, grpc: bool
) -> None:
    answer = destination.ask({"video": clip.video}, {}, grpc=grpc)
    assert answer.status == 200
    assert answer.body == expected(pipeline, {"video": clip.video})
    assert answer.json()["modalities"]["text"]["used"] is False


@pytest.mark.parametrize("grpc", [False, True], ids=["rest", "grpc"])
@pytest.mark.parametrize(
    ("options", "content_type"),
    [
        ({"top_k": 2, "extras": ["windows"]}, "application/json"),
        ({"format": "vtt", "threshold": 0.05}, "text/vtt; charset=utf-8"),
        ({"format": "srt", "threshold": 0.05}, "application/x-subrip; charset=utf-8"),
    ],
    ids=["json", "vtt", "srt"],
)
def test_parts_and_options_are_answered_as_in_this_process(
    destination: Destination,
    pipeline: ActivityPipeline,
    parts: dict[str, bytes],
    options: dict[str, Any],
    content_type: str,
    grpc: bool,
) -> None:
    answer = destination.ask(parts, options, grpc=grpc)
    assert (answer.status, answer.content_type) == (200, content_type)
    assert answer.body == expected(pipeline, parts, options)


def test_json_with_base64_is_the_same_request(
    server: ServerRecord, pipeline: ActivityPipeline, parts: dict[str, bytes]
) -> None:
    body = {
        "video": base64.b64encode(parts["video"]).decode(),
        "text": parts["text"].decode(),
        "options": {"top_k": 2},
    }
    response = httpx.post(
        f"{server.inference_url}/predictions/activity",
        json=body,
        headers={"Authorization": f"Bearer {server.tokens().inference}"},
        trust_env=False,
    )
    assert response.status_code == 200
    assert response.content == expected(pipeline, parts, {"top_k": 2})


@pytest.mark.parametrize("grpc", [False, True], ids=["rest", "grpc"])
@pytest.mark.parametrize(
    ("video", "options", "code"),
    [(BROKEN, {}, "undecodable_media"), (None, {"nonsense": 1}, "invalid_options")],
)
def test_a_bad_request_is_told_why(
    destination: Destination,
    pipeline: ActivityPipeline,
    clip: RenderedClip,
    video: bytes | None,
    options: dict[str, Any],
    code: str,
    grpc: bool,
) -> None:
    sent = {"video": clip.video if video is None else video}
    answer = destination.ask(sent, options, grpc=grpc)
    assert 400 <= answer.status < 500
    assert answer.json()["code"] == code
    assert answer.json()["status"] == answer.status
    assert answer.body == expected(pipeline, sent, options)


@pytest.mark.parametrize("grpc", [False, True], ids=["rest", "grpc"])
def test_a_bad_request_does_not_touch_the_others(
    destination: Destination, pipeline: ActivityPipeline, parts: dict[str, bytes], grpc: bool
) -> None:
    good = expected(pipeline, parts)
    requests = [{"video": BROKEN} if position == 3 else parts for position in range(8)]
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda request: destination.ask(request, {}, grpc=grpc), requests))
    assert answers.pop(3).json()["code"] == "undecodable_media"
    assert [answer.body == good for answer in answers] == [True] * 7


@pytest.mark.parametrize("grpc", [False, True], ids=["rest", "grpc"])
@pytest.mark.parametrize("token", [None, "wrong"])
def test_without_the_right_token_nothing_is_answered(destination: Destination, token: str | None, grpc: bool) -> None:
    stranger = dataclasses.replace(destination, token=token)
    with pytest.raises(Refused):
        stranger.ask({"text": b"hello"}, {}, grpc=grpc)


@pytest.mark.parametrize("grpc", [False, True], ids=["rest", "grpc"])
@pytest.mark.parametrize(("model", "version", "wrong"), [("nonsense", None, "nonsense"), ("activity", "9.9", "9.9")])
def test_an_unknown_model_or_version_is_said(
    destination: Destination, model: str, version: str | None, wrong: str, grpc: bool
) -> None:
    stranger = dataclasses.replace(destination, model=model, version=version)
    with pytest.raises(ModelNotFound, match=wrong):
        stranger.ask({"text": b"hello"}, {}, grpc=grpc)


@pytest.mark.parametrize("grpc", [False, True], ids=["rest", "grpc"])
def test_a_request_above_the_servers_limit_is_said(destination: Destination, grpc: bool) -> None:
    limit = int(read_properties(DEFAULT_CONFIG)["max_request_size"])
    with pytest.raises(TooLarge, match=str(limit + 1)):
        destination.ask({"video": bytes(limit + 1)}, {}, grpc=grpc)


@pytest.mark.parametrize("way", [(), ("--grpc",)], ids=["rest", "grpc"])
def test_the_command_line_gives_the_servers_bytes(
    server: ServerRecord, pipeline: ActivityPipeline, parts: dict[str, bytes], tmp_path: Path, way: tuple[str, ...]
) -> None:
    (tmp_path / "clip.mp4").write_bytes(parts["video"])
    (tmp_path / "words.vtt").write_bytes(parts["text"])
    command = ["predict", str(tmp_path / "clip.mp4"), "--text", str(tmp_path / "words.vtt"), "--format", "json"]
    result = CliRunner().invoke(app, [*command, "--run-dir", server.run_dir, *way])
    assert result.exit_code == 0
    assert result.stdout_bytes == expected(pipeline, parts)


def test_metrics_need_no_token_and_count_requests(server: ServerRecord) -> None:
    response = httpx.get(server.metrics_url, trust_env=False)
    assert response.status_code == 200
    assert 'ts_inference_requests_total{model_name="activity",model_version="default"' in response.text
