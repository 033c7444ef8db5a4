"""One worker for all that is sent to one."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from benchmarks.hostile.targets import WorkerTarget


@pytest.fixture(scope="package")
def worker() -> Iterator[WorkerTarget]:
    """It decodes in the cage, as the archive's handler does."""
    target = WorkerTarget(batch_size=8)
    target.ask([{"text": b"stir"}])
    yield target
    target.close()
