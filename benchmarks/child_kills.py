"""Decode children are killed, or stopped for good, while clients ask: what each costs.

    python -m benchmarks.child_kills                          # SIGKILL, 100 times; then SIGSTOP, 10 times
    python -m benchmarks.child_kills --signal KILL --times 20

A server is started for it, and eight clients ask it as in :mod:`benchmarks.worker_kills`. A child that is killed costs
no request, or one: its request has a second child. One that is stopped overstays: it is killed, and its request is told
so.
What is promised, and ends this with exit code 1 where it does not hold:

- a child costs at most one request, with the code decoder_crashed or limit_decode_seconds;
- no other request fails, and no answer is another request's, or changed;
- the worker is the same process at the end, and has as many children as before.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil
from rich.console import Console

from benchmarks.asking import CHILD_CODES, Clients, Ledger, ways_to
from benchmarks.known_requests import KnownRequest, make_requests
from cli.archive import build_archive
from cli.package import DEMO_CHECKPOINT
from cli.probe import find_live_workers
from cli.readiness import build_management
from cli.record import ServerRecord
from cli.server import ServeSettings, end_server, start_server
from handler.pipeline import ActivityPipeline

SIGNALS = {"KILL": signal.SIGKILL, "STOP": signal.SIGSTOP}
TIMES = {"KILL": 100, "STOP": 10}
PAUSE_SECONDS = 0.3
"""From one signal to the next."""
OVERSTAY_SECONDS = 20.0
"""Within which a child that was stopped has been killed: 5 s, and the seconds of its clip."""
NUM_REQUESTS = 96
CHILD = "activity-decode"
"""What decode children are called."""


@dataclass(frozen=True)
class Report:
    """What came of it."""

    hits: int
    """Children that got the signal."""
    ledger: Ledger
    same_worker: bool
    left_over: int
    """Children that were hit and are still there."""

    @property
    def broken(self) -> list[str]:
        """The promises that do not hold."""
        others = {what: count for what, count in self.ledger.failed.items() if what not in CHILD_CODES}
        promises = {
            f"{self.hits} children cost {self.ledger.lost} requests": self.ledger.lost > self.hits,
            f"other requests failed: {others}": bool(others),
            f"{self.ledger.mixed_up} answers were another request's": bool(self.ledger.mixed_up),
            f"{self.ledger.changed} answers were changed": bool(self.ledger.changed),
            "the worker is another one": not self.same_worker,
            f"{self.left_over} children are still there": bool(self.left_over),
            "no child was hit, or nothing was answered": not (self.hits and self.ledger.answered),
        }
        return [what for what, is_broken in promises.items() if is_broken]


def hit_children(
    record: ServerRecord, requests: Sequence[KnownRequest], name: str, times: int, *, seed: int = 0
) -> Report:
    """Send a signal to a decode child by chance, so many times, while eight clients ask.

    Args:
        record: a server with one worker.
        requests: what the clients ask.
        name: of :data:`SIGNALS`.
        times: how often.
        seed: of who is hit.
    """
    worker, chance = worker_of(record), random.Random(seed)  # noqa: S311 - who is hit is no secret
    hit: list[psutil.Process] = []
    with Clients(ways_to(record, None, 8), requests) as asking:
        while len(hit) < times:
            time.sleep(PAUSE_SECONDS * chance.uniform(0.5, 1.5))
            children = [child for child in children_of(worker) if child not in hit]
            if children:
                target = chance.choice(children)
                with suppress(psutil.NoSuchProcess):  # it has just ended by itself
                    target.send_signal(SIGNALS[name])
                    hit.append(target)
        deadline = time.monotonic() + OVERSTAY_SECONDS
        while any(map(_runs, hit)) and time.monotonic() < deadline:
            time.sleep(PAUSE_SECONDS)
    return Report(len(hit), asking.ledger, worker_of(record) == worker, sum(map(_runs, hit)))


def worker_of(record: ServerRecord) -> psutil.Process:
    """The only worker's process."""
    with build_management(record) as management:
        (worker,) = find_live_workers(management.describe(record.model)[0])
    return psutil.Process(worker.pid)


def children_of(worker: psutil.Process) -> list[psutil.Process]:
    """The decode children of a worker."""
    found = []
    for process in worker.children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            if process.name() == CHILD and _runs(process):
                found.append(process)
    return found


def _runs(process: psutil.Process) -> bool:
    with suppress(psutil.NoSuchProcess):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--signal", choices=SIGNALS, help="only this one")
    parser.add_argument("--times", type=int, help="how often; by default 100 times KILL and 10 times STOP")
    parser.add_argument("--seed", type=int, default=os.getpid() % 1000, help="of who is hit")
    parser.add_argument("--checkpoint", type=Path, default=DEMO_CHECKPOINT)
    arguments = parser.parse_args()
    requests = make_requests(ActivityPipeline.from_checkpoint(arguments.checkpoint), NUM_REQUESTS)
    console, broken = Console(), []
    with tempfile.TemporaryDirectory(prefix="activity-children-") as scratch:
        archive = Path(scratch) / "activity.mar"
        build_archive(arguments.checkpoint, archive)
        record = start_server(ServeSettings(archive=archive, run_dir=Path(scratch) / "run"))
        try:
            for name in [arguments.signal] if arguments.signal else list(SIGNALS):
                report = hit_children(record, requests, name, arguments.times or TIMES[name], seed=arguments.seed)
                ledger, failed = report.ledger, dict(report.ledger.failed)
                console.print(
                    f"SIG{name} to {report.hits} children: {ledger.answered} requests answered, {ledger.lost} lost"
                    f"{f' {failed}' if failed else ''}, {ledger.mixed_up} mixed up, {ledger.changed} changed",
                    highlight=False,
                    markup=False,
                )
                broken += report.broken
        finally:
            end_server(record)
    for what in broken:
        console.print(f"BROKEN: {what}", highlight=False, markup=False)
    sys.exit(bool(broken))


if __name__ == "__main__":
    main()
