from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent import futures
from typing import Any

import grpc
import pytest

from client.errors import (
    ClientError,
    ModelNotFound,
    Overloaded,
    Refused,
    ServerTimeout,
    ServerUnreachable,
    TooLarge,
    UnexpectedAnswer,
    WorkerFailed,
)
from client.grpc import GrpcClient, read_body
from client.protos import inference_pb2, inference_pb2_grpc

JAVA = "org.pytorch.serve"


class Service(inference_pb2_grpc.InferenceAPIsServiceServicer):
    """Remembers what it was sent and answers what it was told."""

    def __init__(self) -> None:
        self.body = b'{"status":200}'
        self.failure: tuple[grpc.StatusCode, str] | None = None
        self.release = threading.Event()
        self.release.set()
        self.request = inference_pb2.PredictionsRequest()
        self.metadata: dict[str, str | bytes] = {}

    def Predictions(self, request: Any, context: Any) -> inference_pb2.PredictionResponse:  # noqa: N802
        self.request, self.metadata = request, dict(context.invocation_metadata())
        self.release.wait(30)
        if self.failure is not None:
            context.abort(*self.failure)
        return inference_pb2.PredictionResponse(prediction=self.body)


class Running:
    """A service and its address."""

    def __init__(self, service: Service, target: str) -> None:
        self.service = service
        self.target = target


@pytest.fixture
def running() -> Iterator[Running]:
    service = Service()
    server = grpc.server(
        futures.ThreadPoolExecutor(2), options=[("grpc.max_receive_message_length", -1), ("grpc.so_reuseport", 0)]
    )
    inference_pb2_grpc.add_InferenceAPIsServiceServicer_to_server(service, server)  # type: ignore[no-untyped-call]
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield Running(service, f"127.0.0.1:{port}")
    service.release.set()
    server.stop(None).wait()


def test_parts_token_model_and_version_arrive(running: Running) -> None:
    with GrpcClient(running.target, "key", model="m", version="2.0") as client:
        client.predict(b"v", b"a", "grüß", {"top_k": 3})
    request = running.service.request
    assert (request.model_name, request.model_version) == ("m", "2.0")
    assert dict(request.input) == {"video": b"v", "audio": b"a", "text": "grüß".encode(), "options": b'{"top_k": 3}'}
    assert running.service.metadata["authorization"] == "Bearer key"


def test_without_token_and_version(running: Running) -> None:
    with GrpcClient(running.target) as client:
        client.predict(text="hello")
    assert running.service.request.model_version == ""
    assert "authorization" not in running.service.metadata


def test_messages_above_grpcs_own_limit_pass_both_ways(running: Running) -> None:
    running.service.body = b"WEBVTT" + b"x" * 5_000_000
    with GrpcClient(running.target) as client:
        answer = client.predict(b"y" * 5_000_000)
    assert len(running.service.request.input["video"]) == 5_000_000
    assert len(answer.body) == 5_000_006


@pytest.mark.parametrize(
    ("body", "status", "content_type"),
    [
        (b'{"status":200,"segments":[]}', 200, "application/json"),
        (b'{"status":422,"code":"x"}', 422, "application/json"),
        (b"WEBVTT\n\n00:00:00.000 --> 00:00:01.000\nx\n", 200, "text/vtt; charset=utf-8"),
        (b"1\n00:00:00,000 --> 00:00:01,000\nx\n", 200, "application/x-subrip; charset=utf-8"),
        (b"\n", 200, "application/x-subrip; charset=utf-8"),
        (b'{"type":"header","status":200}\n', 200, "application/x-ndjson"),
        (b'{"type":"header","status":200}\n{"type":"segment"}\n', 200, "application/x-ndjson"),
    ],
)
def test_status_and_type_are_read_from_the_body(body: bytes, status: int, content_type: str) -> None:
    answer = read_body(body)
    assert (answer.status, answer.content_type, answer.body) == (status, content_type, body)


@pytest.mark.parametrize(
    ("code", "details", "expected"),
    [
        (grpc.StatusCode.PERMISSION_DENIED, "Token Authorization failed. Token ...", Refused),
        (
            grpc.StatusCode.INTERNAL,
            f"Model not found: no\n{JAVA}.archive.model.ModelNotFoundException",
            ModelNotFound,
        ),
        (
            grpc.StatusCode.INTERNAL,
            f"Model version: 9 does not exist for model: activity\n{JAVA}.archive.model.ModelVersionNotFoundException",
            ModelNotFound,
        ),
        (
            grpc.StatusCode.INTERNAL,
            'Model "activity" has no worker to serve inference request.\nInternalServerException.()',
            Overloaded,
        ),
        (grpc.StatusCode.UNAVAILABLE, f"Prediction failed\n{JAVA}.http.InternalServerException", WorkerFailed),
        (grpc.StatusCode.INTERNAL, f"Worker died.\n{JAVA}.http.InternalServerException", WorkerFailed),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, f"Worker died.\n{JAVA}.http.InternalServerException", WorkerFailed),
        (grpc.StatusCode.CANCELLED, "Stream removed (RST_STREAM (Received RST_STREAM with error code 8))", TooLarge),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, "message larger than max", TooLarge),
        (grpc.StatusCode.UNKNOWN, "", UnexpectedAnswer),
    ],
)
def test_what_torchserve_ends_a_call_with_is_an_error_with_a_remedy(
    running: Running, code: grpc.StatusCode, details: str, expected: type[ClientError]
) -> None:
    running.service.failure = (code, details)
    with GrpcClient(running.target) as client, pytest.raises(ClientError) as caught:
        client.predict(b"x")
    assert type(caught.value) is expected
    assert JAVA not in str(caught.value)
    assert caught.value.remedy.endswith(".")


def test_a_proxy_of_the_environment_is_not_asked_for_this_machine(
    running: Running, closed_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{closed_port}")
    monkeypatch.setenv("no_proxy", "")
    with GrpcClient(running.target) as client:
        assert client.predict(b"x").ok


def test_nobody_listens(closed_port: int) -> None:
    target = f"127.0.0.1:{closed_port}"
    with GrpcClient(target) as client, pytest.raises(ServerUnreachable, match=target):
        client.predict(b"x")


def test_an_answer_that_takes_too_long(running: Running) -> None:
    running.service.release.clear()
    with GrpcClient(running.target, timeout_seconds=0.05) as client, pytest.raises(ServerTimeout):
        client.predict(b"x")
