"""A server that is asked four times as much as it can do: what it still does, and how it refuses the rest.

    python -m benchmarks.overload --run-dir .activity --minutes 5

First its capacity: clients that ask again as soon as they are answered, more and more of them; the most good answers a
second is the peak. A good answer is the canary's, byte for byte, within --slo seconds. Then requests at even distances,
--factor times as many as at the peak, whether they are answered or not; then one after another, until one is answered
as fast as on a server with nothing else to do. Then the capacity again, since a machine has other work too; with
--rounds the minutes are shared out, with the capacity measured between them.

The server must run (`activity serve`); the front is started here. The exit code is 1 where a promise is broken: good
answers below 90 % of the peak (of the means of all rounds), one that is neither good nor refused with 503, the
refusals' p99 above --refused-within seconds, or a server that is not as before within 5 s.
"""

from __future__ import annotations

import argparse
import asyncio
import functools
import sys
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from urllib.parse import urlsplit

from benchmarks.http_load import Reply, build_request, closed_loop, open_loop, percentile, send
from benchmarks.scaling import canary_of
from cli.front import running_front
from cli.record import ServerRecord, require_record

TIMEOUT_SECONDS = 60.0
SMALLEST_SHARE = 0.9
NORMAL_AGAIN_SECONDS = 5.0
NORMAL_TIMES = 2.0
"""An answer is as fast as before within so many times what it took at the median."""
GIVE_UP_SECONDS = 60.0

Ask = Callable[[], Coroutine[None, None, Reply]]


@dataclass(frozen=True)
class Plan:
    """What is measured."""

    factor: float = 4.0
    """How many times the peak is asked for."""
    seconds: float = 300.0
    """How long in each round."""
    rounds: int = 1
    levels: Sequence[int] = (1, 2, 4, 8, 16)
    """How many clients ask in a closed loop, one number after another."""
    level_seconds: float = 8.0
    slo_seconds: float = 10.0
    """Within which an answer is good."""
    refused_within_seconds: float = 1.0
    """The refusals' 99th percentile."""


@dataclass(frozen=True)
class Peak:
    """A server's capacity."""

    goodput: float
    """Good answers a second."""
    clients: int
    """With so many clients."""
    alone_seconds: float
    """What a request takes at the median where the fewest clients ask."""

    def __str__(self) -> str:
        return f"{self.goodput:.1f}/s with {self.clients} clients (alone {self.alone_seconds:.2f} s)"


@dataclass(frozen=True)
class Overload:
    """What became of the requests of one overload."""

    sent_a_second: float
    goodput: float
    """Good answers a second, until the last of them."""
    good_seconds: tuple[float, float]
    """Their 50th and 99th percentile."""
    refused: int
    refused_seconds: tuple[float, float]
    told_when: int
    """How many refusals say when to ask again."""
    others: Counter[str]
    """What was neither good nor refused."""
    normal_after_seconds: float
    """From the last request of the overload to the end of the first one that was as fast as before."""

    def __str__(self) -> str:
        good, refused = self.good_seconds, self.refused_seconds
        return (
            f"asked {self.sent_a_second:.1f}/s: good {self.goodput:.1f}/s (p50 {good[0]:.2f} s, p99 {good[1]:.2f} s), "
            f"refused {self.refused} (p50 {refused[0] * 1e3:.0f} ms, p99 {refused[1] * 1e3:.0f} ms, {self.told_when} "
            f"say when to come again), others {dict(self.others) or 'none'}; as before after "
            f"{self.normal_after_seconds:.1f} s"
        )


@dataclass(frozen=True)
class Measured:
    """One way to a server: its overloads, and its peak before the first and after each."""

    peaks: Sequence[Peak]
    overloads: Sequence[Overload]

    @property
    def share(self) -> float:
        """Good answers under overload, of those at the peak."""
        return fmean(each.goodput for each in self.overloads) / fmean(each.goodput for each in self.peaks)

    @property
    def others(self) -> Counter[str]:
        """What was neither good nor refused."""
        return sum((each.others for each in self.overloads), Counter())

    def broken(self, plan: Plan) -> list[str]:
        """Which promises are broken, in words."""
        refused_seconds = max(each.refused_seconds[1] for each in self.overloads)
        normal_after = max(each.normal_after_seconds for each in self.overloads)
        checks = [
            (self.share < SMALLEST_SHARE, f"{self.share:.0%} of the peak's good answers"),
            (any(each.refused == 0 for each in self.overloads), "nothing was refused: that was no overload"),
            (bool(self.others), f"neither good nor refused: {dict(self.others)}"),
            (not refused_seconds <= plan.refused_within_seconds, f"refused after {refused_seconds:.2f} s"),
            (normal_after > NORMAL_AGAIN_SECONDS, f"as before after {normal_after:.1f} s"),
        ]
        return [words for is_broken, words in checks if is_broken]

    def __str__(self) -> str:
        lines = [
            f"peak {self.peaks[0]}",
            *(f"{it}; peak {peak}" for it, peak in zip(self.overloads, self.peaks[1:], strict=True)),
        ]
        return "\n  ".join([*lines, f"good answers under overload: {self.share:.0%} of the peak's"])


