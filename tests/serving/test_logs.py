"""Each line of a live server's logs is one JSON object, whatever its clients send."""

from __future__ import annotations

import contextlib
import gzip
import json
import re
import socket
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cli.front import Front
from cli.record import ServerRecord
from client.errors import ClientError
from client.grpc import GrpcClient

pytestmark = pytest.mark.server

NAMES = ("server", "access", "requests")
FORGED = '{"request_id":"forged"}'
EVIL = f'\n{FORGED}\r\n\x1b[31mred\x1b[0m"}},{{\u2028{FORGED}\x85{FORGED}\x9b31m'
CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
PLAIN = b"/predictions/activity"
JSON_TYPE = b"Content-Type: application/json\r\n"
FORM_TYPE = b"Content-Type: multipart/form-data; boundary=x\r\n"
FORM = (
    b'--x\r\nContent-Disposition: form-data; name="a\x1b[31m\\n{"request_id":"forged"}"; filename="b\x1b\x85"\r\n'
    b"Content-Type: \x1b[0m\r\n\r\nq\r\n--x--\r\n"
)
REQUESTS: tuple[tuple[bytes, bytes, bytes], ...] = (  # path, headers, body
    (b"/predictions/activity%0a%7b%22request_id%22:%22forged%22%7d", b"", b"x"),
    (b'/predictions/act\x1b[31mivity"}', b"", b"x"),
    (b'/predictions/activity/9\x1b]0;x"}\xff\xfe\x85', b"", b"x"),
    (b'/predictions/activity/9"%20200%201', b"", b"x"),
    (b"/nothing/\x1b[2J\\", b"", b""),
    (b'/predictions/activity?a=\n{"request_id":"forged"}', b"", b"x"),
    (PLAIN, b'X-A: \x1b[31m\xff"\r\nContent-Type: \x1b[0m"}{\r\n', b"x"),
    (PLAIN, b'X-A: a\r\n {"request_id":"forged"}\r\n', b"x"),
    (PLAIN, FORM_TYPE, FORM),
    (PLAIN, b'Content-Type: multipart/form-data; boundary=\x1b"\r\n', b"x"),
    (PLAIN, JSON_TYPE, json.dumps({EVIL: 1}).encode()),
    (PLAIN, JSON_TYPE, json.dumps({"options": {EVIL: EVIL}, "text": EVIL}, ensure_ascii=False).encode()),
    (PLAIN, JSON_TYPE, json.dumps({"text": EVIL}, ensure_ascii=False).encode()),
    (PLAIN, JSON_TYPE, b'{"broken\x1b\n' + FORGED.encode()),
    (b"/v2/models/activity/infer", JSON_TYPE, json.dumps({"id": EVIL, "inputs": [{"name": EVIL}]}).encode()),
    (b"/v1/models/act%0aivity:predict", JSON_TYPE, b"{}"),
)
TOKENS = (
    b"Bearer \x1b[31m\x9b31m\xff",
    b'Bearer x\r\n {"request_id":"forged"}',
    b'Bearer "}\xe2\x80\xa8{"request_id":"forged"}\xc2\x85',
    b'{"request_id":"forged"}',
)
BARE = (b'\x1b[31m\n{"request_id":"forged"}\n\n', b'GET / HTTP/9.\x1b"}\r\n\r\n')


