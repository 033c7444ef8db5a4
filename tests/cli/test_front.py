"""The commands that go on until they are told to end; no server is behind them."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
from typer.testing import CliRunner

from cli.app import app
from cli.errors import CommandError
from cli.front import _check_ports
from cli.nginx import find_nginx
from cli.ports import find_free_port, is_free
from cli.properties import write_properties
from tests.cli.test_record import build_record


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    build_record(tmp_path).write()
    write_properties(tmp_path / "config.properties", {})
    return tmp_path


@contextmanager
def running(run_dir: Path, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "cli.app", *arguments, "--run-dir", str(run_dir)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if "Ctrl-C" in line:
                break
        try:
            yield process
        finally:
            process.send_signal(signal.SIGTERM)
            process.communicate(timeout=30)
    assert process.returncode == 0


def ask_ready(port: int) -> tuple[int, str]:
    answer = httpx.get(f"http://127.0.0.1:{port}/ready", trust_env=False)
    return answer.status_code, answer.json()["reason"]


def test_a_front_ends_with_its_command(run_dir: Path) -> None:
    try:
        find_nginx()
    except CommandError as exc:
        pytest.skip(f"{exc.message} {exc.remedy}")
    port, grpc_port = find_free_port(set()), find_free_port(set())
    with running(run_dir, "front", "--port", str(port), "--grpc-port", str(grpc_port)):
        assert ask_ready(port)[0] == 503
        again = CliRunner().invoke(app, ["front", "--run-dir", str(run_dir)])
        assert again.exit_code == 1
        assert "runs already" in str(again.exception)
        taken = CliRunner().invoke(app, ["front", "--port", str(port), "--run-dir", str(run_dir)])
        assert f"Port {port} is taken" in str(taken.exception)
    assert is_free(port)
    assert is_free(grpc_port)
    assert not (run_dir / "front" / "nginx.pid").exists()


def test_readiness_is_served_and_each_change_said(run_dir: Path) -> None:
    port = find_free_port(set())
    with running(run_dir, "ready", "--serve", str(port)) as process:
        assert ask_ready(port)[0] == 503
        assert process.stdout is not None
        assert process.stdout.readline().split(" ", 1)[1].startswith("not ready: ")
    assert is_free(port)


def test_a_server_with_other_ports_ends_its_front(run_dir: Path) -> None:
    record = build_record(run_dir)
    _check_ports(record)
    replace(record, pid=record.pid + 1, ports=replace(record.ports, inference=9)).write()
    with pytest.raises(CommandError, match="with other ports"):
        _check_ports(record)
    (run_dir / "server.json").unlink()
    _check_ports(record)  # one that is stopped may come back
