"""Predictions by REST.

>>> from client.rest import RestClient
>>> with RestClient("http://127.0.0.1:8080", token) as client:               # doctest: +SKIP
...     answer = client.predict(Path("clip.mp4").read_bytes(), text="a hand waves", options={"top_k": 3})
...     for segment in answer.json()["segments"]:
...         print(segment["start_seconds"], segment["stop_seconds"], segment["label"])
"""

from __future__ import annotations

import ipaddress
import json
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import httpx

from client.answer import Answer
from client.closing import Closing
from client.errors import (
    ClientError,
    UnexpectedAnswer,
    WorkerFailed,
    refusal_of_server,
    refused,
    timed_out,
    too_large,
    unreachable,
)
from client.parts import Content, Options, build_parts
from client.patience import ask_patiently

DEFAULT_TIMEOUT_SECONDS = 120.0
CONNECT_TIMEOUT_SECONDS = 10.0

LINES_TYPE = "application/x-ndjson"
PREDICTION_TYPES = ("application/json", LINES_TYPE, "text/vtt", "application/x-subrip")
ERROR_TYPES = ("application/json",)


class RestClient(Closing):
    """Sends clips to one model of one server.

    Args:
        base_url: the inference address, such as ``http://127.0.0.1:8080``, or ``https://...``.
        token: the inference key of the server's key_file.json; None where the server asks for none.
        model: the model's registered name.
        version: a version of it; None means the default one.
        timeout_seconds: how long to wait while nothing arrives; the server's work is not included in sending.
        patience_seconds: how long a full queue is waited for; above 0 a worker that dies over the request, and a
            server that is started anew, cost nothing but time either (:mod:`client.patience`).
        ca: a file of certificates, PEM, that are trusted in place of this machine's, such as the server's own.
    """

    def __init__(
        self,
        base_url: str,
        token: str | None = None,
        *,
        model: str = "activity",
        version: str | None = None,
        timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS,
        patience_seconds: float = 0.0,
        ca: Path | str | None = None,
    ) -> None:
        self.base_url = base_url.rstrip("/")
        self._timeout_seconds = timeout_seconds
        self._patience_seconds = patience_seconds
        self._path = prediction_path(model, version)
        self._http = build_http_client(self.base_url, token, timeout_seconds, ca)

    def predict(
        self,
        video: bytes | None = None,
        audio: bytes | None = None,
        text: bytes | str | None = None,
        options: Options | None = None,
        **others: Content | None,
    ) -> Answer:
        """Send one clip.

        A video alone goes as one raw body, which costs the server less than a multipart one; everything else goes as
        a multipart body whose parts have file names, so that the server keeps their types. So does a video that a
        server would read as something else without its name: an empty one, JSON, WebVTT.

        Args:
            video: a media file with picture, sound or both.
            audio: a media file whose sound is used in place of the video's.
            text: words, plain or as WebVTT or SRT with their times.
            options: the request's options, such as ``{"top_k": 3, "format": "vtt"}``.
            others: further parts by name: ``image`` and ``depth`` (files), ``tabular`` (a row) and the model's
                sequences of vectors, such as ``imu``, each a file's bytes, text or a JSON value.

        Raises:
            ValueError: when nothing is given.
            ClientError: when the model did not answer; see :mod:`client.errors`.
        """
        parts = build_parts(video, audio, text, options, others)
        return ask_patiently(lambda: self._predict(parts), patience_seconds=self._patience_seconds)

    def _predict(self, parts: Mapping[str, bytes]) -> Answer:
        if parts.keys() == {"video"} and _is_plainly_media(parts["video"]):
            response = self._send(
                content=parts["video"],
                headers={"Content-Type": "application/octet-stream"},
                size_bytes=len(parts["video"]),
            )
        else:
            files = {name: (name, body, _part_type(name)) for name, body in parts.items()}
            response = self._send(files=files, size_bytes=sum(map(len, parts.values())))
        return _read_answer(self.base_url, response)

    def _send(self, *, size_bytes: int, **body: Any) -> httpx.Response:
        try:
            response = self._http.post(self._path, **body)
        except httpx.TimeoutException as exc:
            raise connect_or_answer_timeout(self.base_url, self._timeout_seconds, exc) from exc
        except httpx.TransportError as exc:
            raise unreachable(self.base_url, exc) from exc
        if response.status_code == 413 and not response.content:
            raise too_large(self.base_url, size_bytes)
        return response

    def close(self) -> None:
        """Close the connections."""
        self._http.close()


