"""What a worker prints: one record, one first line, so that nobody else's words can stand for a record.

The server reads what a worker prints line by line, and config/log4j2.xml takes a line that begins as
:meth:`handler.measures.Outcome.log_line` does for a request's. A message may quote something that has lines of its own.
"""

from __future__ import annotations

import logging
import sys

INDENT = "  "


class RecordFormatter(logging.Formatter):
    """Indents each line of a record but the first; every character that anybody takes for the end of a line is one."""

    def format(self, record: logging.LogRecord) -> str:
        """The record's message, and its exception's traceback."""
        return f"\n{INDENT}".join(super().format(record).splitlines())


def indent_records() -> None:
    """Let what this process logs to its standard output be printed so."""
    for handler in logging.getLogger().handlers:
        if isinstance(handler, logging.StreamHandler) and handler.stream is sys.stdout:
            handler.setFormatter(RecordFormatter())
