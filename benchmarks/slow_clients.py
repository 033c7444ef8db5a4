"""Clients that send slowly, by half or nothing, and readers that do not read, while others want answers.

    python -m benchmarks.slow_clients --run-dir .activity --clients 500

Every slow client comes again as soon as it is let go, so that there are always as many. By turns the good clients
have the front for themselves and share it with the slow ones. Kinds:

    silent    connects, and says nothing
    head      sends a request's head, a line every three seconds, without an end
    body      sends the head and half of the body, and then nothing
    idle      is answered, and keeps the connection
    unread    asks for many answers on one connection, and reads none; one client in 25, for that is work for the server
    drip      sends a body, a byte every five seconds: slow, but not stale, so it may stay

The server must run (`activity serve`); the front is started here. The exit code is 1 where a promise is broken: the
good clients' p99 more than doubled, a good request that failed, a stale connection that was still open at the front
more than 30 s after its last byte, or nginx's memory more than --megabytes above what it was.
With --way direct the same goes to TorchServe's own port, which promises none of that.
"""

from __future__ import annotations

import argparse
import asyncio
import functools
import sys
from collections import Counter
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import psutil

from benchmarks.http_load import Reply, build_request, closed_loop, percentile, send
from benchmarks.scaling import canary_of
from benchmarks.slow_kinds import DRIP, KINDS, LOOK_SECONDS, UNREAD, Held, SlowClients
from cli.front import running_front
from cli.nginx import running_in
from cli.record import ServerRecord, require_record

TIMEOUT_SECONDS = 60.0
STALE_SECONDS = 30.0
TIMES_P99 = 2.0
UNREAD_ONE_IN = 25

Ask = Callable[[], Coroutine[None, None, Reply]]


@dataclass(frozen=True)
class Plan:
    """What is measured."""

    clients: int = 500
    """Slow ones."""
    kinds: Sequence[str] = tuple(KINDS)
    """Of which ``unread`` is one client in 25, and the others are as many each."""
    good_clients: int = 2
    rounds: int = 3
    """Of one turn without slow clients and one with them."""
    seconds: float = 30.0
    """Of a turn."""


@dataclass(frozen=True)
class Measured:
    """What came of all turns."""

    alone: list[Reply]
    """The good clients' requests without slow ones."""
    beside: list[Reply]
    """And with them."""
    held: Held
    megabytes: float
    """Most memory of nginx above what it had before (proportional set size); 0 without one."""

    @property
    def p99(self) -> tuple[float, float]:
        """Of the good clients without and with slow ones, in seconds."""
        return _quantile(self.alone, 0.99), _quantile(self.beside, 0.99)

    @property
    def failures(self) -> Counter[str]:
        """Good requests that were not answered with 200."""
        return Counter(str(reply.fault or reply.status) for reply in self.alone + self.beside if reply.status != 200)

    def broken(self, most_megabytes: float) -> list[str]:
        """Which promises are broken, in words."""
        stale = {
            kind: round(seconds, 1)
            for kind, seconds in self.held.oldest_seconds.items()
            if kind != DRIP and seconds > STALE_SECONDS
        }
        checks = [
            (not self.p99[1] <= TIMES_P99 * self.p99[0], f"p99 {self.p99[1]:.2f} s, alone {self.p99[0]:.2f} s"),
            (bool(self.failures), f"good clients: {dict(self.failures)}"),
            (bool(stale), f"stale connections were open after {stale} s"),
            (self.megabytes > most_megabytes, f"nginx took {self.megabytes:.0f} MB more"),
        ]
        return [words for is_broken, words in checks if is_broken]

    def __str__(self) -> str:
        kinds = "".join(
            f"\n  {kind:7} let go {len(self.held.lives.get(kind, [])):5}, after up to "
            f"{max(self.held.lives.get(kind, []), default=0.0):5.1f} s; still open there after up to "
            f"{self.held.oldest_seconds.get(kind, 0.0):5.1f} s"
            for kind in dict.fromkeys([*self.held.oldest_seconds, *self.held.lives])
        )
        return (
            f"good clients alone: {len(self.alone)}, p50 {_quantile(self.alone, 0.5):.2f} s, p99 {self.p99[0]:.2f} s; "
            f"beside slow ones: {len(self.beside)}, p50 {_quantile(self.beside, 0.5):.2f} s, p99 {self.p99[1]:.2f} s; "
            f"failed {dict(self.failures) or 'none'}\n  slow connections at a time: up to {self.held.most}, not got "
            f"{dict(self.held.failed) or 'none'}; nginx's memory up to {self.megabytes:.0f} MB above before{kinds}"
        )


