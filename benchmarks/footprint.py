"""What a process holds, with all that it has started, and whether that grows."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import psutil

MIN_SAMPLES = 8
OWN_MEMORY = ("Pss_Anon:", "Pss_Shmem:")
SHARED_MEMORY = ("/memfd:", "/dev/shm/", "/SYSV")  # noqa: S108 - how the kernel names it


@dataclass(frozen=True)
class Footprint:
    """What a process and those it has started hold together."""

    memory_mb: float
    """Proportional set size: what processes share is parted among them. Without the files that are mapped: they are
    parted among all processes of the machine that use the same libraries, and change when such a one ends."""
    descriptors: int
    """Open files, sockets, pipes."""
    threads: int
    processes: int
    """The process itself among them."""
    shared_segments: int
    """Open descriptors and mappings of shared memory, named or not."""

    @classmethod
    def of(cls, pid: int) -> Footprint:
        """That of a running process; one that it has started and that ends meanwhile counts for nothing.

        Raises:
            psutil.NoSuchProcess: the process itself has ended.
        """
        root = psutil.Process(pid)
        found = [each for each in (_of_one(process.pid) for process in (root, *root.children(recursive=True))) if each]
        if not found:
            raise psutil.NoSuchProcess(pid)
        return cls(*(sum(getattr(each, field.name) for each in found) for field in fields(cls)))


def _of_one(pid: int) -> Footprint | None:
    folder = Path(f"/proc/{pid}")
    with suppress(OSError, psutil.Error):
        rollup = (folder / "smaps_rollup").read_text(encoding="ascii")
        kilobytes = sum(int(line.split()[1]) for line in rollup.splitlines() if line.startswith(OWN_MEMORY))
        if not kilobytes:  # it has ended and waits for its parent
            return None
        targets = [_target(link) for link in (folder / "fd").iterdir()]
        mapped = {line.split(maxsplit=5)[-1] for line in (folder / "maps").read_text("utf-8", "replace").splitlines()}
        shared = sum(name.startswith(SHARED_MEMORY) for name in (*targets, *mapped))
        threads = psutil.Process(pid).num_threads()
        return Footprint(kilobytes / 1024, len(targets), threads, 1, shared)
    return None


def _target(link: Path) -> str:
    with suppress(OSError):
        return str(link.readlink())
    return ""


@dataclass(frozen=True)
class Sample:
    """What was held after so many requests."""

    requests: int
    footprint: Footprint


COUNTS = ("descriptors", "threads", "processes", "shared_segments")


def memory_slope(samples: Sequence[Sample]) -> float:
    """MB in 1,000 requests, from the middle on: the median of the slopes between any two samples.

    One sample that is off, as while an allocator gives back or takes, moves it by nothing.
    """
    late = late_samples(samples)
    times = np.array([sample.requests for sample in late], dtype=float)
    memory = np.array([sample.footprint.memory_mb for sample in late])
    first, second = np.triu_indices(len(late), 1)
    return 1000 * float(np.median((memory[second] - memory[first]) / (times[second] - times[first])))


def late_samples(samples: Sequence[Sample]) -> Sequence[Sample]:
    """Those from the middle on.

    Raises:
        ValueError: they are too few to see anything.
    """
    if len(samples) < MIN_SAMPLES:
        raise ValueError(f"needs at least {MIN_SAMPLES} samples, got {len(samples)}")
    return samples[len(samples) // 2 :]


def growth(samples: Sequence[Sample], name: str) -> int:
    """By how much a count's highest of the last quarter is above its highest of the quarter before, at least 0."""
    late: list[int] = [getattr(sample.footprint, name) for sample in late_samples(samples)]
    half = len(late) // 2
    return max(0, max(late[half:]) - max(late[:half]))


def find_leaks(samples: Sequence[Sample], *, max_slope_mb: float) -> list[str]:
    """What grows with the number of requests.

    Args:
        samples: in order, at least 8 of them, each taken while nothing was in flight.
        max_slope_mb: how much memory may grow in 1,000 requests.
    """
    slope = memory_slope(samples)
    found = [f"memory grows by {slope:.2f} MB in 1,000 requests"] if slope > max_slope_mb else []
    return found + [
        f"{name.replace('_', ' ')}: {growth(samples, name)} more" for name in COUNTS if growth(samples, name)
    ]
