"""Requests that come in while a server goes up and down: how many are lost, by the way that they take.

    python -m benchmarks.scaling --run-dir .activity --rounds 20 --high 4

Each client sends the archive's canary again and again, and every answer must be the right one, byte for byte the first.
The server must run (`activity serve`); the front is started here.
"""

from __future__ import annotations

import argparse
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from cli.canary import Canary
from cli.destination import Destination
from cli.front import running_front
from cli.probe import read_canary_of
from cli.readiness import Waiting, build_management
from cli.record import ServerRecord, require_record
from cli.scaling import scale_model
from client.answer import Answer
from client.errors import ClientError
from client.patience import ask_patiently

ROUND_TIMEOUT_SECONDS = 300.0
REQUEST_TIMEOUT_SECONDS = 120.0
PATIENCE_SECONDS = 60.0

Ask = Callable[[], Answer]


@dataclass
class Outcomes:
    """What became of the requests that took one way."""

    answered: int = 0
    failures: Counter[str] = field(default_factory=Counter)
    longest_seconds: float = 0.0

    @property
    def failed(self) -> int:
        """How many had no answer, or a wrong one."""
        return self.failures.total()

    def __str__(self) -> str:
        why = "".join(f"; {number} x {what}" for what, number in self.failures.most_common(3))
        return f"{self.answered} answered, {self.failed} failed{why}; longest {self.longest_seconds:.1f} s"


class Load:
    """Clients that ask without a pause for as long as the ``with`` block lasts.

    Args:
        ways: by name, how a request is sent, and by how many clients at a time.
        canary: what every answer is compared with.
    """

    def __init__(self, ways: Mapping[str, tuple[Ask, int]], canary: Canary) -> None:
        self.outcomes = {name: Outcomes() for name in ways}
        self._canary = canary
        self._ended, self._lock = threading.Event(), threading.Lock()
        self._bodies: set[bytes] = set()
        self._threads = [
            threading.Thread(target=self._ask_on, args=(name, ask))
            for name, (ask, clients) in ways.items()
            for _ in range(clients)
        ]

    @property
    def different_answers(self) -> int:
        """How many different right answers there were; one, where no version changes."""
        return len(self._bodies)

    def _ask_on(self, name: str, ask: Ask) -> None:
        outcomes = self.outcomes[name]
        while not self._ended.is_set():
            began = time.monotonic()
            try:
                answer = ask()
                fault = self._canary.find_fault(answer)
            except ClientError as exc:
                answer, fault = None, f"{type(exc).__name__}: {exc.message.partition(': ')[2][:60]}"
            with self._lock:
                outcomes.longest_seconds = max(outcomes.longest_seconds, time.monotonic() - began)
                if fault is None and answer is not None:
                    outcomes.answered += 1
                    self._bodies.add(answer.body)
                else:
                    outcomes.failures[str(fault)] += 1

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join()


def ways_to(record: ServerRecord, canary: Canary, rest_url: str, grpc_target: str) -> dict[str, tuple[Ask, int]]:
    """The ways to a server: through its front and directly, by REST and gRPC, with and without asking again."""
    token, model = record.tokens().inference, record.model
    through = Destination(rest_url, grpc_target, token, model, timeout_seconds=REQUEST_TIMEOUT_SECONDS)
    direct = Destination.of_record(record, timeout_seconds=REQUEST_TIMEOUT_SECONDS)

    def ask(destination: Destination, *, grpc: bool = False) -> Ask:
        return lambda: destination.ask(canary.parts, canary.options, grpc=grpc)

    def patient(plain: Ask) -> Ask:
        return lambda: ask_patiently(plain, patience_seconds=PATIENCE_SECONDS)

    return {
        "REST, front": (ask(through), 4),
        "gRPC, front": (ask(through, grpc=True), 2),
        "REST, direct": (ask(direct), 1),
        "REST, direct, asks again": (patient(ask(direct)), 1),
        "gRPC, direct": (ask(direct, grpc=True), 1),
    }


def canary_of(record: ServerRecord) -> Canary:
    """The canary of the version that runs.

    Raises:
        ValueError: when its archive carries none.
    """
    with build_management(record) as management:
        canary = read_canary_of(management.describe(record.model)[0])
    if canary is None:
        raise ValueError("the archive carries no canary")
    return canary


def go_up_and_down(record: ServerRecord, rounds: int, high: int, *, report: Callable[[str], None] = print) -> None:
    """From one worker to ``high`` and back, so many times."""
    for number in range(1, rounds + 1):
        seconds = []
        for workers in (high, 1):
            began = time.monotonic()
            scale_model(record, workers, Waiting(record, timeout_seconds=ROUND_TIMEOUT_SECONDS))
            seconds.append(time.monotonic() - began)
        report(f"round {number}: up in {seconds[0]:.1f} s, down in {seconds[1]:.1f} s")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run-dir", type=Path, default=Path(".activity"))
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--high", type=int, default=4)
    parser.add_argument("--direct", action="store_true", help="also clients that go around the front")
    arguments = parser.parse_args()
    record = require_record(arguments.run_dir.absolute())
    canary = canary_of(record)
    with running_front(record) as front:
        ways = ways_to(record, canary, front.rest_url, front.grpc_target)
        chosen = {name: way for name, way in ways.items() if arguments.direct or "front" in name}
        load = Load(chosen, canary)
        with suppress(KeyboardInterrupt), load:
            go_up_and_down(record, arguments.rounds, arguments.high)
    for name, outcomes in load.outcomes.items():
        print(f"{name}: {outcomes}")
    print(f"different answers: {load.different_answers}")


if __name__ == "__main__":
    main()
