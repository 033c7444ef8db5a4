"""A tiny HTTP server on the loopback address, for a front.

``GET /ready`` says whether the server is ready, 200 or 503; ``GET /gate`` answers once requests may go on.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from cli.ports import LOOPBACK
from cli.truth import Readiness

PATH = "/ready"
GATE_PATH = "/gate"
REQUEST_SECONDS = 5.0
HELD_POLL_SECONDS = 0.05


@contextmanager
def serving(state: Callable[[], Readiness], port: int, is_held: Callable[[], bool] = lambda: False) -> Iterator[int]:
    """Answer while the block runs.

    Args:
        state: says how it is now.
        port: where to listen; 0 takes a free one.
        is_held: says whether requests are to wait at the gate.

    Yields:
        The port.
    """
    server = _Server((LOOPBACK, port), _handler(state, is_held))
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.1,), daemon=True)
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Server(ThreadingHTTPServer):
    request_queue_size = 1024  # each request of the front comes by a connection of its own


def _handler(state: Callable[[], Readiness], is_held: Callable[[], bool]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        timeout = REQUEST_SECONDS

        def do_GET(self) -> None:
            if self.path == GATE_PATH:
                while is_held():
                    time.sleep(HELD_POLL_SECONDS)
                self._answer(200, {})
                return
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
