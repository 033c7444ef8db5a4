"""The end of a server, or of a front, without the end of a request.

TorchServe has no graceful end: SIGTERM resets every request in flight. So before it is ended a mark in its run folder
says that it is going to be: `activity ready` and /ready are false, and its front refuses new requests with a 503. Then
what is in flight is waited for, so long and no longer: what the front has sent on, what stands in TorchServe's queue,
and what the workers are at. Clients that go around the front are not refused; while they go on asking there may be no
moment in which nothing is in flight.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from cli.draining_mark import DRAIN_SECONDS, remove_mark, set_mark
from cli.nginx import FOLDER_NAME, count_in_flight, running_in
from cli.probe import find_live_workers
from cli.readiness import build_management
from cli.record import ServerRecord
from cli.scaling import wait_for_quiet
from client.errors import ClientError

POLL_SECONDS = 0.1
ENTERED_SECONDS = 0.3
"""How long what was let in just before may be on its way to the server."""
ASKING_SECONDS = 5.0
"""How long TorchServe may take to say how many requests wait."""


@dataclass(frozen=True)
class Drained:
    """What came of the wait."""

    quiet: bool
    """Whether nothing was in flight at its end."""
    seconds: float


@contextmanager
def drained_server(record: ServerRecord, *, limit_seconds: float = DRAIN_SECONDS) -> Iterator[Drained]:
    """Refuse new requests while the block runs, which begins once nothing is in flight, or the time is over.

    Args:
        record: the server.
        limit_seconds: how long to wait at most; 0 does not wait.
    """
    run_dir = Path(record.run_dir)
    front = run_dir / FOLDER_NAME
    marked = [run_dir, *([front] if running_in(front) is not None else [])]
    began = time.monotonic()
    try:
        for folder in marked:
            set_mark(folder)
        quiet = limit_seconds > 0 and _wait_for_server(record, front, began + limit_seconds)
        yield Drained(quiet, time.monotonic() - began)
    finally:
        for folder in marked:
            remove_mark(folder)


def drain_front(folder: Path, *, limit_seconds: float = DRAIN_SECONDS) -> Drained:
    """Let a front take no new requests any more, and wait until those it has sent on are answered.

    The mark stays: the front is to be ended now.
    """
    began = time.monotonic()
    set_mark(folder)
    return Drained(_wait_for_front(folder, began + limit_seconds), time.monotonic() - began)


def _wait_for_server(record: ServerRecord, front: Path, deadline: float) -> bool:
    while time.monotonic() < deadline:
        if not _wait_for_front(front, deadline):
            return False
        try:
            seconds = max(POLL_SECONDS, min(ASKING_SECONDS, deadline - time.monotonic()))
            with build_management(record, timeout_seconds=seconds) as management:
                described = [each for name in management.list() for each in management.describe(name, "all")]
        except ClientError:
            return False  # it does not answer: nothing is lost that was not lost before
        if any(each.pending_requests for each in described):
            time.sleep(POLL_SECONDS)
            continue
        workers = [worker for each in described for worker in find_live_workers(each)]
        if wait_for_quiet(workers, timeout_seconds=deadline - time.monotonic()) and not count_in_flight(front):
            return True
    return False


def _wait_for_front(folder: Path, deadline: float) -> bool:
    empty_since: float | None = None
    while (now := time.monotonic()) < deadline:
        if count_in_flight(folder):
            empty_since = None
        elif empty_since is None:
            empty_since = now
        elif now - empty_since >= ENTERED_SECONDS:
            return True
        time.sleep(POLL_SECONDS)
    return False
