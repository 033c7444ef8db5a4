"""A handler that answers with what it sees; it imports nothing heavy, so a server with it is up in seconds."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any


class EchoHandler:
    """TorchServe's handler protocol, without its base class."""

    initialized = False

    def initialize(self, context: Any) -> None:
        """Nothing to load."""
        self.initialized = bool(context)

    def handle(self, data: Sequence[Mapping[str, Any]], context: Any) -> list[bytes]:
        """Answer each request with the parts' lengths and the worker's surroundings, after ``work`` seconds of work."""
        for index, item in enumerate(data):
            until = time.monotonic() + float(bytes(item.get("work", b"0")))
            while time.monotonic() < until:
                pass
            context.set_response_content_type(index, "application/json")
        names = ("TMPDIR", "OMP_NUM_THREADS", "ACTIVITY_WORKERS", "PYTHONPATH", "JAVA_HOME")
        seen = {"environment": {name: os.environ.get(name) for name in names}, "cwd": str(Path.cwd())}
        return [
            json.dumps({"status": 200, **seen, "parts": {name: len(value) for name, value in item.items()}}).encode()
            for item in data
        ]
