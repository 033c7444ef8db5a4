"""Whom a front lets in: by nginx itself, before something that says which key came through."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest

from cli.errors import CommandError
from cli.front import Door, Front, front
from cli.front_keys import build_key_maps, build_open_key_maps, load_inference_key
from cli.listening import Tls
from cli.nginx import TEMPLATE, FrontSettings, Nginx, build_config, find_nginx
from cli.ports import find_free_port
from client.errors import Overloaded, Refused
from client.grpc import GrpcClient
from client.rest import RestClient
from tests.cli.test_nginx import settings
from tests.cli.test_record import build_record
from tests.serving.tls import make_certificate

SERVERS, OWN = "aB3-_xY=", "own.key~with+every/sign=" + "x" * 20


class EchoKey(BaseHTTPRequestHandler):
    """Says which key it was asked with; everything else, as TorchServe does, with the name of a class."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self._answer(200, {"status": 200, "key": self.headers["Authorization"]})

    def do_GET(self) -> None:
        self._answer(404, {"code": 404, "type": "ResourceNotFoundException", "message": "not found"})

    def _answer(self, status: int, values: dict[str, object]) -> None:
        body = json.dumps(values).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nothing is logged."""


@pytest.fixture(scope="module")
def behind() -> Iterator[int]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), EchoKey)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    yield server.server_port
    server.shutdown()
    thread.join()
    server.server_close()


@contextmanager
def opened(folder: Path, behind: int, key_maps: str, tls: Tls | None = None) -> Iterator[tuple[Nginx, FrontSettings]]:
    try:
        program = find_nginx()
    except CommandError as exc:
        pytest.skip(f"{exc.message} {exc.remedy}")
    ports: list[int] = []
    for _ in range(5):
        ports.append(find_free_port(set(ports)))
    ports[2] = behind
    chosen = replace(settings(ports), key_maps=key_maps, tls=tls)
    nginx = Nginx(program, folder, build_config(TEMPLATE.read_text(encoding="utf-8"), chosen))
    nginx.start("127.0.0.1", ports[:2])
    try:
        yield nginx, chosen
    finally:
        nginx.stop()


@pytest.fixture(scope="module")
def guarded(behind: int, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with opened(tmp_path_factory.mktemp("front"), behind, build_key_maps(SERVERS, [OWN])) as (_, chosen):
        yield f"http://127.0.0.1:{chosen.rest_port}"


def ask(url: str, authorization: str | None, path: str = "/predictions/activity") -> httpx.Response:
    headers = {} if authorization is None else {"Authorization": authorization}
    return httpx.post(f"{url}{path}", headers=headers, content=b"clip", trust_env=False)


@pytest.mark.parametrize("key", [SERVERS, OWN])
def test_whoever_has_a_key_goes_on_with_the_servers(guarded: str, key: str) -> None:
    assert ask(guarded, f"Bearer {key}").json()["key"] == f"Bearer {SERVERS}"


@pytest.mark.parametrize(
    "authorization",
    [
        *(None, "Bearer", "Bearer x", f"Bearer {SERVERS}x", f"Bearer {SERVERS[:-1]}", f"bearer {SERVERS.lower()}"),
        *(f"Bearer {OWN.upper()}", OWN, f"Basic {OWN}", f"Bearer {OWN} x", f"Bearer {OWN.replace('.', '-')}"),
    ],
)
def test_nobody_else_does(guarded: str, authorization: str | None) -> None:
    for path in ("/predictions/activity", "/v2/models/activity/infer", "/invocations", "/models", "/"):
        answer = ask(guarded, authorization, path)
        assert (answer.status_code, answer.json()["code"]) == (401, "unauthorized")
        assert answer.headers["WWW-Authenticate"] == "Bearer"
    with RestClient(guarded, "wrong") as client, pytest.raises(Refused):
        client.predict(b"clip")


def test_a_strangers_body_is_not_read(guarded: str) -> None:
    host, port = guarded.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=5) as connection:
        connection.sendall(b"POST /predictions/activity HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n")
        assert connection.recv(64).startswith(b"HTTP/1.1 401 ")


def test_the_front_says_in_its_own_words_what_is_not_here(guarded: str) -> None:
    answer = httpx.get(f"{guarded}/nothing", headers={"Authorization": f"Bearer {OWN}"}, trust_env=False)
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
    assert "Exception" not in answer.text


@pytest.mark.parametrize(
    "request_",
    [
        *(b"nonsense\r\n\r\n", b"GET / HTTP/1.1\r\n\r\n", b"GET / HTTP/9.9\r\nHost: a\r\n\r\n"),
        b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"b" * 9000 + b"\r\n\r\n",
    ],
)
def test_what_is_no_request_gets_an_error_in_json(guarded: str, request_: bytes) -> None:
    host, port = guarded.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=5) as connection:
        connection.sendall(request_)
        said = b""
        while piece := connection.recv(65_536):
            said += piece
    head, _, body = said.partition(b"\r\n\r\n")
    assert head.split()[1] in {b"400", b"401"}
    assert json.loads(body)["status"] in {400, 401}
    assert not [line for line in head.split(b"\r\n") if line.startswith(b"Server:") and line != b"Server: nginx"]


def test_keys_that_change_are_followed(behind: int, tmp_path: Path) -> None:
    """The server was started anew: its key is another, the front's own stays."""
    run_dir = tmp_path / "run"
    (run_dir).mkdir()
    record, door = build_record(run_dir), Door(own_keys=(OWN,))
    keys = {"inference": {"key": SERVERS}, "management": {"key": "m"}}
    record.key_file.write_text(json.dumps(keys))
    with opened(tmp_path / "front", behind, build_key_maps(SERVERS, [OWN])) as (nginx, chosen):
        running = Front(nginx, chosen, tmp_path / "front", record, door)
        running.follow_keys()
        assert ask(running.rest_url, f"Bearer {OWN}").json()["key"] == f"Bearer {SERVERS}"
        record.key_file.unlink()
        running.follow_keys()  # it is away
        record.key_file.write_text(json.dumps({**keys, "inference": {"key": "new"}}))
        running.follow_keys()
        until = time.monotonic() + 5
        while ask(running.rest_url, f"Bearer {OWN}").json()["key"] != "Bearer new" and time.monotonic() < until:
            time.sleep(0.05)
        assert ask(running.rest_url, f"Bearer {OWN}").json()["key"] == "Bearer new"
        assert ask(running.rest_url, f"Bearer {SERVERS}").status_code == 401
        assert (tmp_path / "front" / "nginx.conf").stat().st_mode & 0o777 == 0o600


