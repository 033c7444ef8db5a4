"""What memory a process and all that descend from it have, as it is and at its most."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

_SHARED_FAIRLY = re.compile(rb"^Pss:\s+(\d+) kB", flags=re.MULTILINE)
_OWN = re.compile(rb"^Rss(?:Anon|Shmem):\s+(\d+) kB", flags=re.MULTILINE)


def family(pid: int) -> Iterator[int]:
    """A process and its descendants, as far as they live."""
    yield pid
    with suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            with suppress(OSError):
                for child in (task / "children").read_bytes().split():
                    yield from family(int(child))


def megabytes(pid: int) -> float:
    """Memory of a process and its descendants in 10^6 bytes.

    Of the first one it is what it has for itself, of the others each page once, however many of them share it (PSS).
    The first one is a worker, which shares no more than libraries' files with the others, and to have the PSS of what
    holds torch the kernel takes 20 ms. Files in memory without a name (memfd) count as well, which nobody need have
    mapped.
    """
    total = 0
    files: dict[tuple[int, int], int] = {}
    for each in family(pid):
        with suppress(OSError):  # it has just ended
            name, wanted = ("status", _OWN) if each == pid else ("smaps_rollup", _SHARED_FAIRLY)
            total += 1024 * sum(map(int, wanted.findall(Path(f"/proc/{each}/{name}").read_bytes())))
            files.update(_unnamed_files(each))
    return (total + sum(files.values())) / 1e6


def _unnamed_files(pid: int) -> Iterator[tuple[tuple[int, int], int]]:
    """The memfds that a process has open: what tells them apart, and the bytes that they take."""
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(OSError):
            if str(descriptor.readlink()).startswith("/memfd:"):
                status = descriptor.stat()
                yield (status.st_dev, status.st_ino), status.st_blocks * 512


class MemoryWatch:
    """Looks at a process's memory again and again while the context lasts.

    Args:
        pid: of the process; its descendants count with it.
        every_seconds: from one look to the next.

    Attributes:
        peak_megabytes: the most that was seen.
        last_megabytes: the last that was seen.
    """

    def __init__(self, pid: int, every_seconds: float = 0.1) -> None:
        self._pid = pid
        self._every_seconds = every_seconds
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self.peak_megabytes = self.last_megabytes = megabytes(pid)

    def look(self) -> float:
        """The memory now."""
        self.last_megabytes = megabytes(self._pid)
        self.peak_megabytes = max(self.peak_megabytes, self.last_megabytes)
        return self.last_megabytes

    def _watch(self) -> None:
        while not self._ended.wait(self._every_seconds):
            self.look()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()
