from __future__ import annotations

import httpx
import pytest

from cli.ready_server import serving
from cli.truth import Readiness


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