def test_it_speaks_tls(behind: int, tmp_path: Path) -> None:
    tls = Tls(*make_certificate(tmp_path))
    with opened(tmp_path / "a front", behind, build_key_maps(SERVERS), tls) as (_, chosen):
        address = f"127.0.0.1:{chosen.rest_port}"
        with RestClient(f"https://{address}", SERVERS, ca=tls.certificate) as client:
            assert client.predict(b"clip").json()["key"] == f"Bearer {SERVERS}"
        target = f"127.0.0.1:{chosen.grpc_port}"
        with GrpcClient(target, "wrong", ca=tls.certificate) as stranger, pytest.raises(Refused):
            stranger.predict(b"clip")
        with GrpcClient(target, SERVERS, ca=tls.certificate) as known, pytest.raises(Overloaded, match="no server"):
            known.predict(b"clip")  # nothing is there by gRPC
        plain = httpx.get(f"http://{address}/", trust_env=False)
        assert (plain.status_code, plain.json()["code"]) == (400, "invalid_request")


def test_a_server_without_keys_lets_everybody_in(behind: int, tmp_path: Path) -> None:
    for key_maps in (build_key_maps(None), build_open_key_maps()):
        with opened(tmp_path / "front", behind, key_maps) as (_, chosen):
            url = f"http://127.0.0.1:{chosen.rest_port}"
            assert ask(url, "Bearer any").json()["key"] == "Bearer any"
            assert (ask(url, None).status_code == 401) is (key_maps == build_open_key_maps())


def test_a_key_is_made_once_and_is_its_owners(tmp_path: Path) -> None:
    path = tmp_path / "keys" / "inference.key"
    key = load_inference_key(path)
    assert len(key) >= 43
    assert path.stat().st_mode & 0o777 == 0o600
    assert load_inference_key(path) == key
    path.chmod(0o644)
    with pytest.raises(CommandError, match="may be read by others"):
        load_inference_key(path)


@pytest.mark.parametrize("text", ["", "short", "x" * 31, "with a space in it and long enough", 'x" "y;' * 10, "é" * 40])
def test_what_is_no_key_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "a.key"
    path.touch(mode=0o600)
    path.write_text(text, encoding="utf-8")
    with pytest.raises(CommandError, match="holds no key"):
        load_inference_key(path)


def test_beyond_this_machine_it_speaks_tls_or_says_that_it_does_not(tmp_path: Path) -> None:
    build_record(tmp_path).write()
    with pytest.raises(CommandError, match="could be read on their way") as caught:
        front(host="0.0.0.0", run_dir=tmp_path)  # noqa: S104 - what is refused
    assert "--tls-cert" in caught.value.remedy
    secure = replace(build_record(tmp_path), tls_certificate="cert.pem")
    secure.write()
    with pytest.raises(CommandError, match="speaks TLS itself"):
        front(run_dir=tmp_path)
