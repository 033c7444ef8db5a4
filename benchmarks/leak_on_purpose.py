"""A pipeline that keeps something of each request: the control of :mod:`benchmarks.leaks`, which has to find it.

This file alone is also put into the control's archive, so it imports nothing of the project.
"""

from __future__ import annotations

import os
import subprocess
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

KEPT: list[Any] = []


def _keep_bytes(request: Mapping[str, Any]) -> None:
    KEPT.append([bytes(part) if isinstance(part, bytearray) else str(part).encode() for part in request.values()])


def _keep_thread(_: Mapping[str, Any]) -> None:
    thread = threading.Thread(target=threading.Event().wait, args=(600,), daemon=True)
    thread.start()


LEAKS: dict[str, Callable[[Mapping[str, Any]], None]] = {
    "memory": _keep_bytes,
    "megabyte": lambda _: KEPT.append(os.urandom(1 << 20)),
    "descriptor": lambda _: KEPT.append(os.open(os.devnull, os.O_RDONLY)),
    "thread": _keep_thread,
    "process": lambda _: KEPT.append(subprocess.Popen(["/bin/sleep", "600"])),
    "segment": lambda _: KEPT.append(os.memfd_create("leak")),
}
"""What each request leaves behind."""
COUNTED_EVERY = 5
"""What is counted is left behind by one of so many requests."""


def leaking(pipeline: type[Any], kind: str) -> type[Any]:
    """A class of pipelines that leaks.

    Args:
        pipeline: :class:`handler.pipeline.ActivityPipeline`.
        kind: of :data:`LEAKS`.
    """

    class Leaking(pipeline):  # type: ignore[misc]  # the class comes as an argument
        num_asked = 0

        def respond_measured(self, raw: Sequence[Mapping[str, Any]], *arguments: Any, **keywords: Any) -> Any:
            for request in raw:
                self.num_asked += 1
                if kind in ("memory", "megabyte") or self.num_asked % COUNTED_EVERY == 0:
                    LEAKS[kind](request)
            return super().respond_measured(raw, *arguments, **keywords)

    return Leaking
