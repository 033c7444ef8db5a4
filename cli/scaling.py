"""More workers or fewer while requests come in, and none of them lost.

When TorchServe takes a worker away it puts what the worker was at back into the queue, and another one does it. But its
threads race over that: seldom, and more often where the worker's answers are just on their way, a request is answered
twice or with an error, and one of gRPC that is answered twice ends the thread of the worker that did it: that worker is
dead for good and shown as READY. So the front holds new requests for a moment (:mod:`cli.holding`) until the worker has
nothing; and each worker is stopped (SIGSTOP) before it goes: without a front it has at least not answered yet.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress

import psutil

from cli.errors import CommandError
from cli.holding import holding
from cli.probe import WorkerProcess, find_fault, find_live_workers, read_canary_of
from cli.progress import Step, step
from cli.readiness import Waiting, build_management
from cli.record import ServerRecord
from client.management import ManagementClient, ModelVersion

QUIET_SECONDS = 0.5
"""A worker that used no processor time for so long is at rest."""
PATIENCE_SECONDS = 10.0
"""How long a quiet moment is waited for before a worker is taken away."""
SETTLE_SECONDS = 0.5
"""How long the answers of a worker that was just stopped may be on their way within TorchServe."""
CANARY_PATIENCE_SECONDS = 60.0
POLL_SECONDS = 0.1


def scale_model(
    record: ServerRecord,
    workers: int,
    waiting: Waiting,
    *,
    version: str | None = None,
    patience_seconds: float = PATIENCE_SECONDS,
) -> ModelVersion:
    """Let a version of the model have ``workers`` workers, and wait until each is READY and the canary comes back.

    Args:
        record: the server.
        workers: how many it is to have, at least one.
        waiting: until when.
        version: None is the default one.
        patience_seconds: how long a quiet moment is waited for before each worker that goes.

    Raises:
        StartFailed: when a worker ended while it loaded, or the time is over.
        CommandError: when the canary comes back wrong.
    """
    noun = "worker" if workers == 1 else "workers"
    with build_management(record) as management:
        before = len(_describe(management, record, version).workers)
        if workers < before:
            for left in range(before - 1, workers - 1, -1):
                with step(f"Taking away a worker, {left} of {before} stay") as shown:
                    _take_away_one(management, waiting, version, left, patience_seconds, shown)
        else:
            with step(f"Loading {workers} {noun}") as shown:
                management.scale(record.model, workers=workers, version=version, synchronous=False)
                waiting.until(lambda: _missing(_describe(management, record, version), workers), shown)
        described = _describe(management, record, version)
    check_canary(record, described, timeout_seconds=waiting.remaining_seconds)
    return described


def check_canary(record: ServerRecord, version: ModelVersion, *, timeout_seconds: float) -> None:
    """Ask a version the canary of its own archive.

    Raises:
        CommandError: when it does not come back right.
    """
    canary = read_canary_of(version)
    if canary is None:
        return
    with step(f"Asking the canary of version {version.version}") as shown:
        fault = find_fault(
            record,
            canary,
            version=version.version,
            timeout_seconds=timeout_seconds,
            patience_seconds=CANARY_PATIENCE_SECONDS,
        )
        if fault is not None:
            raise CommandError(fault, remedy=f"The server's log says more: {record.logs}.")
        shown.result("right")


def wait_for_quiet(processes: Iterable[WorkerProcess], *, timeout_seconds: float) -> bool:
    """Wait until these workers have used no processor time for a moment, those decoding for them included.

    Returns:
        Whether that moment came in time.
    """
    deadline = time.monotonic() + timeout_seconds
    wanted = list(processes)
    used, since = _processor_seconds(wanted), time.monotonic()
    while (now := time.monotonic()) - since < QUIET_SECONDS:
        if now > deadline:
            return False
        time.sleep(POLL_SECONDS)
        if (latest := _processor_seconds(wanted)) != used:
            used, since = latest, time.monotonic()
    return True


def _take_away_one(
    management: ManagementClient,
    waiting: Waiting,
    version: str | None,
    left: int,
    patience_seconds: float,
    shown: Step,
) -> None:
    record = waiting.record
    with holding(record) as held:
        described = _describe(management, record, version)
        doomed = find_live_workers(described, of=described.workers[-1:])  # TorchServe takes from the end of its list
        quiet = wait_for_quiet(doomed, timeout_seconds=patience_seconds)
        with _stopped(doomed):
            management.scale(record.model, workers=left, version=version, synchronous=False)

            def missing() -> str | None:
                alive = sum(process.runs for process in doomed)
                return "it is ending" if alive else _missing(_describe(management, record, version), left)

            waiting.until(missing, shown)
    where = "; new requests waited at the front" if held else ""
    shown.result(("it was at rest" if quiet else "another one has what it was at") + where)


@contextmanager
def _stopped(workers: Iterable[WorkerProcess]) -> Iterator[None]:
    """Stop processes that are going to be killed, long enough for what they have just answered to be gone."""
    processes = []
    for worker in workers:
        with suppress(psutil.Error):
            process = psutil.Process(worker.pid)
            process.suspend()
            processes.append(process)
    try:
        time.sleep(SETTLE_SECONDS)
        yield
    finally:
        for process in processes:
            with suppress(psutil.Error):
                process.resume()


def _missing(version: ModelVersion, workers: int) -> str | None:
    """As :func:`cli.readiness.missing_workers`, of workers whose process runs."""
    alive = len(find_live_workers(version))
    return None if alive == len(version.workers) == workers else f"{alive} of {workers} ready"


def _describe(management: ManagementClient, record: ServerRecord, version: str | None) -> ModelVersion:
    return management.describe(record.model, version)[0]


def _processor_seconds(processes: Iterable[WorkerProcess]) -> float:
    """Processor seconds that these and all below them have used, in user and system time."""
    total = 0.0
    for worker in processes:
        try:
            process = psutil.Process(worker.pid)
            total += sum(sum(each.cpu_times()[:4]) for each in (process, *process.children(recursive=True)))
        except psutil.Error:
            continue
    return total
