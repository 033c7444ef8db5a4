"""What the measurement of killed workers sees, without a server; with one: tests/serving/test_ready.py."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest

from benchmarks.asking import Clients, Ledger
from benchmarks.known_requests import KnownRequest
from benchmarks.worker_kills import Kill, Report
from client import patience
from client.answer import Answer
from client.errors import WorkerFailed

REQUESTS = [KnownRequest({"text": str(place).encode()}, {}, b"answer %d" % place) for place in range(24)]


def ask_with(answer: Callable[[int], bytes], monkeypatch: pytest.MonkeyPatch) -> Ledger:
    """The ledger after some requests of eight clients; ``answer`` gives the body of the request with this number."""
    monkeypatch.setattr(patience, "FIRST_WAIT_SECONDS", 0.0)
    enough, lock, asked = threading.Event(), threading.Lock(), [0]

    def ask(request: KnownRequest) -> Answer:
        with lock:
            asked[0] += 1
            if asked[0] >= 100:
                enough.set()
        time.sleep(0.001)
        return Answer(200, "application/json", answer(int(request.parts["text"])))

    with Clients([(str(place), ask) for place in range(8)], REQUESTS) as clients:
        assert enough.wait(30)
    return clients.ledger


def test_each_request_gets_its_own_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    ledger = ask_with(lambda number: b"answer %d" % number, monkeypatch)
    assert ledger.answered >= 100
    assert (ledger.mixed_up, ledger.changed, ledger.lost, ledger.failed) == (0, 0, 0, {})


def test_answers_of_others_and_changed_ones_are_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    ledger = ask_with(lambda number: b"answer %d" % (number if number % 4 else (number + 1) % 24), monkeypatch)
    assert 20 <= ledger.mixed_up <= 40
    assert ledger.changed == 0
    ledger = ask_with(lambda number: b"answer %d" % number + b"!" * (number % 4 == 0), monkeypatch)
    assert 20 <= ledger.changed <= 40
    assert ledger.mixed_up == 0


def test_what_workers_take_with_them_is_counted_and_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    died: set[int] = set()

    def die_once(number: int) -> bytes:
        if number % 4 == 0 and number not in died:
            died.add(number)
            raise WorkerFailed("Worker died.", remedy="again")
        return b"answer %d" % number

    ledger = ask_with(die_once, monkeypatch)
    assert ledger.lost == len(died) == 6
    assert (ledger.failed, ledger.mixed_up) == ({}, 0)

    def die(number: int) -> bytes:
        if number == 4:
            raise WorkerFailed("Worker died.", remedy="again")
        return b"answer %d" % number

    ledger = ask_with(die, monkeypatch)
    assert ledger.lost == 2 * ledger.failed.total() > 0


GOOD = Kill(lost=8, restored_seconds=20.0, orphans=0)


@pytest.mark.parametrize(
    ("kill", "ledger", "broken"),
    [
        (GOOD, Ledger(answered=9), []),
        (Kill(9, 8.0, 0), Ledger(answered=9), ["a kill cost 9 requests"]),
        (Kill(0, 20.1, 0), Ledger(answered=9), ["1 times not all workers were back within 20 s"]),
        (Kill(0, None, 0), Ledger(answered=9), ["1 times not all workers were back within 20 s"]),
        (Kill(0, 8.0, 2), Ledger(answered=9), ["something of a killed worker ran on"]),
        (GOOD, Ledger(answered=9, mixed_up=1), ["1 answers were another request's"]),
        (GOOD, Ledger(answered=9, changed=2), ["2 answers were changed"]),
        (GOOD, Ledger(), ["nobody was killed, or nothing answered"]),
    ],
)
def test_a_promise_that_does_not_hold_is_named(kill: Kill, ledger: Ledger, broken: list[str]) -> None:
    assert Report((kill,), ledger, batch_size=8, max_restore_seconds=20.0).broken == broken
