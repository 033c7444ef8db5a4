"""A tiny HTTP server on the loopback address that says whether the server is ready: ``GET /ready``, 200 or 503."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from cli.ports import LOOPBACK
from cli.truth import Readiness

PATH = "/ready"
REQUEST_SECONDS = 5.0


@contextmanager
def serving(state: Callable[[], Readiness], port: int) -> Iterator[int]:
    """Answer ``GET /ready`` while the block runs.

    Args:
        state: says how it is now.
        port: where to listen; 0 takes a free one.

    Yields:
        The port.
    """
    server = ThreadingHTTPServer((LOOPBACK, port), _handler(state))
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.1,), daemon=True)
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _handler(state: Callable[[], Readiness]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        timeout = REQUEST_SECONDS

        def do_GET(self) -> None:
            if self.path.partition("?")[0] != PATH:
                self._answer(404, {"message": f"only {PATH} is here"})
                return
            found = state()
            self._answer(200 if found.ready else 503, asdict(found))

        do_HEAD = do_GET  # noqa: N815 - the name that the base class calls

        def _answer(self, status: int, value: dict[str, Any]) -> None:
            body = json.dumps(value).encode() + b"\n"
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Cache-Control", "no-store")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's signature
            """Probes come every second: they are not logged."""

    return Handler
