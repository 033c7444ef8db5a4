"""The server's management by REST: models, versions and workers.

>>> from client.management import ManagementClient
>>> with ManagementClient("http://127.0.0.1:8081", token) as management:     # doctest: +SKIP
...     management.scale("activity", workers=2)
...     for version in management.describe("activity"):
...         print(version.version, [worker.status for worker in version.workers])
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx

from client.closing import Closing
from client.errors import UnexpectedAnswer, refusal_of_server, unreachable
from client.rest import build_http_client, connect_or_answer_timeout, server_message

DEFAULT_TIMEOUT_SECONDS = 330.0
"""Above the time a worker may take to start (``startupTimeout`` in config/model-config.yaml)."""

READY = "READY"


@dataclass(frozen=True)
class Worker:
    """One worker process of a model's version."""

    id: str
    status: str
    """``READY``, or ``UNLOADING`` both while it loads and while it is down."""
    pid: int | None
    """None until the process has said so."""

    @property
    def ready(self) -> bool:
        """Whether it takes requests."""
        return self.status == READY


@dataclass(frozen=True)
class ModelVersion:
    """One registered version of a model."""

    name: str
    version: str
    url: str
    """The archive's file name in the model store."""
    min_workers: int
    max_workers: int
    batch_size: int
    max_batch_delay_milliseconds: int
    response_timeout_seconds: int
    pending_requests: int
    workers: tuple[Worker, ...]


class ManagementClient(Closing):
    """Manages the models of one server.

    Args:
        base_url: the management address, such as ``http://127.0.0.1:8081``.
        token: the management key of the server's key_file.json; None where the server asks for none.
        timeout_seconds: how long to wait for one answer; starting a worker is part of scaling up.
        ca: as of :class:`client.rest.RestClient`.
    """

    def __init__(
        self,
        base_url: str,
        token: str | None = None,
        *,
        timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS,
        ca: Path | str | None = None,
    ) -> None:
        self.base_url = base_url.rstrip("/")
        self._timeout_seconds = timeout_seconds
        self._http = build_http_client(self.base_url, token, timeout_seconds, ca)

    def list(self) -> tuple[str, ...]:
        """The names of the registered models."""
        names: list[str] = []
        page: str | None = "0"
        while page is not None:
            answer = self._call("GET", "/models", {"limit": 100, "next_page_token": page})
            names.extend(model["modelName"] for model in answer["models"])
            page = answer.get("nextPageToken")
        return tuple(names)

    def describe(self, name: str, version: str | None = None) -> tuple[ModelVersion, ...]:
        """The default version of a model, or ``version``, or with ``"all"`` every one.

        Raises:
            client.errors.ModelNotFound: when there is none.
        """
        return parse_description(self._call("GET", _model_path(name, version)))

    def register(self, archive: str, *, name: str | None = None, workers: int = 1, synchronous: bool = True) -> str:
        """Register an archive that lies in the server's model store; returns what the server says.

        The server must run with ``enable_model_api=true``. Where the archive has a model-config.yaml, as the ones of
        this project have, its settings win over the server's.

        Args:
            archive: file name in the model store.
            name: registered name; None means the archive's own.
            workers: workers to start at once.
            synchronous: wait until they are ready.

        Raises:
            client.errors.Conflict: when that version is registered already.
            client.errors.ModelNotFound: when there is no such file.
        """
        parameters: dict[str, Any] = {"url": archive, "initial_workers": workers, "synchronous": _flag(synchronous)}
        if name is not None:
            parameters["model_name"] = name
        return self._command("POST", "/models", parameters)

    def scale(self, name: str, *, workers: int, version: str | None = None, synchronous: bool = True) -> str:
        """Start or stop workers until there are ``workers``; returns what the server says.

        Going down is not graceful: requests in flight on a stopped worker are lost.
        """
        parameters = {"min_worker": workers, "max_worker": workers, "synchronous": _flag(synchronous)}
        return self._command("PUT", _model_path(name, version), parameters)

    def set_default(self, name: str, version: str) -> str:
        """Let requests that name no version go to ``version``."""
        return self._command("PUT", f"{_model_path(name, version)}/set-default")

    def unregister(self, name: str, version: str | None = None) -> str:
        """Stop the workers of a version (None: of the default one) and forget it."""
        return self._command("DELETE", _model_path(name, version))

    def _command(self, method: str, path: str, parameters: Mapping[str, Any] | None = None) -> str:
        return str(self._call(method, path, parameters).get("status", ""))

    def _call(self, method: str, path: str, parameters: Mapping[str, Any] | None = None) -> Any:
        try:
            response = self._http.request(method, path, params=parameters)
        except httpx.TimeoutException as exc:
            raise connect_or_answer_timeout(self.base_url, self._timeout_seconds, exc) from exc
        except httpx.TransportError as exc:
            raise unreachable(self.base_url, exc) from exc
        message = server_message(response.content)
        if message is not None or response.is_error:
            raise refusal_of_server(self.base_url, response.status_code, message or "no explanation")
        return parse_json(self.base_url, response.text)

    def close(self) -> None:
        """Close the connections."""
        self._http.close()


def parse_json(address: str, text: str) -> Any:
    """Read a management answer.

    Raises:
        UnexpectedAnswer: when it is no JSON, so that something else than TorchServe listens there.
    """
    try:
        return json.loads(text)
    except ValueError as exc:
        raise UnexpectedAnswer(
            f"{address} answered with something that is no JSON.",
            remedy="Check that this is the management port of a TorchServe.",
        ) from exc


def parse_description(described: Sequence[Mapping[str, Any]]) -> tuple[ModelVersion, ...]:
    """Read the JSON that REST and gRPC describe a model with."""
    return tuple(
        ModelVersion(
            name=model["modelName"],
            version=model["modelVersion"],
            url=model["modelUrl"],
            min_workers=model["minWorkers"],
            max_workers=model["maxWorkers"],
            batch_size=model["batchSize"],
            max_batch_delay_milliseconds=model["maxBatchDelay"],
            response_timeout_seconds=model["responseTimeout"],
            pending_requests=model.get("jobQueueStatus", {}).get("pendingRequests", 0),
            workers=tuple(_parse_worker(worker) for worker in model["workers"]),
        )
        for model in described
    )


def _parse_worker(worker: Mapping[str, Any]) -> Worker:
    pid = int(worker.get("pid") or 0)
    return Worker(id=worker["id"], status=worker["status"], pid=pid if pid > 0 else None)


def _model_path(name: str, version: str | None) -> str:
    path = f"/models/{quote(name, safe='')}"
    return path if version is None else f"{path}/{quote(version, safe='')}"


def _flag(value: bool) -> str:
    return "true" if value else "false"
