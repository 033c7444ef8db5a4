"""nginx's configuration, and nginx itself where there is no server behind it."""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import grpc
import httpx
import pytest
from typer.testing import CliRunner

from cli.app import app
from cli.errors import CommandError
from cli.front_keys import build_key_maps
from cli.nginx import TEMPLATE, FrontSettings, Nginx, build_config, find_nginx
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
    assert re.findall(r"listen (.*) backlog=\d+;", config) == ["127.0.0.1:1001", "127.0.0.1:1002 http2"]
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
    assert "listen 127.0.0.1:28123 backlog=4096;" in written
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
    template = TEMPLATE.read_text(encoding="utf-8").replace("client_body_timeout 10s", "client_body_timeout 1s")
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
