from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import httpx
import pytest

from cli.holding import HOLD_NAME, LONGEST_SECONDS, holding, is_held
from cli.ready_server import serving
from cli.truth import Readiness
from tests.cli.test_record import build_record


@pytest.mark.parametrize(("ready", "status"), [(True, 200), (False, 503)])
def test_it_answers_as_it_is_at_that_moment(ready: bool, status: int) -> None:
    states: list[Readiness] = []

    def state() -> Readiness:
        states.append(Readiness(ready, "why", 2))
        return states[-1]

    with serving(state, 0) as port, httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client:
        answer = client.get("/ready?probe=1")
        assert answer.status_code == status
        assert answer.json() == {"ready": ready, "reason": "why", "workers": 2}
        assert answer.headers["Cache-Control"] == "no-store"
        head = client.head("/ready")
        assert (head.status_code, head.content) == (status, b"")
        assert client.get("/").status_code == 404
    assert len(states) == 2
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"http://127.0.0.1:{port}/ready", trust_env=False)


def test_the_gate_answers_once_requests_are_let_in() -> None:
    held = threading.Event()
    held.set()
    with (
        serving(lambda: Readiness(True, ""), 0, held.is_set) as port,
        httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client,
    ):
        with pytest.raises(httpx.ReadTimeout):
            client.get("/gate", timeout=0.3)
        threading.Timer(0.3, held.clear).start()
        began = time.monotonic()
        assert client.get("/gate").status_code == 200
        assert time.monotonic() - began >= 0.2
        assert client.get("/gate").status_code == 200


def test_a_hold_needs_a_front_and_ends_by_itself(tmp_path: Path) -> None:
    with holding(build_record(tmp_path)) as held:
        assert not held
    mark = tmp_path / HOLD_NAME
    assert not is_held(tmp_path)
    mark.touch()
    assert is_held(tmp_path)
    long_ago = time.time() - LONGEST_SECONDS - 1
    os.utime(mark, (long_ago, long_ago))
    assert not is_held(tmp_path)
