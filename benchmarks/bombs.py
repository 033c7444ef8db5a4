"""Do small requests that ask for much memory or time get it?

    python -m benchmarks.bombs --target pipeline
    python -m benchmarks.bombs --target server --only Opus

Each bomb is sent alone. The memory is that of the worker and of all that descend from it, beyond what they had before
the bomb, at its most; the worker must be the same process before and after, and answers with a code. At most 10 s and
150 MB are allowed, but for what truly lasts longer, for an index that a header makes grow track by track, which the
cage alone bounds (``max_decode_bytes``), and for JSON that the server itself parses.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import get_args

import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table

from benchmarks.hostile.bombs import BOMBS, Bomb
from benchmarks.hostile.memory import MemoryWatch
from benchmarks.hostile.requests import all_seeds, build_request
from benchmarks.hostile.targets import Target, TargetName, running_target
from benchmarks.mutants import MOST_SECONDS, in_batches


@dataclass(frozen=True)
class Blast:
    """What a bomb came to."""

    name: str
    request_bytes: int
    status: int
    code: str
    seconds: float
    rise_megabytes: float
    is_same_worker: bool
    most_seconds: float
    most_megabytes: float

    @property
    def broken(self) -> list[str]:
        """The promises that do not hold."""
        promises = {
            f"answered {self.code} ({self.status})": self.code != "200"
            and (not 400 <= self.status < 500 or " " in self.code),
            f"took {self.seconds:.1f} s": self.seconds > self.most_seconds,
            f"memory rose by {self.rise_megabytes:.0f} MB": self.rise_megabytes > self.most_megabytes,
            "the worker is another one": not self.is_same_worker,
        }
        return [text for text, is_broken in promises.items() if is_broken]


def warm_up(target: Target) -> None:
    """Send good files, so that what is kept once is there."""
    random = np.random.default_rng(0)
    for requests in in_batches([build_request(seed, seed.content, random) for seed in all_seeds()], target.batch_size):
        target.ask(requests)


def explode(target: Target, bomb: Bomb) -> Blast:
    """Send one bomb."""
    request = bomb.make()
    pid = target.worker_pid()
    with MemoryWatch(pid, every_seconds=0.01) as watch:
        idle = watch.peak_megabytes
        started = time.perf_counter()
        (reply,) = target.ask([request])
        seconds = time.perf_counter() - started
        watch.look()
    return Blast(
        name=bomb.name,
        request_bytes=sum(map(len, request.values())),
        status=reply.status,
        code=reply.code,
        seconds=seconds,
        rise_megabytes=watch.peak_megabytes - idle,
        is_same_worker=target.worker_pid() == pid,
        most_seconds=MOST_SECONDS + bomb.lasts_seconds,
        most_megabytes=bomb.most_megabytes,
    )


def report(blasts: Sequence[Blast], console: Console) -> None:
    """Print a row for each bomb."""
    table = Table("bomb", "KB", "answer", "seconds", "MB", "broken")
    for each in blasts:
        table.add_row(
            each.name,
            f"{each.request_bytes / 1000:.1f}",
            f"{each.status} {each.code}",
            f"{each.seconds:.2f}",
            f"{each.rise_megabytes:.0f}",
            "; ".join(each.broken),
        )
    console.print(table)


def main() -> None:
    """Print a table; the exit status is 1 when a promise is broken."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--target", choices=get_args(TargetName), default="pipeline")
    parser.add_argument("--only", default="", help="bombs with this in their name")
    parser.add_argument("--quick", action="store_true", help="without those that take seconds")
    arguments = parser.parse_args()
    console = Console(width=160)
    chosen = [bomb for bomb in BOMBS if arguments.only in bomb.name and not (arguments.quick and bomb.is_slow)]
    with running_target(arguments.target, 1) as target:
        warm_up(target)
        blasts = [explode(target, bomb) for bomb in track(chosen, "bombs", console=console, transient=True)]
    report(blasts, console)
    sys.exit(1 if any(each.broken for each in blasts) else 0)


if __name__ == "__main__":
    main()
