"""Requests held back at the front for a moment, so that a worker without work can be taken away."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cli.nginx import FOLDER_NAME, running_in
from cli.record import ServerRecord

HOLD_NAME = "hold"
LONGEST_SECONDS = 60.0
"""A hold whose command was killed ends by itself."""
ENTERED_SECONDS = 0.3
"""How long what was let in just before may be on its way into TorchServe's queue."""


@contextmanager
def holding(record: ServerRecord) -> Iterator[bool]:
    """Hold new requests at the server's front while the block runs; they wait there, and none is refused.

    Yields:
        Whether there is a front.
    """
    folder = Path(record.run_dir) / FOLDER_NAME
    if running_in(folder) is None:
        yield False
        return
    mark = folder / HOLD_NAME
    mark.touch()
    try:
        time.sleep(ENTERED_SECONDS)
        yield True
    finally:
        mark.unlink(missing_ok=True)


def is_held(folder: Path) -> bool:
    """Whether requests are held at the front whose folder this is."""
    try:
        return time.time() - (folder / HOLD_NAME).stat().st_mtime < LONGEST_SECONDS
    except OSError:
        return False
