"""Whether a server is ready, as it is at this moment.

TorchServe goes on saying Healthy and READY while every worker is dead. Here a worker counts while its process runs, and
a server is ready while enough of them do and a canary came back right since the first of them was up. The processes
are looked at each time somebody asks, so the answer is no older than the question.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Mapping, Set
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import Self

from cli.draining_mark import REASON, is_draining
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


UNSEEN = "the server has not been looked at yet"
NOT_RUNNING = "the server is not running"
UNASKED = "no canary has been asked yet"


@dataclass(frozen=True)
class Seen:
    """What is known of one version of a server's model."""

    workers: frozenset[WorkerProcess] = field(default_factory=frozenset)
    """READY when TorchServe was last asked."""
    vetted: frozenset[WorkerProcess] = field(default_factory=frozenset)
    """Those that were READY when a canary last came back right."""
    fault: str | None = UNASKED
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
    versions: Mapping[str, ModelVersion] = field(default_factory=dict)
    default: str = ""
    before: str = ""
    """The default version before this one, until a canary of this one came back."""
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
        self._seen: dict[str, Seen] = {}
        self._changed, self._ended = threading.Event(), threading.Event()
        self._threads = [threading.Thread(target=loop, daemon=True) for loop in (self._poll, self._vet)]

    def state(self) -> Readiness:
        """How it is now."""
        with self._lock:
            look, seen = self._look, dict(self._seen)
        if look.record is None:
            return Readiness(False, look.trouble or UNSEEN)
        if not is_up(look.record):
            return Readiness(False, look.trouble or NOT_RUNNING)
        if is_draining(self._run_dir):
            return Readiness(False, REASON)
        if time.monotonic() - look.at > STALE_SECONDS:
            return Readiness(False, look.trouble or "TorchServe does not say which workers it has")
        now = seen.get(look.default, Seen())
        if now.fault == UNASKED and look.before in seen:
            now = seen[look.before]  # another version has just taken over: its canary is on its way
        return now.judge({worker for worker in now.workers if worker.runs}, self._at_least)

    def _poll(self) -> None:
        """Ask which workers there are, and wake the canary when one is new."""
        while not self._ended.is_set():
            try:
                record = require_record(self._run_dir)
                if is_up(record):
                    self._follow(record)
                if not is_up(record):
                    self._note_trouble(NOT_RUNNING)
            except (ClientError, CommandError) as exc:
                self._note_trouble(exc.message)
            self._ended.wait(POLL_SECONDS)

    def _follow(self, record: ServerRecord) -> None:
        with build_management(record, timeout_seconds=STALE_SECONDS) as management:
            while is_up(record) and not self._ended.is_set():
                versions = {each.version: each for each in management.describe(record.model, "all")}
                self._note(record, versions, management.describe(record.model)[0].version)
                self._ended.wait(POLL_SECONDS)

    def _note_trouble(self, reason: str) -> None:
        with self._lock:
            self._look = replace(self._look, trouble=reason)

    def _note(self, record: ServerRecord, versions: Mapping[str, ModelVersion], default: str) -> None:
        found = {name: find_live_workers(version) for name, version in versions.items()}
        with self._lock:
            before = self._look.before if self._look.default == default else self._look.default
            self._look = Look(record, versions, default, before, time.monotonic())
            for name in versions.keys() | self._seen.keys():
                workers = found.get(name, frozenset())
                seen = self._seen.get(name, Seen())
                if workers - seen.workers:
                    self._changed.set()
                # A version without workers is as one that was never asked: it comes back with others.
                self._seen[name] = Seen(workers, seen.vetted & workers, seen.fault) if workers else Seen()
            if default in self._seen and self._seen[default].vetted:
                self._look = replace(self._look, before="")

    def _vet(self) -> None:
        """Ask the canary: now and then, and when there are workers that it has not seen."""
        wait_seconds = AGAIN_SECONDS
        while not self._ended.is_set():
            self._changed.wait(wait_seconds)
            changed = self._changed.is_set()
            self._changed.clear()
            with self._lock:
                look, seen = self._look, dict(self._seen)
            new = [name for name, each in seen.items() if each.workers and (each.fault or each.workers - each.vetted)]
            for name in new if changed or new else [look.default]:
                self._ask(look, name, seen.get(name, Seen()).workers)
            with self._lock:
                right = bool(self._seen) and all(each.fault is None for each in self._seen.values() if each.workers)
            wait_seconds = self._canary_every_seconds if right else AGAIN_SECONDS

    def _ask(self, look: Look, name: str, workers: frozenset[WorkerProcess]) -> None:
        if look.record is None or not workers or self._ended.is_set():
            return
        try:
            fault = _ask(look.record, look.versions[name], CANARY_TIMEOUT_SECONDS)
        except (ClientError, CommandError) as exc:
            fault = exc.message
        with self._lock:
            now = self._seen[name].workers
            self._seen[name] = Seen(now, now & workers if fault is None else frozenset(), fault)

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._ended.set()
        self._changed.set()


def _ask(record: ServerRecord, version: ModelVersion, timeout_seconds: float) -> str | None:
    canary = read_canary_of(version)
    if canary is None:
        return None
    return find_fault(
        record,
        canary,
        version=version.version,
        timeout_seconds=timeout_seconds,
        patience_seconds=CANARY_PATIENCE_SECONDS,
    )
