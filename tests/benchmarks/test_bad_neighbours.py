"""A bad request in a batch of eight changes nothing for the others; with a server: tests/serving/test_neighbours.py."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from benchmarks.bad_neighbours import (
    BATCH,
    SEGFAULT,
    Ask,
    Reply,
    bad_items,
    one_of_each_code,
    pipeline_ask,
    save_every,
    try_all,
)
from benchmarks.known_requests import KnownRequest, make_requests
from benchmarks.segfaulting import segfaulting_servers
from handler.cage.decoder import build_decoder
from handler.limits import HandlerSettings
from handler.pipeline import ActivityPipeline
from tests.hostile.item import Item


def test_one_of_each_code_and_a_segfault_in_a_batch_of_eight(tmp_path: Path) -> None:
    checkpoint = save_every(tmp_path)
    good = make_requests(ActivityPipeline.from_checkpoint(checkpoint), BATCH - 1)
    with segfaulting_servers():
        decoder = build_decoder(checkpoint, HandlerSettings(), num_waiting=2)
        assert decoder is not None
        pipeline = ActivityPipeline.from_checkpoint(checkpoint, decoder=decoder)
        try:
            report = try_all(pipeline_ask(pipeline), good, [SEGFAULT])
            report.add(try_all(pipeline_ask(pipeline), good, one_of_each_code(bad_items()), positions=1))
        finally:
            decoder.close()
    assert report.wrong == {}
    assert report.compared == 7 * report.batches >= 7 * (8 + 15)


def fake_ask(batch: Sequence[KnownRequest | Item]) -> list[Reply]:
    """Answers as it should, and changes what comes before a bad one where its position is the third."""
    replies = []
    for asked in batch:
        if isinstance(asked, KnownRequest):
            replies.append((200, asked.expected))
        else:
            if len(replies) == 2:
                replies[0] = (200, b"changed")
            replies.append((asked.status, json.dumps({"code": asked.code}).encode()))
    return replies


def lose_batch(batch: Sequence[KnownRequest | Item]) -> list[Reply]:
    """As a server answers whose worker dies."""
    return [(500, b'{"code": 500, "message": "Worker died."}')] * len(batch)


@pytest.mark.parametrize(("ask", "wrong"), [(fake_ask, 1), (lose_batch, 8 * 8)])
def test_a_neighbour_that_is_changed_is_seen(ask: Ask, wrong: int) -> None:
    good = [KnownRequest({"text": b"%d" % place}, {}, b"answer %d" % place) for place in range(BATCH - 1)]
    report = try_all(ask, good, [SEGFAULT])
    assert (report.batches, report.compared, report.wrong.total()) == (8, 56, wrong)
