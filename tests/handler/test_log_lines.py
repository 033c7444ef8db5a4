from __future__ import annotations

import io
import logging
import sys

import pytest

from handler.log_lines import RecordFormatter, indent_records

FORGED = '{"request_id":"forged"}'


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r", "\v", "\f", "\x1c", "\x1d", "\x1e", "\x85", "\u2028", "\u2029"])
def test_only_the_first_line_of_a_record_begins_at_the_margin(end: str) -> None:
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(RecordFormatter())
    logger = logging.getLogger("test_log_lines")
    logger.propagate = False
    logger.addHandler(handler)
    try:
        raise ValueError(f"quoted{end}{FORGED}")
    except ValueError:
        logger.exception("request of %s", f"1{end}{FORGED}")
    finally:
        logger.removeHandler(handler)
    lines = stream.getvalue().splitlines()
    assert lines[0] == "request of 1"
    assert lines[1] == lines[-1] == f"  {FORGED}"
    assert all(line.startswith("  ") for line in lines[1:])
    assert lines[2] == "  Traceback (most recent call last):"


def test_it_holds_for_what_the_process_prints_and_for_nothing_else() -> None:
    printed, kept = logging.StreamHandler(sys.stdout), logging.StreamHandler(io.StringIO())
    root = logging.getLogger()
    root.addHandler(printed)
    root.addHandler(kept)
    try:
        indent_records()
    finally:
        root.removeHandler(printed)
        root.removeHandler(kept)
    assert isinstance(printed.formatter, RecordFormatter)
    assert kept.formatter is None
