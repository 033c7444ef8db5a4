"""Every hostile request gets the status and the code of the catalogue, and every odd one an answer."""

from __future__ import annotations

import json
from typing import Any

import pytest

from handler.errors import error_codes
from handler.response import Response
from tests.handler.requests import tiny_pipeline
from tests.hostile.catalogue import catalogue
from tests.hostile.item import OK, Item, as_received
from tests.hostile.media import odd_media, waveform, wrapping
from tests.media import X264, Picture, render
from tests.models.every import EVERY

BATCH_SIZE = 8


@pytest.fixture(scope="module")
def responses() -> dict[str, Response]:
    """Of each request, asked in batches as a server asks."""
    pipeline = tiny_pipeline(EVERY)
    items = catalogue()
    found: dict[str, Response] = {}
    for start in range(0, len(items), BATCH_SIZE):
        batch = items[start : start + BATCH_SIZE]
        answered = pipeline.respond([as_received(item) for item in batch], [item.name for item in batch])
        found.update(zip((item.name for item in batch), answered, strict=True))
    return found


@pytest.mark.parametrize("item", catalogue(), ids=lambda item: item.name)
def test_each_request_gets_its_status_and_its_code(item: Item, responses: dict[str, Response]) -> None:
    response = responses[item.name]
    assert (response.status, response.code) == (item.status, item.code)
    values: dict[str, Any] = json.loads(response.body)
    if item.code == OK:
        assert response.status == 200
        return
    assert error_codes()[item.code].status == item.status
    assert (values["status"], values["code"]) == (item.status, item.code)
    assert 0 < len(values["message"]) <= 2_000
    assert values["remedy"]
    assert not any(
        sign in values["message"] + values["remedy"] for sign in ("/work", ".py", "Error", "\n", "\x1b", "\0")
    )


def test_the_catalogue_has_every_code_that_one_request_alone_can_get() -> None:
    needs_a_stream = {"chunk_out_of_order", "chunk_undecodable_start", "state_expired", "state_foreign"}
    needs_a_cage = {"decoder_crashed", "limit_decode_seconds", "limit_memory"}
    needs_other_limits = {  # their values are above what the suite can afford, or the model has no such part
        *("limit_answers", "limit_bytes", "limit_cues", "limit_explained_seconds", "limit_frames", "limit_packets"),
        *("limit_instances_bytes", "limit_table_cells", "limit_total_pixels"),
        *("limit_transcribed_seconds", "limit_transcription_passes"),
    }
    missing = error_codes().keys() - {item.code for item in catalogue()}
    assert missing == {"internal_error", *needs_a_stream, *needs_a_cage, *needs_other_limits}


@pytest.mark.parametrize("item", [item for item in odd_media() if not item.is_body], ids=lambda item: item.name)
def test_what_is_only_odd_is_used(item: Item, responses: dict[str, Response]) -> None:
    statuses = json.loads(responses[item.name].body)["modalities"]
    part = "audio" if "cover" in item.name or "title" in item.name else item.parts[0][0]
    assert statuses[part] == {"used": True}


def test_what_wraps_is_as_long_as_what_does_not() -> None:
    plain = render("mpegts", Picture(num_frames=25, width=32, height=32, options=X264))
    pipeline = tiny_pipeline(EVERY)
    durations = []
    for content in (plain, wrapping(plain, (1 << 33) - 90_000 * 2)):
        (response,) = pipeline.respond([{"video": content}], ["a"])
        durations.append(json.loads(response.body)["duration_seconds"])
    assert durations == [1.0, 1.0]
    assert wrapping(plain, 0) == plain


def test_what_is_no_number_is_silence() -> None:
    pipeline = tiny_pipeline(EVERY)
    silence = waveform(16_000, 1, 32, bytes(4 * 8_000), kind=3)
    nan = waveform(16_000, 1, 32, b"\0\0\xc0\x7f" * 8_000, kind=3)
    one, other = (pipeline.respond([{"audio": content}], ["a"])[0].body for content in (silence, nan))
    assert one == other
