from __future__ import annotations

from collections.abc import Iterator
from pathlib import PurePath

import pytest
import torch
from xdist.scheduler import LoadScopeScheduling

SERVING = PurePath("tests", "serving")


class ByFile(LoadScopeScheduling):  # type: ignore[misc] # the package has no types
    """A file's tests stay in one process, so that what they share is made once; those of the one server do, too."""

    def _split_scope(self, nodeid: str) -> str:
        file = PurePath(nodeid.partition("::")[0])
        return str(SERVING if SERVING in file.parents else file)


def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> ByFile:
    """How ``pytest -n`` parts the tests among its processes."""
    return ByFile(config, log)


@pytest.fixture(scope="session", autouse=True)
def _one_torch_thread() -> Iterator[None]:
    """As in serving, where the runtime sees to it; on busy cores the threads of tiny operations wait for each other."""
    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(num_threads)
