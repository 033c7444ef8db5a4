"""Whether a server is ready, as it is at this moment.

TorchServe goes on saying Healthy and READY while every worker is dead. Here a worker counts while its process runs, and
a server is ready while enough of them do and a canary came back right since the first of them was up. The processes
are looked at each time somebody asks, so the answer is no older than the question.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Set
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import Self

from cli.errors import CommandError
from cli.probe import WorkerProcess, find_fault, find_live_workers, read_canary_of
from cli.readiness import build_management
from cli.record import ServerRecord, require_record
from cli.server import is_up
from client.errors import ClientError
from client.management import ModelVersion

POLL_SECONDS = 0.25
"""How often TorchServe is asked which workers it has."""
STALE_SECONDS = 5.0
"""How long TorchServe may leave that unanswered before it counts as down."""
CANARY_EVERY_SECONDS = 15.0
AGAIN_SECONDS = 1.0
"""How soon one is asked again that came back wrong."""
CANARY_TIMEOUT_SECONDS = 30.0
CANARY_PATIENCE_SECONDS = 10.0
"""How long a full queue is no fault of the canary's."""


@dataclass(frozen=True)
class Readiness:
    """One look at a server."""

    ready: bool
    reason: str
    """Why, or why not, in words."""
    workers: int = 0
    """How many workers are READY, with a process that runs."""


@dataclass(frozen=True)
class Seen:
    """What is known of a server's default version."""

    workers: frozenset[WorkerProcess] = field(default_factory=frozenset)
    """READY when TorchServe was last asked."""
    vetted: frozenset[WorkerProcess] = field(default_factory=frozenset)
    """Those that were READY when a canary last came back right."""
    fault: str | None = "no canary has been asked yet"
    """What was wrong with the last canary."""

    def judge(self, alive: Set[WorkerProcess], at_least: int) -> Readiness:
        """Whether a server is ready of whose workers these are alive.

        A worker that came later than the canary counts once one of the vetted is beside it: a worker that is taken away
        or added does not make a server unready.
        """
        number = len(alive)
        if number < at_least:
            return Readiness(False, f"{number} of the {at_least} workers that it takes are READY and alive", number)
        if self.fault is not None:
            return Readiness(False, self.fault, number)
        if not self.vetted & alive:
            return Readiness(False, "no canary came back yet since the workers were started", number)
        return Readiness(True, f"{number} READY, canary right", number)


@dataclass(frozen=True)
class Look:
    """What TorchServe last said of itself, and when."""

    record: ServerRecord | None = None
    version: ModelVersion | None = None
    at: float = -math.inf
    """Seconds of the monotonic clock."""
    trouble: str | None = None
    """Why it could not be asked since, if so."""


def look_once(record: ServerRecord, *, at_least: int = 1, timeout_seconds: float) -> Readiness:
    """Look at the workers and ask one canary, which may take ``timeout_seconds``."""
    try:
        with build_management(record, timeout_seconds=timeout_seconds) as management:
            version = management.describe(record.model)[0]
        workers = find_live_workers(version)
        if len(workers) < at_least:
            return Seen(workers).judge(workers, at_least)
        fault = _ask(record, version, timeout_seconds)
    except (ClientError, CommandError) as exc:
        return Readiness(False, exc.message)
    return Seen(workers, workers, fault).judge({worker for worker in workers if worker.runs}, at_least)


class Watch:
    """Watches the server of a run folder for as long as its ``with`` block lasts, and the next one after that.

    Args:
        run_dir: the run folder.
        at_least: how many workers it takes to be ready.
        canary_every_seconds: how often a canary is asked while nothing changes.
    """

    def __init__(self, run_dir: Path, *, at_least: int = 1, canary_every_seconds: float = CANARY_EVERY_SECONDS) -> None:
        self._run_dir = run_dir
        self._at_least = at_least
        self._canary_every_seconds = canary_every_seconds
        self._lock = threading.Lock()
        self._look = Look()
        self._seen = Seen()
        self._next: ModelVersion | None = None
        """The version that has become the default one since."""
        self._changed, self._ended = threading.Event(), threading.Event()
        self._threads = [threading.Thread(target=loop, daemon=True) for loop in (self._poll, self._vet)]

    def state(self) -> Readiness:
        """How it is now."""
        with self._lock:
            look, seen = self._look, self._seen
        if look.record is None or not is_up(look.record):
            return Readiness(False, look.trouble or "the server is not running")
        if time.monotonic() - look.at > STALE_SECONDS:
            return Readiness(False, look.trouble or "TorchServe does not say which workers it has")
        return seen.judge({worker for worker in seen.workers if worker.runs}, self._at_least)

    def _poll(self) -> None:
        """Ask which workers there are, and wake the canary when one is new."""
        while not self._ended.is_set():
            try:
                record = require_record(self._run_dir)
                with build_management(record, timeout_seconds=STALE_SECONDS) as management:
                    while is_up(record) and not self._ended.is_set():
                        self._note(record, management.describe(record.model)[0])
                        self._ended.wait(POLL_SECONDS)
            except (ClientError, CommandError) as exc:
                with self._lock:
                    self._look = replace(self._look, trouble=exc.message)
            self._ended.wait(POLL_SECONDS)

    def _note(self, record: ServerRecord, version: ModelVersion) -> None:
        workers = find_live_workers(version)
        with self._lock:
            before = self._look.version
            if before is not None and before.version != version.version and self._seen.vetted:
                # Another version answers now: the canary of this one decides, and until then the workers before it.
                self._next, self._look = version, replace(self._look, at=time.monotonic())
                self._changed.set()
                return
            self._next = None
            if workers - self._seen.workers:
                self._changed.set()
            self._look = Look(record, version, time.monotonic())
            self._seen = Seen(workers, self._seen.vetted & workers, self._seen.fault)

    def _vet(self) -> None:
        """Ask the canary: now and then, and when there are workers that it has not seen."""
        while not self._ended.is_set():
            self._changed.wait(self._canary_every_seconds if self._seen.fault is None else AGAIN_SECONDS)
            self._changed.clear()
            with self._lock:
                look, version, workers = self._look, self._next or self._look.version, self._seen.workers
            if look.record is None or version is None or self._ended.is_set():
                continue
            if version is not look.version:
                workers = find_live_workers(version)
            if not workers:
                continue
            try:
                fault = _ask(look.record, version, CANARY_TIMEOUT_SECONDS)
            except (ClientError, CommandError) as exc:
                fault = exc.message
            with self._lock:
                if self._next is not None and self._next.version == version.version:
                    self._look, self._next = replace(self._look, version=version), None
                    self._seen = Seen(workers)
                vetted = self._seen.workers & workers if fault is None else frozenset()
                self._seen = Seen(self._seen.workers, vetted, fault)

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._ended.set()
        self._changed.set()


def wait_until(watch: Watch, *, ready: bool, timeout_seconds: float) -> Readiness:
    """Wait until a watch says so; returns its last word, right or not."""
    deadline = time.monotonic() + timeout_seconds
    while (state := watch.state()).ready is not ready and time.monotonic() < deadline:
        time.sleep(POLL_SECONDS)
    return state


def _ask(record: ServerRecord, version: ModelVersion, timeout_seconds: float) -> str | None:
    canary = read_canary_of(version)
    if canary is None:
        return None
    return find_fault(
        record,
        canary,
        version=version.version,
        timeout_seconds=timeout_seconds,
        patience_seconds=min(timeout_seconds, CANARY_PATIENCE_SECONDS),
    )
