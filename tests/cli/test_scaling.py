from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import psutil
import pytest

from cli import scaling
from cli.probe import WorkerProcess
from cli.processes import start_ticks
from cli.scaling import _stopped, wait_for_quiet

REST, WORK = "input()", "while True: pass"


@pytest.fixture
def worker(request: pytest.FixtureRequest) -> Iterator[WorkerProcess]:
    code = getattr(request, "param", REST)
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE) as process:
        yield WorkerProcess(process.pid, start_ticks(process.pid) or 0)
        process.kill()


@pytest.mark.parametrize("worker", [REST], indirect=True)
def test_a_worker_at_rest_is_quiet(worker: WorkerProcess) -> None:
    assert wait_for_quiet([worker], timeout_seconds=10)


@pytest.mark.parametrize("worker", [WORK], indirect=True)
def test_a_worker_at_work_is_not(worker: WorkerProcess) -> None:
    assert not wait_for_quiet([worker], timeout_seconds=1)


@pytest.mark.parametrize(
    "worker", [f"import subprocess, sys; subprocess.run([sys.executable, '-c', '{WORK}'])"], indirect=True
)
def test_one_whose_decoder_is_at_work_is_not_either(worker: WorkerProcess) -> None:
    assert not wait_for_quiet([worker], timeout_seconds=1)
    for child in psutil.Process(worker.pid).children():
        child.kill()


def test_a_worker_is_stopped_only_while_it_is_taken_away(
    worker: WorkerProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where TorchServe refuses to take it, it goes on."""
    monkeypatch.setattr(scaling, "SETTLE_SECONDS", 0.05)
    process = psutil.Process(worker.pid)

    def take_away() -> None:
        with _stopped([worker]):
            assert process.status() == psutil.STATUS_STOPPED
            raise RuntimeError("refused")

    with pytest.raises(RuntimeError, match="refused"):
        take_away()
    assert process.status() != psutil.STATUS_STOPPED
    process.kill()
    process.wait()
    with _stopped([worker]):
        pass  # it ended by itself
