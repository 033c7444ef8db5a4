"""Readiness tells the truth about a running server, and its front passes it on."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import httpx
import pytest
from typer.testing import CliRunner

from benchmarks.asking import ways_to
from benchmarks.known_requests import make_requests
from benchmarks.worker_kills import Plan, measure
from cli.app import app
from cli.front import Front
from cli.probe import find_live_workers
from cli.readiness import build_management
from cli.record import ServerRecord
from cli.scaling import check_canary
from handler.pipeline import ActivityPipeline

pytestmark = pytest.mark.server

LATEST_SECONDS = 2.0
RESTART_SECONDS = 60.0


def is_ready(front: Front) -> bool:
    return httpx.get(f"{front.rest_url}/ready", trust_env=False).status_code == 200


def wait_for(front: Front, ready: bool, seconds: float) -> float:
    """Seconds until the front says so."""
    began = time.monotonic()
    while is_ready(front) is not ready:
        assert time.monotonic() - began < seconds
        time.sleep(0.05)
    return time.monotonic() - began


def ask_command(server: ServerRecord, *options: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["ready", *options, "--run-dir", server.run_dir])
    return result.exit_code, result.stdout


def test_it_is_false_soon_after_the_last_worker_died_and_true_once_another_is_proved(
    server: ServerRecord, front: Front
) -> None:
    wait_for(front, ready=True, seconds=RESTART_SECONDS)
    assert ask_command(server) == (0, "ready: 1 READY, canary right\n")
    assert ask_command(server, "--workers", "2")[0] == 1
    with build_management(server) as management:
        (worker,) = find_live_workers(management.describe(server.model)[0])
        os.kill(worker.pid, signal.SIGKILL)
        assert wait_for(front, ready=False, seconds=LATEST_SECONDS) < LATEST_SECONDS
        assert ask_command(server)[0] == 1
        key = {"Authorization": f"Bearer {server.tokens().inference}"}
        ping = httpx.get(f"{server.inference_url}/ping", headers=key, trust_env=False)
        assert ping.json() == {"status": "Healthy"}  # which is why nobody should ask it
        wait_for(front, ready=True, seconds=RESTART_SECONDS)
        assert find_live_workers(management.describe(server.model)[0]) != {worker}
        check_canary(server, management.describe(server.model)[0], timeout_seconds=RESTART_SECONDS)


def test_a_killed_worker_costs_a_batch_at_most_and_with_its_own_retry_no_client_anything(
    server: ServerRecord, front: Front, pipeline: ActivityPipeline
) -> None:
    plan = Plan(1, RESTART_SECONDS, workers=1, max_restore_seconds=RESTART_SECONDS, signal_number=signal.SIGSEGV)
    ways = dict(ways_to(server, front, 4))
    through = ("REST, front", ways["REST, front"])
    mixed = [through] * 6 + [("gRPC, direct", ways["gRPC, direct"])] * 2
    log = Path(server.run_dir) / "front/access.log"
    tried = log.read_text(encoding="utf-8").count('"tries":"500, 200"')
    # A worker may be killed between two batches, or while it has what came by gRPC alone: then nothing is repeated.
    for clients in (mixed, *[[through] * 8] * 3):
        report = measure(server, make_requests(pipeline, 48), front, plan, ways=clients)
        assert report.broken == []
        if log.read_text(encoding="utf-8").count('"tries":"500, 200"') > tried:
            break
    assert log.read_text(encoding="utf-8").count('"tries":"500, 200"') > tried
