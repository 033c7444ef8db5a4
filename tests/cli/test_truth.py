from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cli.app import app
from cli.probe import WorkerProcess, find_live_workers
from cli.processes import start_ticks
from cli.truth import Seen, Watch
from client.management import ModelVersion, Worker
from tests.cli.test_record import build_record

ONE, TWO = WorkerProcess(1_000_001, 1), WorkerProcess(1_000_002, 1)


@pytest.mark.parametrize(
    ("seen", "alive", "at_least", "ready", "reason"),
    [
        (Seen(), set(), 1, False, "0 of the 1 workers"),
        (Seen(frozenset({ONE})), {ONE}, 1, False, "no canary has been asked yet"),
        (Seen(frozenset({ONE}), frozenset({ONE}), None), {ONE}, 1, True, "1 READY, canary right"),
        (Seen(frozenset({ONE}), frozenset({ONE}), None), set(), 1, False, "0 of the 1 workers"),
        (Seen(frozenset({ONE}), frozenset({ONE}), None), {ONE}, 2, False, "1 of the 2 workers"),
        (Seen(frozenset({ONE}), frozenset(), "it came back wrong"), {ONE}, 1, False, "it came back wrong"),
        # The last vetted one died and TorchServe has started another.
        (Seen(frozenset({TWO}), frozenset({ONE}), None), {TWO}, 1, False, "no canary came back yet"),
        # One was added, or another one died.
        (Seen(frozenset({ONE, TWO}), frozenset({ONE}), None), {ONE, TWO}, 2, True, "2 READY"),
        (Seen(frozenset({ONE, TWO}), frozenset({ONE, TWO}), None), {TWO}, 1, True, "1 READY"),
    ],
)
def test_what_makes_a_server_ready(
    seen: Seen, alive: set[WorkerProcess], at_least: int, ready: bool, reason: str
) -> None:
    found = seen.judge(alive, at_least)
    assert (found.ready, found.workers) == (ready, len(alive))
    assert reason in found.reason


def describe(*workers: Worker) -> ModelVersion:
    return ModelVersion("activity", "1.0", "a.mar", 1, 1, 8, 20, 600, 0, workers)


def test_a_worker_that_torchserve_calls_ready_counts_while_its_process_runs() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        ready = Worker("9000", "READY", process.pid)
        loading = Worker("9001", "UNLOADING", process.pid)
        version = describe(ready, loading, Worker("9002", "READY", None))
        assert find_live_workers(version) == {WorkerProcess(process.pid, start_ticks(process.pid) or 0)}
        assert find_live_workers(version, of=[loading]) == frozenset()
        process.kill()
        process.wait()
        assert find_live_workers(version) == frozenset()


def test_a_process_that_has_ended_and_was_not_asked_for_does_not_count() -> None:
    """TorchServe leaves its dead workers as zombies for a while."""
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        found = WorkerProcess(process.pid, start_ticks(process.pid) or 0)
        while found.runs:
            pass
        assert Path(f"/proc/{process.pid}").exists()


def test_without_a_server_nothing_is_ready(tmp_path: Path) -> None:
    with Watch(tmp_path) as watch:
        assert not watch.state().ready
        build_record(tmp_path).write()
        assert watch.state().reason in {"the server is not running", f"No server was started from {tmp_path}."}
    result = CliRunner().invoke(app, ["ready", "--run-dir", str(tmp_path)])
    assert result.exit_code == 1
    assert result.stdout.startswith("not ready: ")
