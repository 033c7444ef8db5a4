"""Clients that ask a server without a pause, and a ledger of what became of each request."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Self

from benchmarks.known_requests import KnownRequest
from cli.destination import Destination
from cli.front import Front
from cli.record import ServerRecord
from client.answer import Answer
from client.errors import ClientError, WorkerFailed
from client.patience import ask_patiently

PATIENCE_SECONDS = 60.0
REQUEST_TIMEOUT_SECONDS = 120.0
CHILD_CODES = ("decoder_crashed", "limit_decode_seconds")
"""Codes of a request whose decode child died, or stood still."""

Ask = Callable[[KnownRequest], Answer]


@dataclass
class Ledger:
    """What became of the requests, of all clients together."""

    answered: int = 0
    changed: int = 0
    """Answers that are neither the request's own nor another's."""
    mixed_up: int = 0
    """Answers that are another request's."""
    failed: Counter[str] = field(default_factory=Counter)
    """What a client's user sees, after its retry, by what it was."""
    lost: int = 0
    """Attempts that a worker or a decode child took with it."""
    retried: Counter[str] = field(default_factory=Counter)
    """Attempts that failed, by way and what it was."""
    longest_seconds: float = 0.0


class Clients:
    """Ask without a pause for as long as the ``with`` block lasts.

    Args:
        ways: by name, how a request is sent; each is a client of its own.
        requests: what is asked, one after the other over all clients, so that no two in flight are the same.
    """

    def __init__(self, ways: Sequence[tuple[str, Ask]], requests: Sequence[KnownRequest]) -> None:
        self.ledger = Ledger()
        self._requests = requests
        self._known = {request.expected for request in requests}
        self._next = 0
        self._ended, self._lock = threading.Event(), threading.Lock()
        self._threads = [threading.Thread(target=self._ask_on, args=way) for way in ways]

    def _take(self) -> KnownRequest:
        with self._lock:
            self._next += 1
            return self._requests[self._next % len(self._requests)]

    def _ask_on(self, name: str, ask: Ask) -> None:
        while not self._ended.is_set():
            request, began = self._take(), time.monotonic()

            def attempt(request: KnownRequest = request) -> Answer:
                try:
                    return ask(request)
                except ClientError as exc:
                    self._note_failure(name, exc)
                    raise

            try:
                answer = ask_patiently(attempt, patience_seconds=PATIENCE_SECONDS)
            except ClientError as exc:
                with self._lock:
                    self.ledger.failed[f"{name}: {type(exc).__name__}: {exc.message[-120:]}"] += 1
                continue
            self._note_answer(request, answer, time.monotonic() - began)

    def _note_failure(self, name: str, error: ClientError) -> None:
        with self._lock:
            self.ledger.retried[f"{name}: {type(error).__name__}"] += 1
            self.ledger.lost += isinstance(error, WorkerFailed)

    def _note_answer(self, request: KnownRequest, answer: Answer, seconds: float) -> None:
        with self._lock:
            ledger = self.ledger
            ledger.longest_seconds = max(ledger.longest_seconds, seconds)
            if answer.body == request.expected:
                ledger.answered += 1
            elif answer.body in self._known:
                ledger.mixed_up += 1
            elif answer.ok:
                ledger.changed += 1
            else:
                ledger.failed[code_of(answer)] += 1
                ledger.lost += code_of(answer) in CHILD_CODES

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join()


def code_of(answer: Answer) -> str:
    """The code of an error."""
    try:
        return str(answer.json()["code"])
    except (ValueError, KeyError):
        return f"{answer.status} without a code"


def ways_to(record: ServerRecord, front: Front | None, clients: int) -> list[tuple[str, Ask]]:
    """As many clients: by REST and gRPC, half of them through the front where there is one."""
    token = record.tokens().inference
    destinations: Mapping[str, Destination] = {
        "direct": Destination.of_record(record, timeout_seconds=REQUEST_TIMEOUT_SECONDS)
    }
    if front is not None:
        through = Destination(front.rest_url, front.grpc_target, token, record.model, None, REQUEST_TIMEOUT_SECONDS)
        destinations = {**destinations, "front": through}
    kinds = [
        (f"{protocol}, {name}", place, protocol)
        for protocol in ("REST", "gRPC")
        for name, place in destinations.items()
    ]

    def ask_by(place: Destination, protocol: str) -> Ask:
        return lambda request: place.ask(request.parts, request.options, grpc=protocol == "gRPC")

    return [(name, ask_by(place, protocol)) for name, place, protocol in (kinds * clients)[:clients]]
