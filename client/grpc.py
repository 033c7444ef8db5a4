"""Predictions by gRPC; the same parts and the same bytes as by REST.

>>> from client.grpc import GrpcClient
>>> with GrpcClient("127.0.0.1:7070", token) as client:                      # doctest: +SKIP
...     print(client.predict(Path("clip.mp4").read_bytes()).json()["activities"])
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import grpc

from client.answer import Answer
from client.closing import Closing
from client.errors import (
    NO_PLACE,
    TOKEN_REFUSED,
    ClientError,
    UnexpectedAnswer,
    refusal_of_server,
    refused,
    timed_out,
    too_large,
    unreachable,
)
from client.parts import Content, Options, build_parts
from client.patience import ask_patiently
from client.protos import inference_pb2, inference_pb2_grpc
from client.rest import DEFAULT_TIMEOUT_SECONDS, is_loopback

STATUS_OF_EXCEPTION = {
    "NotFoundException": 404,
    "ConflictStatusException": 409,
    "InvalidModelVersionException": 403,
    "InternalServerException": 500,
}
"""The HTTP status that stands for what TorchServe throws."""


class GrpcClient(Closing):
    """Sends clips to one model of one server.

    Args:
        target: the gRPC inference address, such as ``127.0.0.1:7070``.
        token: the inference key of the server's key_file.json; None where the server asks for none.
        model: the model's registered name.
        version: a version of it; None means the default one.
        timeout_seconds: how long one attempt may take, sending included.
        patience_seconds: as that of :class:`client.rest.RestClient`.
        ca: a file of certificates, PEM, that are trusted; with it, or a target ``https://HOST:PORT``, it goes by TLS.
    """

    def __init__(
        self,
        target: str,
        token: str | None = None,
        *,
        model: str = "activity",
        version: str | None = None,
        timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS,
        patience_seconds: float = 0.0,
        ca: Path | str | None = None,
    ) -> None:
        self.target = target
        self._patience_seconds = patience_seconds
        self._metadata = authorization(token)
        self._model = model
        self._version = version or ""
        self._timeout_seconds = timeout_seconds
        self._channel = build_channel(target, ca)
        self._stub = inference_pb2_grpc.InferenceAPIsServiceStub(self._channel)  # type: ignore[no-untyped-call]

    def predict(
        self,
        video: bytes | None = None,
        audio: bytes | None = None,
        text: bytes | str | None = None,
        options: Options | None = None,
        **others: Content | None,
    ) -> Answer:
        """Send one clip; arguments and errors are those of :meth:`client.rest.RestClient.predict`.

        gRPC has no HTTP status and no content type: both are read from the body.
        """
        parts = build_parts(video, audio, text, options, others)
        return ask_patiently(lambda: self._predict(parts), patience_seconds=self._patience_seconds)

    def _predict(self, parts: Mapping[str, bytes]) -> Answer:
        request = inference_pb2.PredictionsRequest(model_name=self._model, model_version=self._version, input=parts)
        try:
            response: inference_pb2.PredictionResponse = self._stub.Predictions(
                request, timeout=self._timeout_seconds, metadata=self._metadata
            )
        except grpc.RpcError as exc:
            size_bytes = sum(map(len, parts.values()))
            raise client_error(self.target, exc, self._timeout_seconds, size_bytes) from exc
        return read_body(response.prediction)

    def close(self) -> None:
        """Close the channel."""
        self._channel.close()


def build_channel(target: str, ca: Path | str | None = None) -> grpc.Channel:
    """A channel whose message sizes are limited by the server alone (gRPC's own default is 4 MiB).

    Proxies of the environment are left out for an address of this machine, as by REST.

    Args:
        target: ``HOST:PORT``, or ``https://HOST:PORT`` for TLS.
        ca: a file of certificates, PEM, that are trusted, and TLS; with TLS and without it gRPC's own are.
    """
    address = target.removeprefix("https://")
    options = [
        ("grpc.max_send_message_length", -1),
        ("grpc.max_receive_message_length", -1),
        ("grpc.enable_http_proxy", 0 if is_loopback(f"grpc://{address}") else 1),
    ]
    if ca is None and address == target:
        return grpc.insecure_channel(address, options=options)
    credentials = grpc.ssl_channel_credentials(None if ca is None else Path(ca).read_bytes())
    return grpc.secure_channel(address, credentials, options=options)


def authorization(token: str | None) -> list[tuple[str, str]]:
    """The call metadata that carries ``token``."""
    return [] if token is None else [("authorization", f"Bearer {token}")]


def read_body(body: bytes) -> Answer:
    """Read status and content type from an answer's own bytes."""
    if body.startswith(b"WEBVTT"):
        return Answer(200, "text/vtt; charset=utf-8", body)
    if body.startswith(b'{"type":"header"'):  # before it is tried as JSON, which a single line of it is
        return Answer(200, "application/x-ndjson", body)
    try:
        value = json.loads(body)
    except ValueError:
        return Answer(200, "application/x-subrip; charset=utf-8", body)
    status = value.get("status", 200) if isinstance(value, dict) else 200
    return Answer(int(status), "application/json", body)


def client_error(target: str, error: grpc.RpcError, timeout_seconds: float, size_bytes: int) -> ClientError:
    """The error for a call that TorchServe, or gRPC itself, ended."""
    code, details = error.code(), error.details() or ""
    if TOKEN_REFUSED in details:
        return refused(target)
    # TorchServe's message, then on a line of its own the name of its Java exception. This tells more than the code: a
    # worker that was killed gives RESOURCE_EXHAUSTED, as a message above the limit does.
    message, _, exception = details.partition("\n")
    status = next((status for name, status in STATUS_OF_EXCEPTION.items() if name in exception), None)
    if status is None and code is grpc.StatusCode.UNAVAILABLE and NO_PLACE in details:
        status = 503  # a front's words
    if status is not None:
        return refusal_of_server(target, status, message)
    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        return timed_out(target, timeout_seconds)
    if code is grpc.StatusCode.RESOURCE_EXHAUSTED or "RST_STREAM" in details:
        return too_large(target, size_bytes)  # TorchServe resets the stream of a message above its limit
    if code is grpc.StatusCode.UNAVAILABLE:
        return unreachable(target, error)
    return UnexpectedAnswer(
        f"The call to {target} ended with {code.name}: {details or 'no explanation'}",
        remedy="Check that this is a TorchServe's gRPC port for what was asked; the same call by REST may say why.",
    )
