"""A server's log: what it said lately, and which of its lines are worth showing."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path

LOG_NAMES = ("console.log", "server.log")
"""What the process itself prints, and what TorchServe and the handler log (config/log4j2.xml)."""

WORDS = ("message", "exception")
"""The fields of a line of JSON that say something (config/log4j2.xml); either may have several lines."""
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

    Time, level, thread and logger of each line, and frames of other people's code, are left out.
    """
    lines = [said.rstrip() for line in log.split("\n") for said in _said(line) if said.strip()]
    lines = [line for line in lines if not FRAME_OF_OTHERS.search(line)]
    useful = [line for line in lines if USEFUL.search(line)]
    return "\n".join((useful or lines)[-limit:])


def _said(line: str) -> list[str]:
    """What one line of a log says; one that is no JSON, as the process prints them before it logs, says itself."""
    try:
        values = json.loads(line)
    except ValueError:
        return line.splitlines()
    if not isinstance(values, dict):
        return line.splitlines()
    return [said for field in WORDS for said in str(values.get(field, "")).splitlines()]
