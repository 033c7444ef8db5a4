"""A process that answers as a server's worker does: ``python -m benchmarks.hostile.worker SOCKET``."""

from __future__ import annotations

import json
import os
import sys
from multiprocessing.connection import Connection
from typing import Any

from benchmarks.hostile.requests import is_json
from handler.cage.decoder import CagedDecoder
from handler.limits import Limits
from handler.pipeline import ActivityPipeline
from handler.runtime import choose_runtime
from tests.handler.requests import tiny_checkpoint
from tests.models.every import EVERY


def main() -> None:
    """Answer batches of requests until the other end of the socket closes.

    Of each batch comes a list of requests, and goes one of pairs: a status, and a JSON body.
    """
    limits, runtime = Limits(), choose_runtime()
    decoder = CagedDecoder(EVERY, limits, runtime.threads)
    pipeline = ActivityPipeline(tiny_checkpoint(EVERY), runtime=runtime, limits=limits, decoder=decoder)
    with Connection(int(sys.argv[1])) as connection:
        connection.send(os.getpid())
        while True:
            try:
                batch: list[dict[str, bytes]] = connection.recv()
            except EOFError:
                return
            responses = pipeline.respond([_as_received(each) for each in batch], [str(n) for n in range(len(batch))])
            connection.send([(response.status, response.body) for response in responses])


def _as_received(request: dict[str, bytes]) -> dict[str, Any]:
    """As TorchServe hands it over: what is sent as JSON is parsed where it parses."""
    return {
        name: _parsed(content) if is_json(name, content) else bytearray(content) for name, content in request.items()
    }


def _parsed(content: bytes) -> Any:
    try:
        return json.loads(content)
    except (ValueError, RecursionError):
        return bytearray(content)


if __name__ == "__main__":
    main()
