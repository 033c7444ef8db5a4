"""Workers are killed while clients ask: what is lost, what is mixed up, and how long until all workers are back.

    python -m benchmarks.worker_kills                       # 10 minutes, a kill every 20 s, 2 workers, 8 clients
    python -m benchmarks.worker_kills --minutes 1 --every 20 --workers 2

A server and its front are started for it. Clients ask without a pause, by REST and gRPC, directly and through the
front: small requests that all differ, whose answers all differ and are known from before, so that each answer must be
its request's own, byte for byte. Every attempt counts that failed; what the user of the client sees is what the
client's own retry (:mod:`client.patience`) leaves of them. What is promised, and ends this with exit code 1 where it
does not hold:

- a kill costs at most one batch, counting all attempts, those that the front has repeated included;
- no answer is another request's, and none is changed;
- all workers are READY again within 20 s of a kill;
- with its own retry no client sees a failure;
- of a killed worker nothing is left running.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil
from rich.console import Console
from rich.table import Table

from benchmarks.asking import Ask, Clients, Ledger, ways_to
from benchmarks.known_requests import KnownRequest, make_requests
from cli.archive import build_archive
from cli.front import Front, running_front
from cli.package import DEMO_CHECKPOINT
from cli.probe import WorkerProcess, find_live_workers
from cli.readiness import build_management
from cli.record import ServerRecord
from cli.server import ServeSettings, end_server, start_server
from handler.pipeline import ActivityPipeline

MAX_RESTORE_SECONDS = 20.0
NUM_REQUESTS = 192
POLL_SECONDS = 0.1


@dataclass(frozen=True)
class Plan:
    """Who is killed how often."""

    kills: int
    every_seconds: float
    """From one kill to the next."""
    workers: int = 2
    """How many the server has."""
    clients: int = 8
    """How many ask at a time."""
    max_restore_seconds: float = MAX_RESTORE_SECONDS
    """How long it may take until all of them are READY again."""
    seed: int = 0
    """Of who is hit."""
    signal_number: int = signal.SIGKILL
    """What a worker is sent. After SIGKILL TorchServe answers 507, as if it had had no memory, which a front does not
    repeat; after SIGSEGV 500, which it does."""


@dataclass(frozen=True)
class Kill:
    """One kill and what came of it."""

    lost: int
    """Attempts that failed for it, those that the front has repeated included."""
    restored_seconds: float | None
    """Until all workers were READY again; None where they were not before the next kill."""
    orphans: int
    """Processes of the killed worker that ran on a second later."""


@dataclass(frozen=True)
class Report:
    """A whole run."""

    kills: tuple[Kill, ...]
    ledger: Ledger
    batch_size: int
    max_restore_seconds: float

    @property
    def broken(self) -> list[str]:
        """The promises that do not hold."""
        restored = [kill.restored_seconds for kill in self.kills]
        slow = [seconds for seconds in restored if seconds is None or seconds > self.max_restore_seconds]
        promises = {
            f"a kill cost {max((kill.lost for kill in self.kills), default=0)} requests": any(
                kill.lost > self.batch_size for kill in self.kills
            ),
            f"{self.ledger.mixed_up} answers were another request's": bool(self.ledger.mixed_up),
            f"{self.ledger.changed} answers were changed": bool(self.ledger.changed),
            f"{len(slow)} times not all workers were back within {self.max_restore_seconds:g} s": bool(slow),
            f"clients saw {self.ledger.failed.total()} failures": bool(self.ledger.failed),
            "something of a killed worker ran on": any(kill.orphans for kill in self.kills),
            "nobody was killed, or nothing answered": not (self.kills and self.ledger.answered),
        }
        return [what for what, is_broken in promises.items() if is_broken]


def kill_workers(
    record: ServerRecord, clients: Clients, front: Front | None, plan: Plan, *, report: Callable[[str], None] = print
) -> tuple[Kill, ...]:
    """Kill a worker by chance every so many seconds; ``clients`` ask meanwhile."""
    chance, done = random.Random(plan.seed), []  # noqa: S311 - which worker is hit is no secret
    with build_management(record) as management:

        def live() -> frozenset[WorkerProcess]:
            return find_live_workers(management.describe(record.model)[0])

        for number in range(1, plan.kills + 1):
            # TorchServe tells of a worker that is loading neither its state nor its process: only READY ones are hit.
            while not (targets := sorted(live(), key=lambda worker: worker.pid)):
                time.sleep(POLL_SECONDS)
            target = chance.choice(targets)
            family = _family(target.pid)
            lost = clients.ledger.lost + _lost_at_front(front)
            os.kill(target.pid, plan.signal_number)
            began, restored, orphans = time.monotonic(), None, None
            while time.monotonic() - began < plan.every_seconds and not (number == plan.kills and restored):
                elapsed = time.monotonic() - began
                if orphans is None and elapsed > 1.0:
                    orphans = sum(_runs(process) for process in family)
                if elapsed > 1.0 and restored is None and target not in (now := live()) and len(now) == plan.workers:
                    restored = elapsed
                time.sleep(POLL_SECONDS)
            cost = clients.ledger.lost + _lost_at_front(front) - lost
            done.append(Kill(cost, restored, orphans or 0))
            back = "not back" if restored is None else f"back in {restored:.1f} s"
            report(f"kill {number}: {cost} lost, {back}, {clients.ledger.answered} answered so far")
    return tuple(done)


def _family(pid: int) -> list[psutil.Process]:
    """What a worker has started."""
    with suppress(psutil.Error):
        return psutil.Process(pid).children(recursive=True)
    return []


def _runs(process: psutil.Process) -> bool:
    """Whether it does; what has ended and is not asked for by its new parent does not."""
    with suppress(psutil.NoSuchProcess):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False


def _lost_at_front(front: Front | None) -> int:
    """Attempts that a worker took with it and the front has repeated or passed on; the latter count once more."""
    if front is None:
        return 0
    log = (front.folder / "access.log").read_text(encoding="utf-8")
    return sum(line.partition('"tries":"')[2].partition('"')[0].count("500, ") for line in log.splitlines())


def measure(
    record: ServerRecord,
    requests: Sequence[KnownRequest],
    front: Front | None,
    plan: Plan,
    *,
    ways: Sequence[tuple[str, Ask]] | None = None,
    report: Callable[[str], None] = print,
) -> Report:
    """Kill workers of a running server under load.

    Args:
        record: the server.
        requests: what the clients ask.
        front: nginx before it, which half of the clients go through.
        plan: who is killed how often.
        ways: the clients; by default as many as planned, by REST and gRPC, half of them through the front.
        report: gets a line for each kill.
    """
    with build_management(record) as management:
        batch_size = management.describe(record.model)[0].batch_size
    with Clients(ways or ways_to(record, front, plan.clients), requests) as asking:
        while asking.ledger.answered < plan.clients and not asking.ledger.failed:  # the first ones connect
            time.sleep(POLL_SECONDS)
        done = kill_workers(record, asking, front, plan, report=report)
    return Report(done, asking.ledger, batch_size, plan.max_restore_seconds)


def print_report(report: Report) -> None:
    """A table, and what is broken."""
    restored = [kill.restored_seconds for kill in report.kills if kill.restored_seconds is not None]
    ledger = report.ledger
    table = Table(title=f"{len(report.kills)} kills of a worker under load")
    table.add_column("what")
    table.add_column("found", justify="right")
    table.add_column("promised", justify="right")
    lost = [kill.lost for kill in report.kills]
    rows = [
        ("answers, each its request's own", str(ledger.answered), ""),
        ("answers of another request", str(ledger.mixed_up), "0"),
        ("changed answers", str(ledger.changed), "0"),
        (
            "attempts lost a kill, mean / most",
            f"{sum(lost) / max(1, len(lost)):.1f} / {max(lost, default=0)}",
            f"{report.batch_size}",
        ),
        ("failures that clients saw after their retry", str(ledger.failed.total()), "0"),
        ("longest request, retries included", f"{ledger.longest_seconds:.1f} s", ""),
        ("until all were READY, median / longest", _spread(restored), f"{MAX_RESTORE_SECONDS:g} s"),
        ("processes of killed workers that ran on", str(sum(kill.orphans for kill in report.kills)), "0"),
    ]
    for row in rows:
        table.add_row(*row)
    console = Console()
    console.print(table)
    for what, counts in (("failed attempts", ledger.retried), ("failures", ledger.failed)):
        for name, count in counts.most_common():
            console.print(f"{what}: {count} x {name}", highlight=False)
    for what in report.broken:
        console.print(f"BROKEN: {what}", highlight=False)


def _spread(seconds: Sequence[float]) -> str:
    if not seconds:
        return "never"
    return f"{sorted(seconds)[len(seconds) // 2]:.1f} / {max(seconds):.1f} s"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--every", type=float, default=20.0, help="seconds from one kill to the next")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--seed", type=int, default=0, help="of who is killed")
    parser.add_argument("--no-front", action="store_true", help="all clients go to the server directly")
    parser.add_argument("--checkpoint", type=Path, default=DEMO_CHECKPOINT)
    arguments = parser.parse_args()
    kills = max(1, round(60 * arguments.minutes / arguments.every))
    plan = Plan(kills, arguments.every, arguments.workers, arguments.clients, seed=arguments.seed)
    requests = make_requests(ActivityPipeline.from_checkpoint(arguments.checkpoint), NUM_REQUESTS)
    with tempfile.TemporaryDirectory(prefix="activity-kills-") as scratch:
        archive = Path(scratch) / "activity.mar"
        build_archive(arguments.checkpoint, archive)
        record = start_server(ServeSettings(archive=archive, run_dir=Path(scratch) / "run", workers=arguments.workers))

        try:
            if arguments.no_front:
                report = measure(record, requests, None, plan)
            else:
                with running_front(record) as front:
                    report = measure(record, requests, front, plan)
        finally:
            end_server(record)
    print_report(report)
    sys.exit(bool(report.broken))


if __name__ == "__main__":
    main()
