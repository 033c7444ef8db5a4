"""A server's log: what it said lately, and which of its lines are worth showing."""

from __future__ import annotations

import re
import time
from pathlib import Path

LOG_NAMES = ("console.log", "server.log")
"""What the process itself prints, and what TorchServe and the handler log (config/log4j2.xml)."""

PREFIX = re.compile(r"^\d{4}-\S+ \[\w+ *\] \S+ \S+ - ")
"""Time, level, thread and logger, as config/log4j2.xml writes them."""
USEFUL = re.compile(r"\bERROR\b|Error\b|Exception\b|Traceback|Failed|failed|File \"|cannot|Invalid", re.ASCII)
FRAME_OF_OTHERS = re.compile(r"^\s+(at |\.\.\. \d+ more)|File \"<frozen |site-packages/ts/")
"""Java's frames, and those of Python's imports and of TorchServe's own worker."""
MAX_LINES = 15

SETTLE_SECONDS = 0.2
SETTLE_READS = 10


class ServerLog:
    """The log in ``folder`` from now on: what was there before is not told again."""

    def __init__(self, folder: Path) -> None:
        self._paths = [folder / name for name in LOG_NAMES]
        self._offsets = {path: path.stat().st_size if path.is_file() else 0 for path in self._paths}

    def read_settled(self) -> str:
        """What was logged, once no more comes: a process that just ended is still being read by its parent."""
        before = None
        log = self.read()
        for _ in range(SETTLE_READS):
            if log == before:
                break
            time.sleep(SETTLE_SECONDS)
            before, log = log, self.read()
        return log

    def read(self) -> str:
        """What was logged since this object was made."""
        parts = []
        for path in self._paths:
            if path.is_file():
                log = path.read_bytes()
                offset = self._offsets[path]
                # A shorter file is a new one: the log was cut in between.
                parts.append(log[offset if offset <= len(log) else 0 :].decode("utf-8", errors="replace"))
        return "\n".join(parts)


def last_useful_lines(log: str, *, limit: int = MAX_LINES) -> str:
    """The last lines of a log that say what went wrong; its last lines where none does.

    What every line begins with, and frames of other people's code, are left out.
    """
    lines = [PREFIX.sub("", line.rstrip()) for line in log.splitlines() if line.strip()]
    lines = [line for line in lines if not FRAME_OF_OTHERS.search(line)]
    useful = [line for line in lines if USEFUL.search(line)]
    return "\n".join((useful or lines)[-limit:])
