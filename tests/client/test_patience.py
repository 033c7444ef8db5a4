from __future__ import annotations

from collections.abc import Sequence

import pytest

from client.errors import ClientError, Overloaded, Refused, ServerUnreachable, WorkerFailed
from client.patience import ask_patiently


class Server:
    """Gives what it is told, one after the other; its clock goes on only by waiting."""

    def __init__(self, given: Sequence[str | type[ClientError]]) -> None:
        self.given = list(given)
        self.waits: list[float] = []

    def ask(self) -> str:
        item = self.given.pop(0) if len(self.given) > 1 else self.given[0]
        if isinstance(item, str):
            return item
        raise item("no", remedy="later")

    def patiently(self, seconds: float) -> str:
        return ask_patiently(self.ask, patience_seconds=seconds, sleep=self.waits.append, clock=lambda: sum(self.waits))


def test_a_full_queue_is_waited_for_longer_each_time() -> None:
    server = Server([*[Overloaded] * 7, "answer"])
    assert server.patiently(60) == "answer"
    nominal = [0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0]
    assert all(0.75 * n <= w <= 1.25 * n for n, w in zip(nominal, server.waits, strict=True))


@pytest.mark.parametrize(
    ("error", "patience", "at_most"), [(Overloaded, 30.0, 37.0), (ServerUnreachable, 600.0, 17.0), (Refused, 60.0, 0.0)]
)
def test_patience_ends(error: type[ClientError], patience: float, at_most: float) -> None:
    server = Server([error])
    with pytest.raises(error):
        server.patiently(patience)
    assert sum(server.waits) <= at_most


def test_a_worker_that_died_is_asked_once_more() -> None:
    assert Server([WorkerFailed, "answer"]).patiently(60) == "answer"
    server = Server([WorkerFailed])
    with pytest.raises(WorkerFailed):
        server.patiently(60)
    assert len(server.waits) == 1


@pytest.mark.parametrize("error", [WorkerFailed, Overloaded, ServerUnreachable])
def test_without_patience_there_is_one_attempt(error: type[ClientError]) -> None:
    server = Server([error, "answer"])
    with pytest.raises(error):
        server.patiently(0)
    assert server.waits == []