def measure(record: ServerRecord, url: str, plan: Plan) -> Measured:
    """Measure one way to a server.

    Args:
        record: the server.
        url: where it is asked: its own REST address, or its front's.
        plan: what to measure.
    """
    place = urlsplit(url)
    request = build_request(canary_of(record).parts, token=record.tokens().inference, host=place.netloc)
    ask = functools.partial(send, place.hostname or "", place.port or 80, request, timeout_seconds=TIMEOUT_SECONDS)
    return asyncio.run(find_capacity_and_overload(ask, plan))


async def find_capacity_and_overload(ask: Ask, plan: Plan) -> Measured:
    """Measure a server that is asked so.

    Raises:
        RuntimeError: when it does not answer at all.
    """
    expected = await ask()
    if expected.status != 200:
        raise RuntimeError(f"the server is not ready: {expected}")
    peaks, overloads = [await _find_peak(ask, plan, expected.body)], []
    for _ in range(plan.rounds):
        overloads.append(await _overload(ask, plan, peaks[-1], expected.body))
        peaks.append(await _find_peak(ask, plan, expected.body))
    return Measured(peaks, overloads)


async def _find_peak(ask: Ask, plan: Plan, body: bytes) -> Peak:
    found: list[tuple[float, int]] = []
    alone_seconds = 0.0
    for clients in plan.levels:
        began = time.monotonic()
        replies = await closed_loop(ask, clients=clients, seconds=plan.level_seconds)
        good = [reply for reply in replies if _is_good(reply, plan, body)]
        found.append((len(good) / (time.monotonic() - began), clients))
        if clients == min(plan.levels):
            alone_seconds = percentile([reply.seconds for reply in good], 0.5)
    goodput, clients = max(found)
    return Peak(goodput, clients, alone_seconds)


async def _overload(ask: Ask, plan: Plan, peak: Peak, body: bytes) -> Overload:
    began = time.monotonic()
    tasks = await open_loop(ask, rate=plan.factor * peak.goodput, seconds=plan.seconds)
    ended = time.monotonic()
    normal_after = await _wait_for_normal(ask, ended, NORMAL_TIMES * peak.alone_seconds)
    replies = [await task for task in tasks]
    good = [reply for reply in replies if _is_good(reply, plan, body)]
    refused = [reply for reply in replies if reply.status == 503]
    others = Counter(
        reply.fault or (f"another {reply.status}" if reply.body != body else "late")
        for reply in replies
        if reply.status != 503 and not _is_good(reply, plan, body)
    )
    return Overload(
        sent_a_second=len(replies) / (ended - began),
        goodput=len(good) / (max([ended, *(reply.ended for reply in good)]) - began),
        good_seconds=_percentiles(good),
        refused=len(refused),
        refused_seconds=_percentiles(refused),
        told_when=sum("retry-after" in reply.headers for reply in refused),
        others=others,
        normal_after_seconds=normal_after,
    )


async def _wait_for_normal(ask: Ask, since: float, within_seconds: float) -> float:
    while time.monotonic() - since < GIVE_UP_SECONDS:
        reply = await ask()
        if reply.status == 200 and reply.seconds <= within_seconds:
            return time.monotonic() - since
        await asyncio.sleep(0.05)
    return float("inf")


def _is_good(reply: Reply, plan: Plan, body: bytes) -> bool:
    return reply.status == 200 and reply.body == body and reply.seconds <= plan.slo_seconds


def _percentiles(replies: Sequence[Reply]) -> tuple[float, float]:
    seconds = [reply.seconds for reply in replies]
    return percentile(seconds, 0.5), percentile(seconds, 0.99)


def main() -> int:
    """Measure both ways to a server and print what came of it.

    Returns:
        1 where a promise is broken.
    """
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run-dir", type=Path, default=Path(".activity"))
    parser.add_argument("--minutes", type=float, default=5.0, help="of overload, each way")
    parser.add_argument("--rounds", type=int, default=1, help="that the minutes are shared out to")
    parser.add_argument("--factor", type=float, default=4.0)
    parser.add_argument("--slo", type=float, default=10.0, help="seconds")
    parser.add_argument("--refused-within", type=float, default=1.0, help="seconds")
    parser.add_argument("--level-seconds", type=float, default=8.0, help="of each step of the search for the peak")
    parser.add_argument("--way", choices=("front", "direct", "both"), default="both")
    arguments = parser.parse_args()
    plan = Plan(
        factor=arguments.factor,
        seconds=60 * arguments.minutes / arguments.rounds,
        rounds=arguments.rounds,
        level_seconds=arguments.level_seconds,
        slo_seconds=arguments.slo,
        refused_within_seconds=arguments.refused_within,
    )
    record = require_record(arguments.run_dir.absolute())
    broken = []
    with running_front(record) as front:
        for name, url in (("front", front.rest_url), ("direct", record.inference_url)):
            if arguments.way in {name, "both"}:
                measured = measure(record, url, plan)
                print(f"{name}: {measured}", flush=True)
                broken += [f"{name}: {words}" for words in measured.broken(plan)]
    for words in broken:
        print(f"BROKEN {words}")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
