"""Whether a version of a running server's model answers: its workers' processes, and the canary of its archive."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from cli.canary import Canary, read_unpacked_canary
from cli.processes import is_running, start_ticks
from cli.record import ServerRecord
from client.errors import ClientError
from client.management import ModelVersion, Worker
from client.patience import ask_patiently
from client.rest import RestClient


@dataclass(frozen=True)
class WorkerProcess:
    """One worker's process; another one that gets its number later is not the same."""

    pid: int
    began_ticks: int

    @property
    def runs(self) -> bool:
        """Whether it is there."""
        return is_running(self.pid, self.began_ticks)


def find_live_workers(version: ModelVersion, *, of: Sequence[Worker] | None = None) -> frozenset[WorkerProcess]:
    """The workers that TorchServe calls READY and whose process runs: it goes on calling them so when they are dead.

    Args:
        version: the version as TorchServe describes it.
        of: look only at these of its workers.
    """
    found = set()
    for worker in version.workers if of is None else of:
        if worker.ready and worker.pid is not None and (began := start_ticks(worker.pid)) is not None:
            found.add(WorkerProcess(worker.pid, began))
    return frozenset(process for process in found if process.runs)


def read_canary_of(version: ModelVersion) -> Canary | None:
    """The canary that this version's archive carries, or None where it carries none or no worker is up.

    It is read from a worker's own folder, which is the archive as it was loaded: the file in the model store may have
    been replaced since.
    """
    for worker in find_live_workers(version):
        try:
            return read_unpacked_canary(Path(psutil.Process(worker.pid).cwd()))
        except (psutil.Error, OSError):
            continue
    return None


def find_fault(
    record: ServerRecord,
    canary: Canary,
    *,
    version: str | None = None,
    timeout_seconds: float,
    patience_seconds: float = 0.0,
) -> str | None:
    """Ask a canary by REST; returns what is wrong with the server's answer, or None.

    Args:
        record: the server.
        canary: the question and its answer.
        version: the version that is asked; None is the default one.
        timeout_seconds: how long the answer may take, its time in the queue included.
        patience_seconds: how long a full queue, and a worker that was taken away over it, is no fault; at most the
            timeout.
    """
    token, patience_seconds = record.tokens().inference, min(patience_seconds, timeout_seconds)
    with RestClient(
        record.inference_url,
        token,
        model=record.model,
        version=version,
        timeout_seconds=timeout_seconds,
        ca=record.tls_certificate,
    ) as client:

        def ask() -> str | None:
            fault = canary.find_fault(client.predict(**canary.parts, options=canary.options))
            return None if fault is None else f"The canary came back wrong: {fault}"

        try:
            return ask_patiently(ask, patience_seconds=patience_seconds) if patience_seconds else ask()
        except ClientError as exc:
            return f"The canary was not answered: {exc.message}"