def send(port: int, request: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        connection.sendall(request)
        return connection.recv(64)


def post(port: int, key: str, path: bytes, headers: bytes, body: bytes) -> bytes:
    head = b"POST %s HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer %s\r\n" % (path, key.encode())
    return send(port, b"%s%sContent-Length: %d\r\n\r\n%s" % (head, headers, len(body), body))


def lines_of(log: Path) -> Iterator[dict[str, Any]]:
    """The lines of a log and of what was cut off it before."""
    parts = sorted(log.parent.glob(f"{log.stem}.*.log.gz"))
    for text in (*(gzip.decompress(part.read_bytes()) for part in parts), log.read_bytes()):
        for line in text.decode("utf-8").split("\n")[:-1]:
            values = json.loads(line)
            assert isinstance(values, dict), line
            assert not CONTROL.search(line), line
            yield values


def statuses(server: ServerRecord) -> Counter[str]:
    lines = lines_of(server.logs / "access.log")
    return Counter(line["status"] for line in lines if line["request"].startswith("POST /pred"))


def test_no_client_writes_a_line_of_their_own(server: ServerRecord) -> None:
    key = server.tokens().inference or ""
    port, before, console = server.ports.inference, statuses(server), (server.logs / "console.log").read_bytes()
    answered = [post(port, key, *request) for request in REQUESTS]
    assert all(re.match(rb"HTTP/1.1 [24]\d\d ", answer) for answer in answered), answered
    assert all(b" 400 " in send(port, request) for request in BARE)
    for token in TOKENS:
        assert b" 400 " in send(port, b"POST %s HTTP/1.1\r\nHost: a\r\nAuthorization: %s\r\n\r\n" % (PLAIN, token))
    for model, version in ((EVIL, None), ("activity", EVIL), ("activity", None)):
        client = GrpcClient(server.grpc_target, token=key, model=model, version=version)
        with client, contextlib.suppress(ClientError):
            client.predict(None, None, EVIL, None, **{EVIL: b"1"})
    expected = [answer.split()[1].decode() for answer, (path, _, _) in zip(answered, REQUESTS, strict=True)]
    asked = Counter(
        status
        for status, (path, _, _) in zip(expected, REQUESTS, strict=True)
        if path.startswith(b"/pred") and b"\n" not in path
    )
    stop = time.monotonic() + 10
    while not statuses(server) - before >= asked and time.monotonic() < stop:
        time.sleep(0.05)
    assert statuses(server) - before >= asked
    logs = {name: list(lines_of(server.logs / f"{name}.log")) for name in NAMES}
    assert all(logs.values())
    assert {"time", "level", "thread", "logger", "message"} == set.intersection(*map(set, logs["server"]))
    assert all({"time", "client", "request", "status", "milliseconds"} == line.keys() for line in logs["access"])
    assert "forged" not in {line["request_id"] for line in logs["requests"]}
    assert all(
        {"time", "request_id", "model", "version", "code", "seconds"} <= line.keys() for line in logs["requests"]
    )
    assert (server.logs / "console.log").read_bytes() == console


def test_nor_at_the_front(server: ServerRecord, front: Front) -> None:
    """Its access log is of JSON, too; in its error log, nginx's own, each line begins with nginx's own time."""
    port, key = int(front.rest_url.rpartition(":")[2]), server.tokens().inference or ""
    log = front.folder / "access.log"
    before = len(log.read_bytes().splitlines())
    for path, headers, body in (*REQUESTS, (b"/\xe2\x80\xa8{\xc2\x85}", b"", b"")):
        post(port, key, path, headers, body)
        send(port, b"POST %s HTTP/1.1\r\nHost: a\r\n%s\r\n" % (path, headers))
    for token in TOKENS:
        send(port, b"POST %s HTTP/1.1\r\nHost: a\r\nAuthorization: %s\r\n\r\n" % (PLAIN, token))
    for request in BARE:
        send(port, request)
    for method in (EVIL.encode(), b"G\x1bET", b'{"request_id":"forged"}'):
        send(port, method + b" / HTTP/1.1\r\nHost: a\r\n\r\n")
    stop = time.monotonic() + 10
    while len(log.read_bytes().splitlines()) < before + 2 * len(REQUESTS) and time.monotonic() < stop:
        time.sleep(0.05)
    lines = list(lines_of(log))
    assert len(lines) >= before + 2 * len(REQUESTS)
    names = {"time", "request_id", "method", "path", "status", "tries", "bytes", "seconds"}
    assert all(line.keys() == names for line in lines)
    assert "forged" not in {line["request_id"] for line in lines}
    for line in (front.folder / "error.log").read_bytes().splitlines():
        assert re.match(rb"\d{4}/\d\d/\d\d \d\d:\d\d:\d\d \[\w+\] \d+#\d+: ", line), line
