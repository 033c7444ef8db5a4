"""What becomes of a cage whose fork server or waiting children are stopped or killed from outside."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from typing import Any

import psutil
import pytest

from handler.cage.cage import Cage, Child
from handler.cage.decoder import CagedDecoder
from handler.clip import Clip
from handler.limits import Limits
from handler.pipeline import ActivityPipeline
from handler.runtime import choose_runtime
from tests.handler.requests import make_request, tiny_checkpoint
from tests.media import X264, Picture, render
from tests.models.tiny import TINY

LIMITS = Limits()
MOVIE = render("mp4", Picture(num_frames=30, width=32, height=32, options=X264))
REQUEST = make_request(MOVIE)


@pytest.fixture
def decoder() -> Iterator[CagedDecoder]:
    made = CagedDecoder(TINY, LIMITS, 2, requests_per_child=100)
    yield made
    made.close()


def decode(decoder: CagedDecoder) -> Clip:
    with decoder.pieces(REQUEST, LIMITS) as opened:
        (piece,) = opened.pieces
    return piece.clip


def open_descriptors() -> int:
    return psutil.Process().num_fds()


def test_children_that_are_killed_while_they_wait_cost_no_request(decoder: CagedDecoder) -> None:
    with decoder.cage.child() as first, decoder.cage.child() as second:
        first.is_done = second.is_done = True  # both wait from here on, and a request has two tries
    held = open_descriptors()
    for child in (first, second):
        os.kill(child.pid, signal.SIGKILL)
    deadline = time.monotonic() + 10
    while not (first.has_ended and second.has_ended) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert decode(decoder).frames is not None
    assert open_descriptors() == held - 4, "of two children four descriptors each are closed, and one has come"


def test_a_stopped_fork_server_is_replaced_in_less_than_ten_seconds(decoder: CagedDecoder) -> None:
    decode(decoder)
    with decoder.cage.child():  # none waits
        before = decoder.cage.pid
        os.kill(before, signal.SIGSTOP)
    started = time.monotonic()
    assert decode(decoder).frames is not None
    assert time.monotonic() - started < 10
    assert decoder.cage.pid != before
    assert not psutil.pid_exists(before)


def test_a_cage_with_a_stopped_fork_server_closes() -> None:
    cage = Cage(TINY, LIMITS, 1, 1)
    assert cage.modules
    os.kill(cage.pid, signal.SIGSTOP)
    started = time.monotonic()
    cage.close()
    assert time.monotonic() - started < 5


def test_a_fork_server_that_dies_before_it_is_ready_leaves_nothing_open() -> None:
    before = open_descriptors()
    cage = Cage(TINY, LIMITS, 1, 1)
    for _ in range(2):
        os.kill(cage.pid, signal.SIGKILL)
        cage.child().close()  # by a new one
        cage._restart()
    cage.close()
    assert open_descriptors() == before


def test_slow_requests_together_take_no_longer_than_a_batch_may(decoder: CagedDecoder) -> None:
    decode(decoder)
    limits = Limits(max_decode_seconds=2.0, max_batch_seconds=2.5)
    pipeline = ActivityPipeline(tiny_checkpoint(), runtime=choose_runtime(threads=1), limits=limits, decoder=decoder)
    stopped, ask = [], Child.ask

    def stopping(child: Child, *asked: Any) -> Any:
        os.kill(child.pid, signal.SIGSTOP)
        stopped.append(child.pid)
        return ask(child, *asked)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Child, "ask", stopping)
        started = time.monotonic()
        responses = pipeline.respond([{"video": MOVIE}] * 4, list("abcd"))
        took = time.monotonic() - started
    assert len(stopped) == 4
    assert [(it.status, it.code) for it in responses] == [(413, "limit_decode_seconds")] * 4
    assert b"longer than 2 s" in responses[0].body
    assert b"together" in responses[3].body
    assert 2.5 <= took < 5  # and not four times two seconds
    assert pipeline.respond([{"video": MOVIE}], ["e"])[0].status == 200
