"""Answers that come line by line while their recording is read."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from benchmarks.long_media import make_long_clip
from cli.destination import Destination
from cli.record import ServerRecord
from handler.pipeline import ActivityPipeline
from tests.handler.recordings.test_answer import flat, joined
from tests.serving.test_predictions import expected
from training.synth.render import RenderedClip

pytestmark = pytest.mark.server

SECONDS = 160  # of the demo model's hops five pieces


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("long") / "long.mp4"
    make_long_clip(path, SECONDS)
    return path.read_bytes()


@pytest.fixture
def client(server: ServerRecord) -> Iterator[httpx.Client]:
    headers = {"Authorization": f"Bearer {server.tokens().inference}"}
    with httpx.Client(base_url=server.inference_url, headers=headers, timeout=120.0) as client:
        yield client


def ask(client: httpx.Client, parts: dict[str, bytes], **options: Any) -> tuple[httpx.Response, list[dict[str, Any]]]:
    """The response, and the lines of its body with the seconds at which they came."""
    files = {name: (name, body, "application/octet-stream") for name, body in parts.items()}
    form = {"options": json.dumps({"stream": True, **options})}
    with client.stream("POST", "/predictions/activity", files=files, data=form) as response:
        return response, [{"came": time.monotonic(), **json.loads(line)} for line in response.iter_lines()]


def untimed(lines: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{name: value for name, value in line.items() if name != "came"} for line in lines]


def assert_the_same(lines: list[dict[str, Any]], answer: dict[str, Any]) -> None:
    found = joined(untimed(lines))
    assert found.keys() == answer.keys()
    for name in ("status", "model", "start_seconds", "duration_seconds", "modalities"):
        assert found[name] == answer[name]
    for name in ("segments", "activities", "windows"):
        assert [flat(it) for it in found.get(name, [])] == [
            pytest.approx(flat(it), abs=2e-6) for it in answer.get(name, [])
        ]


def workers(destination: Destination, server: ServerRecord) -> list[int]:
    headers = {"Authorization": f"Bearer {server.tokens().management}"}
    (found,) = httpx.get(f"{server.management_url}/models/{destination.model}", headers=headers).json()
    return sorted(worker["pid"] for worker in found["workers"])


def test_lines_come_while_the_recording_is_read_and_hold_the_ordinary_answer(
    client: httpx.Client, pipeline: ActivityPipeline, recording: bytes
) -> None:
    response, lines = ask(client, {"video": recording}, extras=["windows"])
    assert response.status_code == 200
    assert response.headers["content-type"] == "application/x-ndjson"
    assert response.headers["transfer-encoding"] == "chunked"
    assert_the_same(lines, json.loads(expected(pipeline, {"video": recording}, {"extras": ["windows"]})))
    progress = [line["clock_seconds"] for line in lines if line["type"] == "progress"]
    assert progress == [32.0, 64.0, 96.0, 128.0, lines[0]["duration_seconds"]]
    assert len({round(line["came"], 3) for line in lines}) >= 5  # one after the other


def test_a_stream_holds_up_none_of_its_batch_and_mixes_up_no_answer(
    client: httpx.Client,
    destination: Destination,
    pipeline: ActivityPipeline,
    recording: bytes,
    clip: RenderedClip,
) -> None:
    short: dict[str, bytes] = {"video": clip.video, "text": clip.words.encode()}
    words = [{"text": f"stir the soup {number}".encode()} for number in range(3)]
    whole = json.loads(expected(pipeline, {"video": recording}))
    for _ in range(2):
        with ThreadPoolExecutor(12) as pool:
            streams = [pool.submit(ask, client, {"video": recording}) for _ in range(2)]
            brief = [pool.submit(ask, client, short) for _ in range(2)]
            by_rest = [pool.submit(destination.ask, parts, {}) for parts in words]
            by_grpc = [pool.submit(destination.ask, parts, {}, grpc=True) for parts in words]
            refused = pool.submit(destination.ask, {"text": b"stir"}, {"top_k": 0})
            for each in streams:
                assert_the_same(each.result()[1], whole)
            for each in brief:
                assert_the_same(each.result()[1], json.loads(expected(pipeline, short)))
            for parts, rest, grpc in zip(words, by_rest, by_grpc, strict=True):
                assert rest.result().body == grpc.result().body == expected(pipeline, parts)
            assert refused.result().status == 400


def test_by_grpc_and_in_kserve_bodies_it_is_refused_and_nobody_is_hurt(
    client: httpx.Client, destination: Destination, server: ServerRecord
) -> None:
    before = workers(destination, server)
    by_grpc = destination.ask({"text": b"stir"}, {"stream": True}, grpc=True)
    v1 = client.post(
        "/predictions/activity", json={"instances": [{"text": "stir"}], "parameters": {"stream": True}}
    ).json()
    for body in (by_grpc.json(), v1):
        assert (body["status"], body["code"]) == (400, "invalid_options")
        assert "stream is for REST" in body["message"]
    assert destination.ask({"text": b"stir"}, {}, grpc=True).status == 200
    assert workers(destination, server) == before


def test_a_client_that_goes_away_midway_hurts_nobody(
    client: httpx.Client, destination: Destination, server: ServerRecord, recording: bytes
) -> None:
    before = workers(destination, server)
    files = {"video": ("video", recording, "application/octet-stream")}
    for _ in range(2):
        with client.stream("POST", "/predictions/activity", files=files, data={"options": '{"stream":true}'}) as gone:
            next(gone.iter_lines())
    assert ask(client, {"text": b"stir the soup"})[1][-1]["type"] == "end"
    assert destination.ask({"text": b"stir"}, {}, grpc=True).status == 200
    assert workers(destination, server) == before


def test_what_is_wrong_from_the_start_is_an_ordinary_error(client: httpx.Client) -> None:
    response, lines = ask(client, {"video": b"no video at all"})
    assert response.status_code == lines[0]["status"] == 422
    assert response.headers["content-type"] == "application/json"
    assert Path(response.request.url.path).name == "activity"