def measure(record: ServerRecord, url: str, plan: Plan, *, folder: Path | None) -> Measured:
    """Measure one way to a server.

    Args:
        record: the server.
        url: where it is asked: its own REST address, or its front's.
        plan: what to measure.
        folder: the front's, whose memory is looked at; None where there is none.
    """
    place = urlsplit(url)
    host, port = place.hostname or "", place.port or 80
    request = build_request(canary_of(record).parts, token=record.tokens().inference, host=place.netloc)
    ask = functools.partial(send, host, port, request, timeout_seconds=TIMEOUT_SECONDS)
    return asyncio.run(_measure(ask, SlowClients(host, port, request), plan, folder))


async def _measure(ask: Ask, slow: SlowClients, plan: Plan, folder: Path | None) -> Measured:
    alone: list[Reply] = []
    beside: list[Reply] = []
    before = most = _megabytes(folder)
    for _ in range(plan.rounds):
        alone += await closed_loop(ask, clients=plan.good_clients, seconds=plan.seconds)
        kinds = _share_out(plan)
        tasks = [asyncio.create_task(each) for each in (slow.look_on(), *map(slow.go_on, kinds))]
        good = asyncio.create_task(closed_loop(ask, clients=plan.good_clients, seconds=plan.seconds))
        while not good.done():
            await asyncio.sleep(LOOK_SECONDS)
            most = max(most, await asyncio.to_thread(_megabytes, folder))
        beside += good.result()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    return Measured(alone, beside, slow.held, most - before)


def _share_out(plan: Plan) -> list[str]:
    others = [kind for kind in plan.kinds if kind != UNREAD]
    unread = plan.clients // UNREAD_ONE_IN if UNREAD in plan.kinds else 0
    return [UNREAD] * unread + [others[number % len(others)] for number in range(plan.clients - unread)]


def _megabytes(folder: Path | None) -> float:
    leader = None if folder is None else running_in(folder)
    if leader is None:
        return 0.0
    master = psutil.Process(leader)
    return float(sum(each.memory_full_info().pss for each in (master, *master.children())) / 1e6)


def _quantile(replies: Sequence[Reply], share: float) -> float:
    return percentile([reply.seconds for reply in replies], share)


def main() -> int:
    """Measure and print what came of it.

    Returns:
        1 where a promise is broken.
    """
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run-dir", type=Path, default=Path(".activity"))
    parser.add_argument("--clients", type=int, default=500)
    parser.add_argument("--kinds", default=",".join(KINDS), help="of slow clients, with commas")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=30.0, help="of a turn; a round has two")
    parser.add_argument("--good-clients", type=int, default=2)
    parser.add_argument("--megabytes", type=float, default=100.0, help="that nginx may take more")
    parser.add_argument("--way", choices=("front", "direct"), default="front")
    arguments = parser.parse_args()
    kinds = arguments.kinds.split(",")
    plan = Plan(arguments.clients, kinds, arguments.good_clients, arguments.rounds, arguments.seconds)
    record = require_record(arguments.run_dir.absolute())
    if arguments.way == "direct":
        print(f"direct: {measure(record, record.inference_url, plan, folder=None)}")
        return 0
    with running_front(record) as front:
        measured = measure(record, front.rest_url, plan, folder=front.folder)
    print(f"front: {measured}")
    broken = measured.broken(arguments.megabytes)
    for words in broken:
        print(f"BROKEN {words}")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
