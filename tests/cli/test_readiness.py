from __future__ import annotations

import io
import os
from pathlib import Path

import pytest
from rich.console import Console

from cli.errors import StartFailed
from cli.processes import start_ticks
from cli.progress import Step
from cli.readiness import BindFailed, Waiting, missing_workers
from cli.record import ServerRecord
from client.management import ModelVersion, Worker
from tests.cli.test_record import build_record


@pytest.fixture
def record(tmp_path: Path) -> ServerRecord:
    """A server that runs: this very process stands for it."""
    (tmp_path / "logs").mkdir()
    return ServerRecord(**{**vars(build_record(tmp_path)), "pid": os.getpid(), "began_ticks": start_ticks(os.getpid())})


@pytest.fixture
def shown() -> Step:
    return Step("Waiting", Console(file=io.StringIO(), width=200))


def log(record: ServerRecord, text: str) -> None:
    with (record.logs / "server.log").open("a") as server:
        server.write(text)


@pytest.mark.parametrize(
    ("statuses", "wanted", "missing"),
    [
        (["READY"], 1, None),
        (["READY"], 2, "1 of 2 ready"),
        (["UNLOADING"], 1, "0 of 1 ready"),
        (["READY", "UNLOADING"], 2, "1 of 2 ready"),
        (["READY", "READY"], 1, "2 of 1 ready"),
        ([], 1, "0 of 1 ready"),
    ],
)
def test_ready_means_every_wanted_worker_and_no_other(statuses: list[str], wanted: int, missing: str | None) -> None:
    workers = tuple(Worker(str(number), status, None) for number, status in enumerate(statuses))
    version = ModelVersion("activity", "1.0", "activity.mar", wanted, 4, 8, 20, 600, 0, workers)
    assert missing_workers(version, wanted) == missing


def test_it_asks_until_nothing_is_missing(record: ServerRecord, shown: Step) -> None:
    answers = iter(["this", "that", None])
    Waiting(record, timeout_seconds=60).until(lambda: next(answers), shown)
    assert next(answers, "asked to the end") == "asked to the end"


def test_the_time_is_over(record: ServerRecord, shown: Step) -> None:
    with pytest.raises(StartFailed, match=r"did not get ready in time \(0 of 2 ready\)") as caught:
        Waiting(record, timeout_seconds=-1).until(lambda: "0 of 2 ready", shown)
    assert str(record.logs) in caught.value.remedy


def test_the_server_ended(record: ServerRecord, shown: Step) -> None:
    ended = ServerRecord(**{**vars(record), "pid": 4_194_305})
    waiting = Waiting(ended, timeout_seconds=60)
    log(record, "java.lang.OutOfMemoryError: no more\n")
    with pytest.raises(StartFailed, match=r"TorchServe ended(.|\n)*OutOfMemoryError: no more"):
        waiting.until(lambda: "ports", shown)


def test_a_worker_that_died_before_is_not_told_again(record: ServerRecord, shown: Step) -> None:
    log(record, "Backend worker process died.\n")
    waiting = Waiting(record, timeout_seconds=60)
    answers = iter(["this", None])
    waiting.until(lambda: next(answers), shown)
    log(record, "Backend worker process died.\nModuleNotFoundError: No module named 'x'\n")
    with pytest.raises(StartFailed, match=r"A worker ended(.|\n)*No module named 'x'"):
        waiting.until(lambda: "0 of 1 ready", shown)


def test_a_port_that_was_taken_is_told_apart(record: ServerRecord) -> None:
    waiting = Waiting(record, timeout_seconds=60)
    log(record, "java.io.IOException: Failed to bind to address: http://127.0.0.1:8080\n")
    assert isinstance(waiting.failure("TorchServe ended"), BindFailed)
