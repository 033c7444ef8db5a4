"""What hostile requests are sent to: a worker without a server, or a server; both are asked in the same way."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Literal, Protocol

import httpx

from benchmarks.hostile.requests import Request, is_json
from cli.archive import build_archive
from cli.record import ServerRecord
from cli.server import ServeSettings, end_server, start_server
from models.checkpoint import CheckpointDescription, save_checkpoint
from tests.models.every import EVERY
from tests.models.tiny import tiny_model, tiny_tokenizer

TargetName = Literal["pipeline", "server"]
PATIENCE_SECONDS = 90.0


@dataclass(frozen=True)
class Reply:
    """What came of one request."""

    status: int
    """0 where nothing came."""
    body: bytes

    @property
    def code(self) -> str:
        """The code of an error; "200" of an answer; else what is wrong with it."""
        if not self.status:
            return "no answer"
        try:
            values = json.loads(self.body)
        except ValueError:
            return f"{self.status} without JSON"
        if self.status == 200:
            return "200"
        return str(values.get("code", f"{self.status} without a code"))


class Target(Protocol):
    """What is asked."""

    batch_size: int

    def worker_pid(self) -> int:
        """The process that answers; its descendants decode."""

    def ask(self, requests: Sequence[Request]) -> list[Reply]:
        """Send requests at once, and wait for all answers."""


class WorkerTarget:
    """A process of :mod:`benchmarks.hostile.worker`; another one when it dies.

    Args:
        batch_size: requests that it is asked at once.
    """

    def __init__(self, batch_size: int) -> None:
        self.batch_size = batch_size
        self._start()

    def _start(self) -> None:
        ours, theirs = socket.socketpair()
        command = [sys.executable, "-m", "benchmarks.hostile.worker", str(theirs.fileno())]
        self._process = subprocess.Popen(command, pass_fds=[theirs.fileno()])  # noqa: S603 - our own
        theirs.close()
        self._connection = Connection(ours.detach())
        self._connection.recv()

    def worker_pid(self) -> int:
        """See :class:`Target`."""
        return self._process.pid

    def ask(self, requests: Sequence[Request]) -> list[Reply]:
        """See :class:`Target`; a worker that dies or hangs is replaced, and gives no answers."""
        try:
            self._connection.send(list(requests))
            if self._connection.poll(PATIENCE_SECONDS):
                return [Reply(*each) for each in self._connection.recv()]
        except (EOFError, OSError):
            pass
        self.close()
        self._start()
        return [Reply(0, b"")] * len(requests)

    def close(self) -> None:
        """End it."""
        self._connection.close()
        try:
            self._process.wait(1.0)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


class ServerTarget:
    """A TorchServe that is there, with one worker.

    Args:
        record: of the server.
        model: whose worker is asked.
        batch_size: requests that it is asked at once.
    """

    def __init__(self, record: ServerRecord, model: str, batch_size: int) -> None:
        self.batch_size = batch_size
        self._record, self._model = record, model
        headers = {"Authorization": f"Bearer {record.tokens().inference}"}
        self._client = httpx.Client(headers=headers, timeout=PATIENCE_SECONDS, trust_env=False)
        self._threads = ThreadPoolExecutor(batch_size)

    def worker_pid(self) -> int:
        """See :class:`Target`."""
        url = f"{self._record.management_url}/models/{self._model}"
        headers = {"Authorization": f"Bearer {self._record.tokens().management}"}
        (model,) = httpx.get(url, headers=headers, trust_env=False).json()
        (worker,) = model["workers"]
        return int(worker["pid"])

    def ask(self, requests: Sequence[Request]) -> list[Reply]:
        """See :class:`Target`."""
        return list(self._threads.map(self._ask, requests))

    def _ask(self, request: Request) -> Reply:
        kinds = {
            name: "application/json" if is_json(name, content) else "application/octet-stream"
            for name, content in request.items()
        }
        sent: dict[str, Any] = {"files": {name: (name, content, kinds[name]) for name, content in request.items()}}
        if request.keys() == {"body"}:
            sent = {"content": request["body"], "headers": {"Content-Type": kinds["body"]}}
        try:
            response = self._client.post(f"{self._record.inference_url}/predictions/{self._model}", **sent)
        except httpx.HTTPError:
            return Reply(0, b"")
        return Reply(response.status_code, response.content)

    def close(self) -> None:
        """Let go of the connections."""
        self._threads.shutdown()
        self._client.close()


@contextmanager
def running_target(name: TargetName, batch_size: int) -> Iterator[Target]:
    """A worker, or a server with one worker and the tiny model of all modalities, for as long as the context lasts."""
    if name == "pipeline":
        worker = WorkerTarget(batch_size)
        try:
            yield worker
        finally:
            worker.close()
        return
    with tempfile.TemporaryDirectory() as folder:
        archive = build_every_archive(Path(folder))
        record = start_server(ServeSettings(archive=archive, run_dir=Path(folder) / "run", workers=1))
        server = ServerTarget(record, record.model, batch_size)
        try:
            yield server
        finally:
            server.close()
            end_server(record)


def build_every_archive(folder: Path) -> Path:
    """An archive of a tiny model of all modalities, so that each decoder is reached."""
    checkpoint = folder / "checkpoint"
    checkpoint.mkdir()
    description = CheckpointDescription(name="tiny", version="0.1", config=EVERY)
    save_checkpoint(checkpoint, description, tiny_model(EVERY), tiny_tokenizer())
    return build_archive(checkpoint, folder / "every.mar", name="tiny", version="0.1").path
