from __future__ import annotations

import json
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from handler.batching import run_micro_batches
from handler.errors import EXCEEDED
from handler.inference import HOPS_PER_BATCH, WINDOWS_PER_BATCH
from handler.measures import Measures, Outcome, measuring, note_windows, samples, stage, starting_samples
from handler.runtime import Runtime
from tests.handler.requests import tiny_pipeline
from tests.media import Sound, render

DECLARED = yaml.safe_load((Path(__file__).parents[2] / "config" / "metrics.yaml").read_text("utf-8"))["model_metrics"]


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time, which stands until it is changed."""
    now = [0.0]
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    return now


def outcome(code: str = "ok", status: int = 200, **kept: Any) -> Outcome:
    return Outcome("id", "activity", "1.0", code, status, Measures(**kept))


def test_a_stage_has_its_own_seconds_alone(clock: list[float]) -> None:
    kept = Measures()
    with measuring(kept), stage("postprocess"):
        clock[0] += 1.0
        with stage("encode"):
            clock[0] += 5.0
        with stage("fuse"):
            clock[0] += 2.0
        clock[0] += 0.5
    assert kept.seconds == {"encode": 5.0, "fuse": 2.0, "postprocess": 1.5}


def test_a_stage_that_fails_counts_and_nobody_is_measured_afterwards(clock: list[float]) -> None:
    kept = Measures()

    @stage("decode")
    def fail() -> None:
        clock[0] += 3.0
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), measuring(kept):
        fail()
    with stage("decode"):
        clock[0] += 3.0
    note_windows(7)
    assert (kept.seconds, kept.windows) == ({"decode": 3.0}, 0)


def test_a_transform_has_its_part_of_the_time_of_its_micro_batches(clock: list[float]) -> None:
    def transform(batch: torch.Tensor) -> tuple[torch.Tensor]:
        clock[0] += 3.0
        return (batch,)

    def forward(batch: torch.Tensor) -> torch.Tensor:
        clock[0] += 1.0
        return batch

    kept = Measures()
    runtime = Runtime(torch.device("cpu"), torch.float32, threads=1)
    with measuring(kept), stage("encode"):
        run_micro_batches(forward, [torch.zeros(5)], size=2, runtime=runtime, item="hop", transform=transform)
        run_micro_batches(forward, [torch.zeros(3)], size=2, runtime=runtime)
    assert kept.seconds == {"transform": pytest.approx(9.0), "encode": pytest.approx(5.0)}
    assert (kept.computed, kept.padding) == ({"hop": 6}, {"hop": 1})


def test_hops_and_windows_that_nobody_asked_for_are_counted() -> None:
    sound = render("wav", Sound(codec="pcm_s16le", seconds=1.0))
    ((_, each),) = tiny_pipeline().respond_measured([{"audio": sound, "text": "stir"}], ["a"])
    kept = each.measures
    assert kept.computed["window"] == WINDOWS_PER_BATCH
    assert kept.padding["window"] == WINDOWS_PER_BATCH - kept.windows > 0
    assert kept.computed["hop"] == 2 * HOPS_PER_BATCH  # of sound and of words
    assert HOPS_PER_BATCH - 1 < kept.padding["hop"] < 2 * HOPS_PER_BATCH  # the words are one content
    assert json.loads(each.log_line())["padding"] == kept.padding


def test_a_batch_is_measured_by_request() -> None:
    sound = render("wav", Sound(codec="pcm_s16le", seconds=1.0))
    batch: list[dict[str, Any]] = [
        {"audio": sound, "text": "stir\nthe soup"},
        {"a\n{client's": b"?"},
        {"body": b"no media at all"},
        {"body": {"instances": [{"text": "stir"}, {"text": "pour"}, {"clip": 1}]}},
    ]
    ids = ["a", "b", "c", "d"]
    pipeline = tiny_pipeline()
    measured = pipeline.respond_measured(batch, ids)
    assert [response for response, _ in measured] == pipeline.respond(batch, ids)
    outcomes = [each for _, each in measured]
    assert [(each.request_id, each.code, each.status) for each in outcomes] == [
        ("a", "ok", 200),
        ("b", "unknown_part", 400),
        ("c", "undecodable_media", 422),
        ("d", "ok", 200),
    ]
    first, unknown, broken, several = (each.measures for each in outcomes)
    assert first.bytes_by_part == {"audio": len(sound), "text": 13}
    assert set(first.seconds) == {"receive", "decode", "transform", "encode", "fuse", "postprocess"}
    assert first.modalities["audio", "used"] == first.modalities["text", "used"] == 1
    assert first.windows >= 1
    assert first.clip_seconds == pytest.approx(1.0, abs=0.1)
    assert (set(unknown.seconds), unknown.bytes_by_part) == ({"receive", "postprocess"}, {})
    assert (set(broken.seconds), broken.windows) == ({"receive", "decode", "postprocess"}, 0)
    assert several.computed["window"] == 2 * first.computed["window"]
    assert several.bytes_by_part == {"text": 8}
    assert several.modalities["text", "used"] == 2


def test_the_first_errors_code_is_that_of_a_body_without_an_answer() -> None:
    ((response, each),) = tiny_pipeline().respond_measured([{"body": {"instances": [{"clip": 1}, {}]}}], ["a"])
    assert (each.code, each.status) == ("unknown_part", 400) == (json.loads(response.body)["code"], response.status)


def test_the_log_has_one_line_a_request_and_none_of_its_words() -> None:
    ((_, each),) = tiny_pipeline().respond_measured([{"text": "secret\nwords", "oh\nno": b"hidden"}], ['x\n"é'])
    line = each.log_line()
    assert line.isascii()
    assert line.isprintable()
    assert json.loads(line)["request_id"] == 'x\n"é'
    assert json.loads(line)["code"] == "unknown_part"
    assert not any(word in line for word in ("secret", "words", "oh", "hidden"))


def test_every_outcome_begins_at_zero() -> None:
    found = starting_samples("activity", "1.0")
    assert {each.value for each in found} == {0}
    assert [each.labels for each in found] == [
        ("activity", "1.0", code)
        for code in (
            *("ok", "chunk_out_of_order", "chunk_undecodable_start", "decoder_crashed", "internal_error"),
            *("invalid_options", "invalid_request", *(f"limit_{what}" for what in sorted(EXCEEDED))),
            *("no_usable_modality", "state_expired", "state_foreign", "state_invalid", "undecodable_media"),
            *("unknown_part", "unsupported_media"),
            *("ok", "crashed", "memory", "timeout"),
        )
    ]


def test_every_sample_is_one_that_is_declared() -> None:
    used = Counter({("video", "used"): 1, ("text", "not_sent"): 1})
    good = outcome(seconds={"decode": 1.0, "encode": 3.0}, windows=5, clip_seconds=8.0, modalities=used)
    good.measures.computed["hop"], good.measures.padding["hop"], good.measures.children["timeout"] = 16, 3, 1
    found = samples([good, good, outcome("unknown_part", 400)], 3 / 4)
    by_name = {each.name: (each.kind, each.labels) for each in found}
    declared = {each["name"]: (kind, len(each["dimensions"])) for kind, listed in DECLARED.items() for each in listed}
    assert {name: (kind, len(labels)) for name, (kind, labels) in by_name.items()} == declared
    values = {(each.name, *each.labels[2:]): each.value for each in found}
    assert values["activity_requests_total", "ok"] == 2
    assert values["activity_requests_total", "unknown_part"] == 1
    assert values["activity_windows_total",] == 10
    assert (values["activity_computed_total", "hop"], values["activity_padding_total", "hop"]) == (32, 6)
    assert values["activity_modalities_total", "text", "not_sent"] == 2
    assert values["activity_decode_children_total", "timeout"] == 2
    assert values["activity_batch_fill_ratio",] == 0.75
    assert values["activity_stage_seconds", "encode"] == 3.0
    assert [each.value for each in found if each.name == "activity_request_seconds"] == [4.0, 4.0, 0.0]
    assert values["activity_real_time_factor",] == 0.5
    assert samples([], 1.0) == []
