"""A stream in chunks on a real server: any worker goes on with it, also after one has died."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator
from typing import Any

import pytest

from cli.destination import Destination
from cli.probe import find_live_workers
from cli.readiness import build_management
from cli.record import ServerRecord
from client.errors import ClientError
from handler.pipeline import ActivityPipeline
from tests.handler.streaming import Streamed, assert_same, whole
from tests.media import Picture
from tests.stream_media import FRAGMENTS, LONG_GOP, Tones, fragment_starts, record, split

pytestmark = pytest.mark.server

OPTIONS = {"extras": ["windows"], "threshold": 0.0, "min_segment_seconds": 0.5}
RESTART_SECONDS = 60.0
LOST_SECONDS = 15.0
"""A request that its worker took at the moment of its death is never answered by TorchServe, not even with an error."""
WORDS = b"WEBVTT\n\n00:00.200 --> 00:01.700\nhello there\n\n00:02.300 --> 00:04.900\ngood bye\n"


@pytest.fixture
def two_workers(server: ServerRecord) -> Iterator[ServerRecord]:
    with build_management(server) as management:
        management.scale(server.model, workers=2)
        yield server
        management.scale(server.model, workers=1)


@pytest.fixture(scope="module")
def recording() -> bytes:
    picture = Picture(num_frames=125, width=64, height=48, options=LONG_GOP)
    return record("mp4", picture, Tones(seconds=5.0), FRAGMENTS)


def ask(destination: Destination, parts: dict[str, bytes], options: dict[str, Any], *, grpc: bool) -> dict[str, Any]:
    """One chunk's answer; what a dying worker loses is asked again with the same state."""
    began = time.monotonic()
    while True:
        try:
            answer = destination.ask(parts, options, grpc=grpc)
        except ClientError:
            if time.monotonic() - began > RESTART_SECONDS:
                raise
            time.sleep(0.2)
            continue
        values: dict[str, Any] = answer.json()
        assert values["status"] == 200, values
        return values


def kill_a_worker(server: ServerRecord) -> None:
    with build_management(server) as management:
        workers = find_live_workers(management.describe(server.model)[0])
    os.kill(next(iter(workers)).pid, signal.SIGKILL)


def test_a_stream_outlives_workers_and_goes_by_any_way(
    two_workers: ServerRecord, pipeline: ActivityPipeline, recording: bytes
) -> None:
    destination = Destination.of_record(two_workers, timeout_seconds=LOST_SECONDS)
    pieces = split(recording, fragment_starts(recording)[1::2])
    assert len(pieces) > 5
    streamed, state = Streamed(), None
    for place, piece in enumerate(pieces):
        if place in (2, 4):
            kill_a_worker(two_workers)
        chunk = {"last": True} if piece is pieces[-1] else {}
        parts = {"video": piece}
        if state is None:
            parts["text"] = WORDS
        else:
            parts["state"] = state.encode()
        answer = ask(destination, parts, {**OPTIONS, "chunk": chunk}, grpc=place % 2 == 1)
        streamed.answers.append(answer)
        state = answer.get("state")
    assert state is None
    assert_same(streamed, whole(pipeline, {"video": recording, "text": WORDS}, OPTIONS))


@pytest.mark.parametrize("grpc", [False, True], ids=["rest", "grpc"])
def test_a_chunk_that_comes_twice_is_refused_by_any_way(destination: Destination, recording: bytes, grpc: bool) -> None:
    first, second, *_ = split(recording, fragment_starts(recording)[2::2])
    state = ask(destination, {"video": first}, {"chunk": {}}, grpc=grpc)["state"]
    state = ask(destination, {"video": second, "state": state.encode()}, {"chunk": {}}, grpc=grpc)["state"]
    refused = destination.ask({"video": second, "state": state.encode()}, {"chunk": {}}, grpc=grpc).json()
    assert (refused["status"], refused["code"]) == (409, "chunk_out_of_order")


def test_a_state_of_a_process_without_the_servers_key_is_invalid(
    destination: Destination, pipeline: ActivityPipeline, recording: bytes
) -> None:
    first, second, *_ = split(recording, fragment_starts(recording)[2::2])
    (response,) = pipeline.respond([{"video": first, "options": '{"chunk": {}}'}], ["one"])
    state = json.loads(response.body)["state"]
    refused = destination.ask({"video": second, "state": state.encode()}, {"chunk": {}})
    assert (refused.status, refused.json()["code"]) == (400, "state_invalid")
