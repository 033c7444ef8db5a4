"""When a server is ready, and why it is not: its workers, its canary, its log."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from pathlib import Path

from cli.canary import Canary, read_canary
from cli.errors import StartFailed
from cli.log import ServerLog, last_useful_lines
from cli.probe import find_fault
from cli.processes import find_open_ports, find_processes, is_running
from cli.progress import Step, step
from cli.record import ServerRecord
from client.errors import ModelNotFound
from client.management import ManagementClient, ModelVersion

POLL_SECONDS = 0.2
CALL_TIMEOUT_SECONDS = 60.0

WORKER_ENDED = re.compile(r"Backend worker process died|Backend stream closed")
PORT_TAKEN = re.compile(r"Address already in use|Failed to bind")


class BindFailed(StartFailed):
    """A port was taken while the server started."""


class Waiting:
    """Waits on one server until a deadline, and says why it cannot go on.

    Args:
        record: the server.
        timeout_seconds: from now.
    """

    def __init__(self, record: ServerRecord, *, timeout_seconds: float) -> None:
        self.record = record
        self._deadline = time.monotonic() + timeout_seconds
        self._log = ServerLog(record.logs)

    @property
    def remaining_seconds(self) -> float:
        """Time until the deadline, at least one second so that a last call can be made."""
        return max(1.0, self._deadline - time.monotonic())

    def until(self, missing: Callable[[], str | None], shown: Step) -> None:
        """Ask ``missing`` until it returns None; what else it returns is shown as what is waited for.

        Raises:
            StartFailed: when the server or a worker ended, or the time is over.
        """
        while (what := missing()) is not None:
            shown.update(what)
            if not is_running(self.record.pid, self.record.began_ticks):
                raise self.failure("TorchServe ended while it started")
            if WORKER_ENDED.search(self._log.read()):
                raise self.failure("A worker ended while it loaded the model")
            if time.monotonic() > self._deadline:
                raise self.failure(f"The server did not get ready in time ({what})")
            time.sleep(POLL_SECONDS)

    def failure(self, message: str) -> StartFailed:
        """The error for a server that does not get ready, with the log's last useful lines."""
        log = self._log.read_settled()
        if PORT_TAKEN.search(log):
            return BindFailed(
                f"{message}: a port was taken.", remedy="Start it again, or leave the options for ports out."
            )
        return StartFailed(
            f"{message}. The last useful lines of its log:\n{last_useful_lines(log)}",
            remedy=f"The logs are in {self.record.logs}. If the archive is old, build it again: `activity package`.",
        )


def wait_until_ready(record: ServerRecord, archive: Path, *, timeout_seconds: float) -> None:
    """Wait until every worker is READY and the archive's canary comes back right.

    Raises:
        BindFailed: when a port was taken in the meantime.
        StartFailed: when the server or a worker ended, or ``timeout_seconds`` are over.
    """
    waiting = Waiting(record, timeout_seconds=timeout_seconds)
    with step("Waiting for TorchServe to listen") as shown:
        waiting.until(lambda: _missing_ports(record), shown)
        with build_management(record) as management:
            _check_model(management, waiting)
    scale_workers(record, record.workers, waiting)
    _ask_canary(read_canary(archive), waiting)


def scale_workers(record: ServerRecord, workers: int, waiting: Waiting) -> ModelVersion:
    """Let the model's default version have ``workers`` workers, and wait until each is READY.

    Raises:
        StartFailed: when a worker ended, or the time is over.
    """
    noun = "worker" if workers == 1 else "workers"
    with step(f"Loading {workers} {noun}") as shown, build_management(record) as management:
        # The archive's own number of workers wins at the start, so the wanted one is asked for afterwards.
        if management.describe(record.model)[0].min_workers != workers:
            management.scale(record.model, workers=workers, synchronous=False)
        waiting.until(lambda: missing_workers(management.describe(record.model)[0], workers), shown)
        return management.describe(record.model)[0]


def build_management(record: ServerRecord, *, timeout_seconds: float = CALL_TIMEOUT_SECONDS) -> ManagementClient:
    """A client for the server's management."""
    return ManagementClient(
        record.management_url, record.tokens().management, timeout_seconds=timeout_seconds, ca=record.tls_certificate
    )


def _missing_ports(record: ServerRecord) -> str | None:
    """Look whether it is this server that listens: another one could have taken a port and would answer as well."""
    open_ports = find_open_ports(find_processes(record.pid, record.began_ticks))
    missing = set(record.ports.numbers) - open_ports
    return f"ports {', '.join(map(str, sorted(missing)))}" if missing else None


def _check_model(management: ManagementClient, waiting: Waiting) -> None:
    try:
        management.describe(waiting.record.model)
    except ModelNotFound as exc:
        # Models are registered before the ports open: what is not there now never comes.
        raise waiting.failure(f"TorchServe could not load {Path(waiting.record.archive).name}") from exc


def missing_workers(version: ModelVersion, workers: int) -> str | None:
    """What is missing until a version has just these many workers and each is READY, or None."""
    ready = sum(worker.ready for worker in version.workers)
    return None if ready == len(version.workers) == workers else f"{ready} of {workers} ready"


def _ask_canary(canary: Canary | None, waiting: Waiting) -> None:
    if canary is None:
        return
    with step("Asking the canary") as shown:
        fault = find_fault(waiting.record, canary, timeout_seconds=waiting.remaining_seconds)
        if fault is not None:
            raise waiting.failure(fault)
        shown.result("right")