def prediction_path(model: str, version: str | None) -> str:
    """The path that predictions of one model, or of one version of it, are asked at."""
    path = f"/predictions/{quote(model, safe='')}"
    return path if version is None else f"{path}/{quote(version, safe='')}"


def build_http_client(
    base_url: str, token: str | None, timeout_seconds: float, ca: Path | str | None = None
) -> httpx.Client:
    """An HTTP client that sends ``token``; proxies of the environment are left out for an address of this machine.

    Whom an ``https`` address belongs to is always checked: by the certificates in ``ca``, else by this machine's.
    """
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    return httpx.Client(
        base_url=base_url,
        headers=headers,
        timeout=httpx.Timeout(timeout_seconds, connect=min(timeout_seconds, CONNECT_TIMEOUT_SECONDS)),
        trust_env=not is_loopback(base_url),
        verify=True if ca is None else ssl.create_default_context(cafile=ca),
    )


def is_loopback(url: str) -> bool:
    """Whether ``url`` names this machine."""
    host = urlsplit(url).hostname or ""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def connect_or_answer_timeout(base_url: str, timeout_seconds: float, error: httpx.TimeoutException) -> ClientError:
    """A time-out while connecting means that nobody is there; one after it means that the answer takes long."""
    if isinstance(error, httpx.ConnectTimeout):
        return unreachable(base_url, error)
    return timed_out(base_url, timeout_seconds)


def server_message(body: bytes) -> str | None:
    """TorchServe's words where ``body`` is an error of its own, which has a ``type`` and a numeric ``code``."""
    try:
        value = json.loads(body)
    except ValueError:
        return None
    if isinstance(value, dict) and isinstance(value.get("code"), int) and "type" in value:
        return str(value.get("message", ""))
    return None


def _is_plainly_media(body: bytes) -> bool:
    """Whether a body without a part's name is read as media: :mod:`handler.request` looks at its first bytes."""
    head = body[:64].lstrip(b"\xef\xbb\xbf \t\r\n\v\f")
    return bool(head) and not head.startswith((b"{", b"WEBVTT"))


def _part_type(name: str) -> str:
    # Text goes as bytes too: the handler then decodes it by its own rules, the same as for gRPC.
    return "application/json" if name == "options" else "application/octet-stream"


def _read_answer(base_url: str, response: httpx.Response) -> Answer:
    if response.status_code == 401:
        raise refused(base_url)
    message = server_message(response.content)
    if message is not None:
        raise refusal_of_server(base_url, response.status_code, message)
    content_type = response.headers.get("Content-Type", "")
    is_known = content_type.startswith(PREDICTION_TYPES if response.status_code == 200 else ERROR_TYPES)
    if not is_known or (response.status_code != 200 and not _is_error(response.content)):
        raise UnexpectedAnswer(
            f"{base_url} answered {response.status_code} with {content_type or 'no content type'}, "
            "which is no answer of the model.",
            remedy="Check that the address is a server's port for inference, and what stands between.",
        )
    if content_type.startswith(LINES_TYPE) and not _ends_with_a_line(response.content):
        raise WorkerFailed(
            f"{base_url} broke off in the middle of its lines.", remedy="Try again; the server's log says why."
        )
    return Answer(status=response.status_code, content_type=content_type, body=response.content)


def _is_error(body: bytes) -> bool:
    """Whether a body is an error as the model says it, which has a code."""
    try:
        value = json.loads(body)
    except ValueError:
        return False
    return isinstance(value, dict) and isinstance(value.get("code"), str)


def _ends_with_a_line(body: bytes) -> bool:
    """Whether the last line is one of the model's: where a worker dies over an answer, TorchServe adds its words."""
    try:
        return "type" in json.loads(body.rstrip().rpartition(b"\n")[2])
    except (ValueError, TypeError):
        return False
