from __future__ import annotations

import json

import pytest

from client.cutting import Chunk
from client.errors import ChunkRefused, Overloaded, ServerTimeout, ServerUnreachable, WorkerFailed
from client.stream import ActivityStream
from tests.client.fake_stream import FakeStreamModel, error


def chunks(count: int) -> list[Chunk]:
    return [
        Chunk(b"x" * (place + 1), 2.0 * place, 2.0 * place + 2, last=place == count - 1, says_start=place > 0)
        for place in range(count)
    ]


def stream_of(model: FakeStreamModel, **options: object) -> ActivityStream:
    return ActivityStream(model, options, sleep=lambda _: None)


def test_the_state_goes_from_answer_to_answer_and_segments_are_kept() -> None:
    model = FakeStreamModel()
    stream = stream_of(model, top_k=3)
    answers = [stream.send(chunk) for chunk in chunks(3)]
    assert [asked.get("state") for asked in model.asked] == [None, '[0.0, 2.0, "1.0"]', '[0.0, 4.0, "1.0"]']
    assert [asked["options"] for asked in model.asked] == [
        {"top_k": 3, "chunk": {"stop_seconds": 2.0}},
        {"top_k": 3, "chunk": {"start_seconds": 2.0, "stop_seconds": 4.0}},
        {"top_k": 3, "chunk": {"start_seconds": 4.0, "stop_seconds": 6.0, "last": True}},
    ]
    assert [answer.clock_seconds for answer in answers] == [2.0, 4.0, 6.0]
    assert [answer.final_until_seconds for answer in answers] == [1.0, 3.0, 6.0]
    assert [len(answer.provisional_segments) for answer in answers] == [1, 1, 0]
    whole = stream.answer()
    assert list(whole) == [
        "status",
        "model",
        "start_seconds",
        "duration_seconds",
        "modalities",
        "activities",
        "segments",
    ]
    assert [(it["start_seconds"], it["stop_seconds"]) for it in whole["segments"]] == [(0, 1), (1, 3), (3, 6)]
    assert whole["duration_seconds"] == 6.0
    assert "final" not in whole["segments"][0]


def test_so_far_the_provisional_ones_stand_after_the_final_ones_and_windows_are_each_there_once() -> None:
    stream = stream_of(FakeStreamModel(), extras=["windows"])
    for chunk in chunks(3)[:2]:
        stream.send(chunk)
    assert [segment["final"] for segment in stream.segments] == [True, True, False]
    assert [window["start_seconds"] for window in stream.answer()["windows"]] == [0.0, 1.0, 3.0]


@pytest.mark.parametrize(
    "failure", [kind("gone", remedy="again") for kind in (WorkerFailed, Overloaded, ServerUnreachable)]
)
def test_the_same_chunk_goes_again_with_the_same_state(failure: Exception) -> None:
    model = FakeStreamModel()
    stream = stream_of(model)
    first, second, _ = chunks(3)
    stream.send(first)
    model.failures = [failure]
    stream.send(second)
    assert len(model.asked) == 3
    assert model.asked[1] == model.asked[2]


def test_what_the_client_cannot_mend_leaves_the_stream_where_it_was() -> None:
    model = FakeStreamModel()
    stream = stream_of(model)
    first, second, _ = chunks(3)
    stream.send(first)
    model.failures = [ServerTimeout("late", remedy="wait")]
    with pytest.raises(ServerTimeout):
        stream.send(second)
    assert stream.send(second).clock_seconds == 4.0
    assert model.asked[1] == model.asked[2]


@pytest.mark.parametrize("code", ["state_foreign", "state_expired"])
def test_a_state_that_nobody_goes_on_with_lets_the_stream_begin_anew(code: str) -> None:
    model = FakeStreamModel()
    stream = stream_of(model, extras=["windows"])
    first, second, third = chunks(3)
    stream.send(first)
    model.version = "2.0"
    if code == "state_expired":
        model.version, model.failures = "1.0", [error(410, code)]
    answer = stream.send(second)
    assert answer.begun_anew == code
    assert stream.num_begun_anew == 1
    assert [asked.get("state") is None for asked in model.asked] == [True, False, True]
    assert stream.send(third).begun_anew is None
    whole = stream.answer()
    spans = [(it["start_seconds"], it["stop_seconds"]) for it in whole["segments"]]
    assert spans == [(0, 1), (1, 2), (2, 3), (3, 6)]
    assert [(it["start_seconds"], it["stop_seconds"]) for it in whole["windows"]] == spans
    assert (whole["start_seconds"], whole["duration_seconds"]) == (0.0, 6.0)


def test_another_error_is_said_with_the_chunk_and_the_servers_remedy() -> None:
    model = FakeStreamModel()
    stream = stream_of(model)
    first, second, _ = chunks(3)
    stream.send(first)
    stream.send(second)
    with pytest.raises(ChunkRefused, match=r"from 0\.000 s to 2\.000 s was answered with 409 \(chunk_out") as caught:
        stream.send(first)
    assert (caught.value.status, caught.value.code) == (409, "chunk_out_of_order")
    assert caught.value.remedy == "Begin anew."
    model.failures = [error(409, "state_foreign")] * 2
    with pytest.raises(ChunkRefused, match="state_foreign"):
        stream.send(second)


def test_a_gap_is_told() -> None:
    stream = stream_of(FakeStreamModel())
    first, _, third = chunks(3)
    assert stream.send(first).gap_seconds == 0.0
    assert stream.send(third).gap_seconds == 2.0


def test_before_the_first_answer_there_is_none() -> None:
    with pytest.raises(ValueError, match="no chunk"):
        stream_of(FakeStreamModel()).answer()
    assert json.loads(FakeStreamModel().predict(b"", options={"chunk": {"last": True}}).body)["status"] == 200
