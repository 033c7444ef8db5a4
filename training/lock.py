"""One writer at a time: two trainings into one folder would mix their states."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from models.settings import SettingsError


@contextmanager
def sole_writer(folder: Path) -> Iterator[None]:
    """Hold a folder, which is made where it is missing, for as long as the block runs.

    The lock is the kernel's, on the folder itself: it leaves no file, and ends with the process however that ends.

    Raises:
        SettingsError: another process holds it.
    """
    is_new = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as exc:
            raise SettingsError(
                f"another training writes to {folder}: wait for it, or choose another output folder"
            ) from exc
        yield
    finally:
        os.close(descriptor)
        if is_new and not any(folder.iterdir()):  # nothing came of it
            folder.rmdir()
