"""Overload: what a server is found to do, with servers that are made up and with the real one behind its front."""

from __future__ import annotations

import asyncio
import time

import pytest

from benchmarks.http_load import Reply
from benchmarks.overload import Ask, Plan, find_capacity_and_overload

PLAN = Plan(seconds=0.5, levels=(1, 4), level_seconds=0.2, slo_seconds=0.5, refused_within_seconds=0.2)
WORK_SECONDS = 0.01


def made_up(*, waiting: int, refusal: int = 503) -> Ask:
    """A server that does one thing at a time, lets so many wait, and answers the others with ``refusal``."""
    lock, inside = asyncio.Lock(), [0]

    async def ask() -> Reply:
        began = time.monotonic()
        if inside[0] > waiting:
            return Reply(refusal, time.monotonic() - began, headers={"retry-after": "1"})
        inside[0] += 1
        async with lock:
            await asyncio.sleep(WORK_SECONDS)
        inside[0] -= 1
        return Reply(200, time.monotonic() - began, body=b"right")

    return ask


def test_a_server_that_refuses_what_it_cannot_do_keeps_its_promises() -> None:
    measured = asyncio.run(find_capacity_and_overload(made_up(waiting=4), PLAN))
    assert 10 < measured.peaks[0].goodput < 1 / WORK_SECONDS
    assert measured.overloads[0].refused == measured.overloads[0].told_when > 10
    broken = [words for words in measured.broken(PLAN) if "of the peak" not in words]  # which a busy machine moves
    assert broken == []


@pytest.mark.parametrize(
    ("waiting", "refusal", "words"), [(1_000, 503, "nothing was refused"), (4, 500, "neither good nor refused")]
)
def test_one_that_does_not_is_seen(waiting: int, refusal: int, words: str) -> None:
    measured = asyncio.run(find_capacity_and_overload(made_up(waiting=waiting, refusal=refusal), PLAN))
    assert any(words in each for each in measured.broken(PLAN))
