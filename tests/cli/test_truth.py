from __future__ import annotations

import subprocess
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cli import truth
from cli.app import app
from cli.probe import WorkerProcess, find_live_workers
from cli.processes import start_ticks
from cli.record import ServerRecord
from cli.truth import NOT_RUNNING, UNSEEN, Seen, Watch
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


def test_what_has_not_been_looked_at_is_not_said_to_have_ended(tmp_path: Path) -> None:
    assert Watch(tmp_path).state().reason == UNSEEN


def test_without_a_server_nothing_is_ready(tmp_path: Path) -> None:
    with Watch(tmp_path) as watch:
        assert not watch.state().ready
        build_record(tmp_path).write()
        assert watch.state().reason in {UNSEEN, NOT_RUNNING, f"No server was started from {tmp_path}."}
        deadline = time.monotonic() + 10
        while watch.state().reason != NOT_RUNNING and time.monotonic() < deadline:
            time.sleep(0.05)
        assert watch.state().reason == NOT_RUNNING
    result = CliRunner().invoke(app, ["ready", "--run-dir", str(tmp_path)])
    assert result.exit_code == 1
    assert result.stdout.startswith("not ready: ")


@dataclass
class Server:
    """A server as a watch sees it, without one."""

    watch: Watch
    record: ServerRecord
    workers: dict[str, frozenset[WorkerProcess]]

    def look(self, default: str) -> None:
        versions = {name: replace(describe(), version=name) for name in self.workers}
        self.watch._note(self.record, versions, default)

    def ask(self, version: str, fault: str | None = None) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(truth, "_ask", lambda *_: fault)
            self.watch._ask(self.watch._look, version, self.workers[version])


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Server:
    found = Server(Watch(tmp_path), build_record(tmp_path), {})
    monkeypatch.setattr(truth, "is_up", lambda _: True)
    monkeypatch.setattr(truth, "find_live_workers", lambda version: found.workers[version.version])
    monkeypatch.setattr(WorkerProcess, "runs", True)
    return found


def test_a_version_that_takes_over_counts_once_its_canary_came_back(server: Server) -> None:
    server.workers = {"1": frozenset({ONE})}
    server.look("1")
    assert not server.watch.state().ready
    server.ask("1")
    assert server.watch.state().ready
    server.workers["2"] = frozenset({TWO})
    server.look("2")
    assert server.watch.state().ready  # by the version before it
    server.ask("2", "it came back wrong")
    assert server.watch.state().reason == "it came back wrong"
    server.ask("2")
    server.look("2")
    assert server.watch.state().ready
    # Now it stands for itself: the version before it, whose workers were left to it, does not count.
    server.workers["2"] = frozenset()
    server.look("2")
    assert server.watch.state().reason == "0 of the 1 workers that it takes are READY and alive"


def test_what_was_vetted_before_it_took_over_counts_at_once_and_then_stands_for_itself(server: Server) -> None:
    server.workers = {"1": frozenset({ONE}), "2": frozenset({TWO})}
    server.look("1")
    server.ask("1")
    server.ask("2")
    server.look("2")
    server.workers["1"] = frozenset()
    server.look("2")
    assert server.watch.state().ready
    server.workers = {"1": frozenset({ONE}), "2": frozenset()}
    server.look("2")
    server.ask("1")
    assert not server.watch.state().ready


def test_a_server_that_says_nothing_any_more_is_not_ready(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    server.workers = {"1": frozenset({ONE})}
    server.look("1")
    server.ask("1")
    server.watch._look = replace(server.watch._look, at=server.watch._look.at - truth.STALE_SECONDS - 1)
    assert server.watch.state().reason == "TorchServe does not say which workers it has"
    monkeypatch.setattr(truth, "is_up", lambda _: False)
    assert server.watch.state().reason == "the server is not running"
