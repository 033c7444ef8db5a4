"""Do spoilt files end a worker, hold it up, take its memory, or make it answer with anything but a code?

    python -m benchmarks.mutants --target pipeline --number 20000
    python -m benchmarks.mutants --target server --number 20000 --media FOLDER
    python -m benchmarks.mutants --only 1234 --keep .

Small files of each container and codec that is allowed (``--list``), words, tables, options and whole bodies, each
mutant of which is made anew from the seed and its number. With ``--media`` every file of a folder is sent as it is,
too. A batch is sent at once; the seconds of a request are those of its batch. The memory is that of the worker and of
all that descend from it, beyond what they have after the seeds themselves.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain, islice
from pathlib import Path
from typing import TypeVar, get_args

import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table

from benchmarks.hostile.files import Seed, media_files, picture_files, uncovered
from benchmarks.hostile.memory import MemoryWatch
from benchmarks.hostile.requests import Request, all_seeds, build_request, spoil
from benchmarks.hostile.targets import Reply, Target, TargetName, running_target

Item = TypeVar("Item")

MOST_SECONDS = 10.0
MOST_MEGABYTES = 150.0


@dataclass(frozen=True)
class Case:
    """One request that is sent."""

    name: str
    request: Request


@dataclass
class Findings:
    """What came of all requests."""

    num_requests: int = 0
    codes: Counter[str] = field(default_factory=Counter)
    slowest_seconds: float = 0.0
    slowest: tuple[str, ...] = ()
    """The batch."""
    idle_megabytes: float = 0.0
    peak_megabytes: float = 0.0
    last_megabytes: float = 0.0
    worker_deaths: int = 0
    crashes: list[str] = field(default_factory=list)
    """The cases whose decoder died, which is answered but worth a look."""
    faults: list[str] = field(default_factory=list)
    """What must not be, with the case that it came of."""

    def note(self, cases: Sequence[Case], replies: Sequence[Reply], seconds: float) -> None:
        """Count a batch."""
        self.num_requests += len(cases)
        if seconds > self.slowest_seconds:
            self.slowest_seconds, self.slowest = seconds, tuple(case.name for case in cases)
        if seconds > MOST_SECONDS:
            self.faults.append(f"{seconds:.1f} s: {'; '.join(case.name for case in cases)}")
        for case, reply in zip(cases, replies, strict=True):
            self.codes[reply.code] += 1
            if reply.code == "decoder_crashed":
                self.crashes.append(case.name)
            if reply.code != "200" and (not 400 <= reply.status < 500 or " " in reply.code):
                self.faults.append(f"{reply.code} ({reply.status}): {case.name}")

    @property
    def rise_megabytes(self) -> float:
        """The most memory beyond what there was."""
        return self.peak_megabytes - self.idle_megabytes

    @property
    def broken(self) -> list[str]:
        """The promises that do not hold."""
        promises = {
            f"{self.worker_deaths} workers died": self.worker_deaths > 0,
            f"memory rose by {self.rise_megabytes:.0f} MB": self.rise_megabytes > MOST_MEGABYTES,
        }
        return [*self.faults, *(text for text, is_broken in promises.items() if is_broken)]


def make_mutant(seeds: Sequence[Seed], seed: int, number: int) -> tuple[Case, bytes]:
    """The mutant of a number: its request, and the bytes that are spoilt."""
    random = np.random.default_rng([seed, number])
    chosen = seeds[int(random.integers(len(seeds)))]
    content = spoil(chosen, random, [each.content for each in seeds])
    return Case(f"{number} of {chosen.name}", build_request(chosen, content, random)), content


def media_of(folder: Path) -> Iterator[Case]:
    """Every file of a folder, whatever it is."""
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            yield Case(path.name, {"video": path.read_bytes()})


def in_batches(items: Iterable[Item], size: int) -> Iterator[tuple[Item, ...]]:
    """Tuples of ``size`` items, the last one of what is left."""
    rest = iter(items)
    while batch := tuple(islice(rest, size)):
        yield batch


def attack(
    target: Target, cases: Iterator[Case], number: int, console: Console | None = None, *, turns: int = 2
) -> Findings:
    """Send cases to a target, after the seeds as they are.

    Args:
        target: what is asked.
        cases: what is sent.
        number: how many there are, for the bar.
        console: where the bar is drawn, None for none.
        turns: how often the seeds are sent before: after the second time what is kept once is there, and the memory is
            that of an idle worker in earnest.
    """
    findings = Findings()
    random = np.random.default_rng(0)
    good = [build_request(seed, seed.content, random) for seed in all_seeds()]
    for requests in in_batches(good * turns, target.batch_size):
        target.ask(requests)
    pid = target.worker_pid()
    with MemoryWatch(pid, every_seconds=0.05) as watch:
        findings.idle_megabytes = watch.peak_megabytes
        batches = in_batches(cases, target.batch_size)
        if console is not None:
            total = -(-number // target.batch_size)
            batches = iter(track(batches, "mutants", total=total, console=console, transient=True))
        for batch in batches:
            started = time.perf_counter()
            replies = target.ask([case.request for case in batch])
            findings.note(batch, replies, time.perf_counter() - started)
            if any(not 200 <= reply.status < 500 for reply in replies) and target.worker_pid() != pid:
                findings.worker_deaths += 1
                pid = target.worker_pid()
        findings.last_megabytes, findings.peak_megabytes = watch.look(), watch.peak_megabytes
    findings.worker_deaths += target.worker_pid() != pid
    return findings


def report(findings: Findings, console: Console) -> None:
    """Print what was found."""
    table = Table("answer", "requests")
    for code, count in findings.codes.most_common():
        table.add_row(code, str(count))
    console.print(table)
    console.print(
        f"{findings.num_requests} requests, {findings.worker_deaths} worker deaths, slowest batch "
        f"{findings.slowest_seconds:.2f} s, memory {findings.idle_megabytes:.0f} MB idle, "
        f"+{findings.rise_megabytes:.0f} MB at most, "
        f"{findings.last_megabytes - findings.idle_megabytes:+.0f} MB at the end"
    )
    console.print("slowest:", "; ".join(findings.slowest), markup=False, highlight=False)
    console.print("decoder crashed:", "; ".join(findings.crashes) or "never", markup=False, highlight=False)
    for text in findings.broken[:50]:
        console.print("BROKEN:", text, markup=False, highlight=False)


def list_seeds(console: Console) -> None:
    """Print what can be written here and what cannot."""
    table = Table("file", "bytes")
    for seed in all_seeds():
        table.add_row(seed.name, str(len(seed.content)))
    console.print(table)
    for missing in (*media_files()[1], *picture_files()[1]):
        console.print(f"not written: {missing.name}: {missing.reason}")
    for kind, names in uncovered().items():
        console.print(f"allowed {kind} that no file is opened with: {', '.join(sorted(names)) or 'none'}")


def main() -> None:
    """Print a table; the exit status is 1 when a promise is broken."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--target", choices=get_args(TargetName), default="pipeline")
    parser.add_argument("--number", type=int, default=2000)
    parser.add_argument("--first", type=int, default=0, help="the number of the first mutant")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--batch", type=int, default=4, help="requests that are sent at once")
    parser.add_argument("--media", type=Path, help="a folder, each file of which is sent as well")
    parser.add_argument("--only", type=int, help="send the mutant of this number alone")
    parser.add_argument("--keep", type=Path, help="with --only: a folder that the mutant is written to")
    parser.add_argument("--list", action="store_true", help="say what files there are")
    arguments = parser.parse_args()
    console = Console()
    if arguments.list:
        list_seeds(console)
        return
    seeds, seed = all_seeds(), arguments.seed
    numbers = range(arguments.first, arguments.first + arguments.number)
    if arguments.only is not None:
        numbers, arguments.batch = range(arguments.only, arguments.only + 1), 1
        if arguments.keep is not None:
            (arguments.keep / f"mutant-{arguments.only}").write_bytes(make_mutant(seeds, seed, arguments.only)[1])
    media = list(media_of(arguments.media)) if arguments.media else []
    cases = chain(media, (make_mutant(seeds, seed, each)[0] for each in numbers))
    with running_target(arguments.target, arguments.batch) as target:
        findings = attack(target, cases, len(media) + len(numbers), console)
    report(findings, console)
    sys.exit(1 if findings.broken else 0)


if __name__ == "__main__":
    main()
