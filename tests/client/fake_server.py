"""An HTTP server on loopback that remembers what it was sent and answers what it was told."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email import message_from_bytes
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass(frozen=True)
class Received:
    """One request as it arrived."""

    method: str
    path: str
    headers: dict[str, str]
    """Names in lower case."""
    body: bytes

    def parts(self) -> dict[str, tuple[str | None, str, bytes]]:
        """The parts of a multipart body by name: file name, content type, bytes."""
        header = f"Content-Type: {self.headers['content-type']}\r\n\r\n".encode()
        message = message_from_bytes(header + self.body)
        found = {}
        for part in message.get_payload():
            assert not isinstance(part, str)
            name = part.get_param("name", header="content-disposition")
            payload = part.get_payload(decode=True)
            assert isinstance(payload, bytes)
            found[str(name)] = (part.get_filename(), part.get_content_type(), payload)
        return found


@dataclass
class FakeServer:
    """What to answer with, and what was received."""

    url: str = ""
    status: int = 200
    content_type: str | None = "application/json"
    body: bytes = b"{}"
    received: list[Received] = field(default_factory=list)
    release: threading.Event = field(default_factory=threading.Event)
    """Answers wait for it."""


@contextmanager
def fake_server() -> Iterator[FakeServer]:
    """Run one until the block ends."""
    fake = FakeServer()
    fake.release.set()

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            headers = {name.lower(): value for name, value in self.headers.items()}
            fake.received.append(Received(self.command, self.path, headers, body))
            fake.release.wait(30)
            self.send_response(fake.status)
            if fake.content_type is not None:
                self.send_header("Content-Type", fake.content_type)
            self.send_header("Content-Length", str(len(fake.body)))
            self.end_headers()
            self.wfile.write(fake.body)

        do_GET = do_POST = do_PUT = do_DELETE = answer  # noqa: N815 - the names that http.server calls

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

    class Server(ThreadingHTTPServer):
        def handle_error(self, request: object, client_address: object) -> None:
            """A client that went away is part of some tests."""

    server = Server(("127.0.0.1", 0), Handler)
    fake.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield fake
    finally:
        fake.release.set()
        server.shutdown()
        server.server_close()
        thread.join()
