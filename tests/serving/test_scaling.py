"""Up and down while requests come in through the front."""

from __future__ import annotations

import time

import pytest

from benchmarks.scaling import Load, canary_of, go_up_and_down, ways_to
from cli.front import Front
from cli.probe import find_live_workers
from cli.readiness import build_management
from cli.record import ServerRecord
from cli.scaling import QUIET_SECONDS, wait_for_quiet

pytestmark = pytest.mark.server

ROUNDS, HIGH = 2, 2


def test_no_request_is_lost_and_every_answer_is_the_same(server: ServerRecord, front: Front) -> None:
    """Twenty rounds of one to four: benchmarks/scaling.py."""
    canary = canary_of(server)
    ways = ways_to(server, canary, front.rest_url, front.grpc_target)
    with Load({name: way for name, way in ways.items() if "front" in name}, canary) as load:
        go_up_and_down(server, ROUNDS, HIGH, report=lambda _: None)
    assert {name: outcomes.failures for name, outcomes in load.outcomes.items()} == {name: {} for name in load.outcomes}
    assert all(outcomes.answered for outcomes in load.outcomes.values())
    assert load.different_answers == 1
    with build_management(server) as management:
        (version,) = management.describe(server.model)
    assert len(find_live_workers(version)) == len(version.workers) == 1


def test_a_server_is_quiet_when_its_workers_rest(server: ServerRecord, front: Front) -> None:
    canary = canary_of(server)
    with build_management(server) as management:
        workers = find_live_workers(management.describe(server.model)[0])
    began = time.monotonic()
    assert wait_for_quiet(workers, timeout_seconds=30)
    assert time.monotonic() - began >= QUIET_SECONDS
    with Load(ways_to(server, canary, front.rest_url, front.grpc_target), canary):
        time.sleep(1.0)
        assert not wait_for_quiet(workers, timeout_seconds=2)
