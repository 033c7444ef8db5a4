"""nginx's configuration, and nginx itself where there is no server behind it."""

from __future__ import annotations

import asyncio
import re
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import grpc
import httpx
import pytest
from typer.testing import CliRunner

from benchmarks.http_load import build_request
from benchmarks.slow_kinds import SlowClients
from cli.app import app
from cli.draining import drain_front
from cli.draining_mark import is_draining
from cli.errors import CommandError
from cli.front_keys import build_key_maps
from cli.nginx import TEMPLATE, FrontSettings, Nginx, build_config, count_in_flight, find_nginx
from cli.ports import find_free_port
from cli.properties import write_properties
from client.errors import Overloaded
from client.grpc import client_error
from client.protos import inference_pb2, inference_pb2_grpc
from client.rest import RestClient
from tests.cli.test_record import build_record

MAX_BYTES = 2_000_000


def settings(ports: Sequence[int]) -> FrontSettings:
    rest, grpc_, server_rest, server_grpc, ready = ports
    return FrontSettings(
        "127.0.0.1",
        rest,
        grpc_,
        server_rest,
        server_grpc,
        ready,
        MAX_BYTES,
        at_once=16,
        key_maps=build_key_maps(None),
        tries=3,
    )


def test_the_template_is_filled_in() -> None:
    config = build_config(TEMPLATE.read_text(encoding="utf-8"), settings(range(1001, 1006)))
    assert config.count("server 127.0.0.1:1003 max_fails=0 max_conns=6;") == 3  # 16 by three entries
    assert re.findall(r"listen (.*) backlog=4096(?: sndbuf=256k)?;", config) == [
        "127.0.0.1:1001",
        "127.0.0.1:1002 http2",
    ]
    assert "server 127.0.0.1:1004 max_fails=0 max_conns=16;" in config
    assert "proxy_pass http://127.0.0.1:1005;" in config
    assert f"client_max_body_size {MAX_BYTES};" in config
    assert not re.search(r"@[A-Z_]+@", config)
    with pytest.raises(CommandError, match="names NONSENSE"):
        build_config("@NONSENSE@", settings(range(5)))


def test_where_there_is_none_it_says_how_to_get_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    monkeypatch.setattr("os.access", lambda *_: False)
    with pytest.raises(CommandError, match="no nginx") as caught:
        find_nginx()
    assert "bash scripts/nginx.sh" in caught.value.remedy


def test_the_command_writes_a_configuration_for_this_server(tmp_path: Path) -> None:
    record = build_record(tmp_path)
    record.write()
    write_properties(tmp_path / "config.properties", {"max_request_size": "12345", "job_queue_size": "10"})
    command = ["front", "--write", str(tmp_path / "a.conf"), "--port", "28123", "--run-dir", str(tmp_path)]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 0, result.output
    written = (tmp_path / "a.conf").read_text(encoding="utf-8")
    assert "listen 127.0.0.1:28123 backlog=4096 sndbuf=256k;" in written
    assert f"server 127.0.0.1:{record.ports.inference} max_fails=0 max_conns=5;" in written
    assert "client_max_body_size 12345;" in written


@dataclass
class Running:
    nginx: Nginx
    folder: Path
    rest: str
    grpc: str


@pytest.fixture(scope="module")
def program() -> Path:
    try:
        return find_nginx()
    except CommandError as exc:
        pytest.skip(f"{exc.message} {exc.remedy}")


