"""What hostile files make a decoder open and call, as strace sees it."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from benchmarks.sealed import Guards, Seen, Trace, read_log, trace, why_not

REASON = why_not()
pytestmark = pytest.mark.skipif(REASON is not None, reason=str(REASON))


@pytest.fixture(scope="module")
def traces() -> Iterator[dict[Guards, Future[Trace]]]:
    """Both run at once."""
    with ThreadPoolExecutor(2) as threads:
        guards: tuple[Guards, ...] = ("cage", "none")
        yield {each: threads.submit(trace, each) for each in guards}


def test_without_guards_files_are_opened_and_addresses_called(traces: dict[Guards, Future[Trace]]) -> None:
    bare = traces["none"].result()
    assert bare.reached >= 1
    opening = {"ffconcat 0", "ffconcat as sound", "ffconcat as a picture", "ffconcat as depth", "m3u8 of files"}
    assert opening | {"SDP", "m3u8 of an address"} <= bare.breaches.keys()
    assert any("secret.mp4" in call for call in bare.breaches["ffconcat 0"])
    assert any(" bind(" in call for call in bare.breaches["SDP"])
    assert any(" connect(" in call for call in bare.breaches["m3u8 of an address"])


def test_the_cage_opens_and_calls_nothing(traces: dict[Guards, Future[Trace]]) -> None:
    caged = traces["cage"].result()
    assert caged.breaches == {}
    assert caged.reached == 0
    assert caged.by_name.keys() == traces["none"].result().by_name.keys()
    assert len(caged.by_name) >= 30


def test_a_log_is_read_by_its_marks() -> None:
    log = (
        '7 openat(AT_FDCWD, "before", O_RDONLY) = 3\n'
        '7 openat(AT_FDCWD, "/activity-sealed/begin/SDP", O_RDONLY) = -1 ENOENT\n'
        '8 openat(AT_FDCWD, "/proc/self/fd", O_RDONLY|O_DIRECTORY) = 3\n'
        "8 socket(AF_INET, SOCK_DGRAM, IPPROTO_IP) = 3\n"
        '8 openat(AT_FDCWD, "/proc/self/environ", O_RDONLY) = 3\n'
        '7 openat(AT_FDCWD, "/activity-sealed/end/SDP", O_RDONLY) = -1 ENOENT\n'
        '7 openat(AT_FDCWD, "after", O_RDONLY) = 3\n'
    )
    found = read_log(log)
    assert found.keys() == {"SDP"}
    assert [call.split('"')[-2] if '"' in call else call[2:8] for call in found["SDP"].breaches] == [
        "socket",
        "/proc/self/environ",
    ]
    assert Seen(['1 openat(AT_FDCWD, "/proc/self/fd", O_WRONLY) = 3']).breaches
