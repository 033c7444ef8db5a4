from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import psutil
import pytest

from cli.processes import end_processes, find_processes, is_running, start_ticks

# A leader that ignores SIGTERM, with a child in its session and a grandchild in a session of its own, which stands for
# whatever a handler starts. Each says its number; none ends by itself before the test's own limit.
FAMILY = """
import os, signal, subprocess, sys
sleep = [sys.executable, "-c", "import time; time.sleep(280)"]
child = subprocess.Popen(sleep)
apart = subprocess.Popen(sleep, start_new_session=True)
stubborn = sys.argv[1] == "stubborn"
if stubborn:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # after the others: they would inherit it
print(os.getpid(), child.pid, apart.pid, flush=True)
if sys.argv[1] == "orphans":
    sys.exit()
child.wait()
apart.wait()
if stubborn:
    signal.pause()
"""


class Family:
    def __init__(self, kind: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", FAMILY, kind], stdout=subprocess.PIPE, text=True, start_new_session=True
        )
        self.began_ticks = start_ticks(self.process.pid) or 0
        assert self.process.stdout is not None
        self.pids = [int(pid) for pid in self.process.stdout.readline().split()]
        self.process.stdout.close()

    def running(self) -> list[int]:
        return [pid for pid in self.pids if psutil.pid_exists(pid) and psutil.Process(pid).status() != "zombie"]

    def end(self) -> None:
        for pid in self.running():
            psutil.Process(pid).kill()
        self.process.wait()


@pytest.fixture
def family(request: pytest.FixtureRequest) -> Iterator[Family]:
    family = Family(request.param)
    yield family
    family.end()


@pytest.mark.parametrize("family", ["obedient"], indirect=True)
def test_the_whole_family_is_found_and_ended(family: Family) -> None:
    found = find_processes(family.process.pid, family.began_ticks)
    assert sorted(process.pid for process in found) == sorted(family.pids)
    assert is_running(family.process.pid, family.began_ticks)
    assert end_processes(family.process.pid, family.began_ticks, grace_seconds=20) == 0
    assert family.running() == []
    assert not is_running(family.process.pid, family.began_ticks)


@pytest.mark.parametrize("family", ["stubborn"], indirect=True)
def test_who_does_not_listen_is_killed(family: Family) -> None:
    assert end_processes(family.process.pid, family.began_ticks, grace_seconds=1) >= 1
    assert family.running() == []


@pytest.mark.parametrize("family", ["orphans"], indirect=True)
def test_what_is_left_of_a_session_whose_leader_ended_is_found(family: Family) -> None:
    family.process.wait()
    child = family.pids[1]
    assert [process.pid for process in find_processes(family.process.pid, family.began_ticks)] == [child]
    end_processes(family.process.pid, family.began_ticks, grace_seconds=20)
    assert child not in family.running()


@pytest.mark.parametrize("family", ["obedient"], indirect=True)
def test_another_process_with_the_same_number_is_left_alone(family: Family) -> None:
    other = family.began_ticks - 1
    assert not is_running(family.process.pid, other)
    assert find_processes(family.process.pid, other) == []
    assert end_processes(family.process.pid, other, grace_seconds=1) == 0
    assert sorted(family.running()) == sorted(family.pids)


def test_a_process_that_never_was() -> None:
    assert start_ticks(4_194_305) is None  # above the largest number that Linux gives
    assert not is_running(4_194_305, 1)
    assert end_processes(4_194_305, 1, grace_seconds=1) == 0
