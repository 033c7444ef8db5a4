"""A real server behind its front when too much is asked, and among slow clients."""

from __future__ import annotations

import pytest

from benchmarks import overload, slow_clients
from cli.front import Front
from cli.record import ServerRecord

pytestmark = pytest.mark.server


def test_what_cannot_be_done_is_refused_at_once(server: ServerRecord, front: Front) -> None:
    plan = overload.Plan(factor=6.0, seconds=4.0, levels=(4,), level_seconds=1.0, slo_seconds=30.0)
    (found,) = overload.measure(server, front.rest_url, plan).overloads
    assert found.others == {}
    assert found.refused == found.told_when > 0
    assert found.refused_seconds[0] < 0.5  # the median: a busy machine moves the others


def test_slow_clients_keep_nobody_waiting(server: ServerRecord, front: Front) -> None:
    plan = slow_clients.Plan(clients=120, good_clients=1, rounds=1, seconds=3.0)
    measured = slow_clients.measure(server, front.rest_url, plan, folder=front.folder)
    assert measured.failures == {}
    assert len(measured.beside) > 1
    assert measured.held.most > 80
    assert measured.held.failed == {}
    assert measured.megabytes < 50