@pytest.fixture(scope="module")
def front(program: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A front with nothing behind it."""
    folder = tmp_path_factory.mktemp("a front with é and a space")
    ports: list[int] = []
    for _ in range(5):
        ports.append(find_free_port(set(ports)))
    template = re.sub(
        r"(client_(?:body|header)|keepalive|send)_timeout \d+s", r"\1_timeout 1s", TEMPLATE.read_text("utf-8")
    )
    nginx = Nginx(program, folder, build_config(template, settings(ports)))
    nginx.start("127.0.0.1", ports[:2])
    yield Running(nginx, folder, f"http://127.0.0.1:{ports[0]}", f"127.0.0.1:{ports[1]}")
    nginx.stop()
    assert not nginx.runs


def test_with_no_server_behind_it_a_client_is_told_to_ask_later(front: Running) -> None:
    with RestClient(front.rest) as client, pytest.raises(Overloaded, match="no server answers behind the front"):
        client.predict(text="hi")
    for path in ("/ready", "/v2/health/ready"):
        ready = httpx.get(f"{front.rest}{path}", trust_env=False)
        assert (ready.status_code, ready.json()["ready"]) == (503, False)


def test_by_grpc_too(front: Running) -> None:
    with grpc.insecure_channel(front.grpc) as channel:
        stub = inference_pb2_grpc.InferenceAPIsServiceStub(channel)  # type: ignore[no-untyped-call]
        with pytest.raises(grpc.RpcError) as caught:
            stub.Predictions(inference_pb2.PredictionsRequest(model_name="activity"))
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    details = caught.value.details()
    assert details == "The model has no worker to serve the request just now: no server answers behind the front"
    assert isinstance(client_error(front.grpc, caught.value, 1.0, 0), Overloaded)


def test_a_request_above_the_limit_is_answered_with_it(front: Running) -> None:
    with RestClient(front.rest) as client:
        answer = client.predict(b"x" * (MAX_BYTES + 1))
    assert answer.status == 413
    assert answer.json()["code"] == "limit_bytes"
    assert str(MAX_BYTES) in answer.json()["message"]


def test_half_a_request_is_given_up_and_never_sent_on(front: Running) -> None:
    address = front.rest.removeprefix("http://").split(":")
    with socket.create_connection((address[0], int(address[1])), timeout=10) as slow:
        slow.sendall(b"POST /predictions/slow HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\nhalf")
        began = time.monotonic()
        with pytest.raises(ConnectionResetError):
            slow.recv(10_000)
        assert 0.5 < time.monotonic() - began < 5
    time.sleep(0.1)
    (line,) = [line for line in (front.folder / "access.log").read_text().splitlines() if "/predictions/slow" in line]
    assert '"status":408' in line
    assert '"tries":""' in line


def test_slow_clients_are_let_go_and_counted(front: Running) -> None:
    """The template's own time-outs are 10 to 20 s, here they are 1 s: without them each is held for ever."""
    host, port = front.rest.removeprefix("http://").split(":")
    request = build_request({"video": b"x" * 50_000}, token=None, host=host)

    async def be_slow() -> dict[str, float]:
        slow = SlowClients(host, int(port), request)
        kinds = ("silent", "head", "body", "idle")
        looking = asyncio.create_task(slow.look_on())
        seconds = await asyncio.wait_for(asyncio.gather(*map(slow.hold, kinds)), timeout=10)
        looking.cancel()
        assert slow.held.most == len(kinds)
        assert not slow.held.ports
        return dict(zip(kinds, seconds, strict=True))

    lives = asyncio.run(be_slow())
    assert all(0.5 < seconds < 5 for seconds in lives.values()), lives


@contextmanager
def answering_slowly(port: int) -> Iterator[threading.Event]:
    """Behind a front: each request is answered once the event is set."""
    go = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            go.wait(20)
            self.send_response(200)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"ok")

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", port), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield go
        server.shutdown()
        thread.join()


def test_more_requests_than_may_wait_are_refused_and_a_front_that_ends_answers_what_it_has(
    program: Path, tmp_path: Path
) -> None:
    ports: list[int] = []
    for _ in range(5):
        ports.append(find_free_port(set(ports)))
    config = build_config(TEMPLATE.read_text(encoding="utf-8"), replace(settings(ports), at_once=4, tries=2))
    nginx = Nginx(program, tmp_path, config)
    url = f"http://127.0.0.1:{ports[0]}/predictions/activity"

    def ask() -> httpx.Response:
        return httpx.post(url, content=b"x" * 200_000, trust_env=False, timeout=20)

    with answering_slowly(ports[2]) as go, ThreadPoolExecutor() as pool:
        nginx.start("127.0.0.1", ports[:2])
        asked = [pool.submit(ask) for _ in range(4)]
        while count_in_flight(tmp_path) < 4:
            time.sleep(0.01)
        refused = ask()
        assert (refused.status_code, refused.headers["Retry-After"]) == (503, "2")
        assert "as many requests as may wait are waiting" in refused.json()["message"]
        draining = pool.submit(drain_front, tmp_path, limit_seconds=20)
        while not is_draining(tmp_path):
            time.sleep(0.01)
        refused = ask()
        assert (refused.status_code, refused.headers["Connection"]) == (503, "close")
        assert "takes no new requests" in refused.json()["message"]
        assert not draining.done()
        go.set()
        assert [each.result().status_code for each in asked] == [200] * 4
        assert draining.result().quiet
        nginx.stop()
    assert not nginx.runs
    assert count_in_flight(tmp_path) == 0


def test_what_nginx_says_is_said_when_it_does_not_start(program: Path, tmp_path: Path) -> None:
    nginx = Nginx(program, tmp_path / "front", "nonsense;")
    with pytest.raises(CommandError, match='unknown directive "nonsense"'):
        nginx.start("127.0.0.1", [find_free_port(set())])


def test_the_script_that_fetches_it_has_nothing_to_do_where_there_is_one(program: Path, tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "nginx").symlink_to(program)
    for tool in ("bash", "dirname"):
        (tmp_path / "bin" / tool).symlink_to(shutil.which(tool) or tool)
    script = TEMPLATE.parents[1] / "scripts" / "nginx.sh"
    done = subprocess.run(["bash", script], env={"PATH": str(tmp_path / "bin")}, capture_output=True, check=True)
    assert done.stderr == b""
