"""A server that is stopped answers what is in flight, and refuses what comes."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from typer.testing import CliRunner

from cli.app import app
from cli.destination import Destination
from cli.errors import CommandError
from cli.front import Front, running_front
from cli.nginx import find_nginx
from cli.record import ServerRecord
from cli.server import ServeSettings, end_server, is_up, start_server
from client.errors import Overloaded
from tests.serving.archives import ECHO_HANDLER, write_archive

pytestmark = pytest.mark.server

WORK_SECONDS = 2.0


@pytest.fixture
def echo(tmp_path: Path) -> Iterator[ServerRecord]:
    archive = write_archive(tmp_path / "echo.mar", ECHO_HANDLER.read_text(encoding="utf-8"))
    record = start_server(ServeSettings(archive=archive, run_dir=tmp_path / "run"))
    yield record
    end_server(record)


@pytest.fixture
def front(echo: ServerRecord) -> Iterator[Front]:
    try:
        find_nginx()
    except CommandError as exc:
        pytest.skip(f"{exc.message} {exc.remedy}")
    with running_front(echo) as opened:
        yield opened


def test_what_is_in_flight_is_answered_and_what_comes_is_refused(echo: ServerRecord, front: Front) -> None:
    through = Destination(front.rest_url, front.grpc_target, echo.tokens().inference)
    direct = Destination.of_record(echo)
    work = {"work": str(WORK_SECONDS).encode()}

    def ask(destination: Destination, grpc: bool) -> int:
        return destination.ask(work, {}, grpc=grpc).status

    with ThreadPoolExecutor() as pool:
        # One worker and batches of one: the last waits in TorchServe's queue while the first two are worked at.
        asked = [pool.submit(ask, *how) for how in ((through, False), (through, True), (direct, False), (direct, True))]
        time.sleep(WORK_SECONDS / 2)
        began = time.monotonic()
        stopping = pool.submit(CliRunner().invoke, app, ["stop", "--run-dir", echo.run_dir])
        while not Path(echo.run_dir, "draining").exists():
            time.sleep(0.01)
        key = {"Authorization": f"Bearer {through.token}"}
        refused = httpx.post(
            f"{front.rest_url}/predictions/activity", headers=key, content=b"x" * 1_000_000, trust_env=False
        )
        assert (refused.status_code, refused.headers["Retry-After"]) == (503, "2")
        assert "takes no new requests" in refused.json()["message"]
        for grpc in (False, True):
            with pytest.raises(Overloaded, match="takes no new requests"):
                through.ask(work, {}, grpc=grpc)
        ready = httpx.get(f"{front.rest_url}/ready", trust_env=False)
        assert (ready.status_code, ready.json()["reason"]) == (
            503,
            "it is being stopped: requests in flight are still answered",
        )
        assert not any(each.done() for each in asked[2:])
        assert [each.result() for each in asked] == [200] * 4
        assert is_up(echo)
        assert stopping.result().exit_code == 0
    assert 2.5 * WORK_SECONDS < time.monotonic() - began < 30
    with pytest.raises(Overloaded, match="no server answers behind the front"):
        through.ask(work, {})
