"""The mark of what is being ended: a server's lies in its run folder, a front's in its own, where nginx looks."""

from __future__ import annotations

from pathlib import Path

MARK_NAME = "draining"
"""As config/nginx.conf.template has it."""
DRAIN_SECONDS = 18.0
"""How long requests in flight are waited for. With what the processes then take to end it stays below 30 s, which is
what systems give a service between SIGTERM and SIGKILL."""
REASON = "it is being stopped: requests in flight are still answered"


def set_mark(folder: Path) -> None:
    """Say that the server of this run folder, or the front of this folder, takes no new requests any more."""
    (folder / MARK_NAME).touch()


def is_draining(folder: Path) -> bool:
    """Whether it is being ended."""
    return (folder / MARK_NAME).exists()


def remove_mark(folder: Path) -> None:
    """Take the mark away, also that of one whose command was killed meanwhile."""
    (folder / MARK_NAME).unlink(missing_ok=True)
