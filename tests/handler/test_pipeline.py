from __future__ import annotations

import base64
import json
import logging
from collections.abc import Mapping
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from handler import pipeline as pipeline_module
from handler.errors import ActivityError, InvalidRequest
from handler.inference import Scorer
from handler.limits import Limits
from handler.pipeline import ActivityPipeline
from handler.response import Prediction, Response
from handler.runtime import choose_runtime
from models.checkpoint import save_checkpoint
from models.config import HeadConfig
from models.settings import SettingsError
from tests.handler.requests import make_request, tiny_checkpoint, tiny_pipeline
from tests.media import X264, Picture, Sound, png, render
from tests.models.tiny import TINY

CUES = "WEBVTT\n\n00:00.000 --> 00:02.000\nstir the soup\n\n00:03.000 --> 00:06.000\nchop the onion\n"

Raw = Mapping[str, Any]


@lru_cache(maxsize=1)
def shared() -> ActivityPipeline:
    return tiny_pipeline()


@lru_cache(maxsize=1)
def movie() -> bytes:
    return render("mp4", Picture(num_frames=80, width=32, height=32, options=X264), Sound(seconds=3.2))


@lru_cache(maxsize=1)
def wav() -> bytes:
    return render("wav", Sound(codec="pcm_s16le", seconds=1.3))


def respond(*raw: Raw, pipeline: ActivityPipeline | None = None) -> list[Response]:
    return (pipeline or shared()).respond(raw, [f"request-{place}" for place in range(len(raw))])


def answer(raw: Raw, pipeline: ActivityPipeline | None = None) -> dict[str, Any]:
    """The JSON body of a request that is answered."""
    (response,) = respond(raw, pipeline=pipeline)
    assert response.status == 200, response.body
    values = json.loads(response.body)
    assert isinstance(values, dict)
    return values


def with_options(**options: Any) -> Raw:
    return {"text": CUES, "options": json.dumps(options)}


@lru_cache(maxsize=1)
def good() -> tuple[Raw, ...]:
    """Seven requests that are answered, no two alike."""
    return (
        {"body": movie()},
        {"text": "stir the soup"},
        {"audio": wav()},
        with_options(extras=["windows"]),
        {"body": {"audio": base64.b64encode(wav()).decode(), "options": {"extras": ["embedding"]}}},
        {"video": bytearray(movie()), "text": "pour the milk", "options": b'{"top_k": 1}'},
        with_options(format="vtt"),
    )


@lru_cache(maxsize=1)
def alone() -> tuple[bytes, ...]:
    return tuple(respond(raw)[0].body for raw in good())


def bad_requests() -> dict[str, tuple[Raw, int, str]]:
    """What is sent, the status and the code."""
    return {
        "empty": ({"body": b""}, 400, "invalid_request"),
        "bad JSON": ({"body": bytearray(b'{"video": ')}, 400, "invalid_request"),
        "unknown part": ({"clip": movie()}, 400, "unknown_part"),
        "unknown option": (with_options(topk=1), 400, "invalid_options"),
        "unknown label": (with_options(include_labels=["fry"]), 400, "invalid_options"),
        "NaN option": ({"text": CUES, "options": '{"threshold": NaN}'}, 400, "invalid_options"),
        "wrong base64": ({"body": {"video": "@@@@"}}, 400, "invalid_request"),
        "text as video": ({"video": b"stir the soup " * 9}, 422, "undecodable_media"),
        "truncated": ({"body": movie()[: len(movie()) // 2]}, 422, "undecodable_media"),
        "image": ({"body": png(8, 8)}, 415, "unsupported_media"),
        "several broken": ({"video": movie()[:300], "text": " "}, 422, "no_usable_modality"),
        "too far apart": ({"video": movie(), "audio": late_sound()}, 413, "limit_seconds"),
    }


@lru_cache(maxsize=1)
def late_sound() -> bytes:
    pts_ms = tuple(range(700_000, 701_000, 100))
    return render("matroska", Sound(codec="pcm_s16le", seconds=1.0, pts_ms=pts_ms))


# Batches


def test_the_good_requests_are_all_answered() -> None:
    assert len({*alone()}) == 7
    assert respond(*good())[3].body == alone()[3]


@pytest.mark.parametrize("kind", bad_requests())
def test_a_bad_request_in_any_position_leaves_the_other_seven_alone(kind: str) -> None:
    raw, status, code = bad_requests()[kind]
    for position in range(8):
        batch = [*good()[:position], raw, *good()[position:]]
        responses = respond(*batch)
        refusal = responses.pop(position)
        assert refusal.status == status
        assert json.loads(refusal.body)["code"] == code
        assert refusal.content_type == "application/json"
        assert tuple(response.body for response in responses) == alone()
        assert {response.status for response in responses} == {200}


def test_a_batch_of_nothing_but_bad_requests_is_answered() -> None:
    responses = respond(*[raw for raw, _, _ in bad_requests().values()])
    assert [(response.status, json.loads(response.body)["code"]) for response in responses] == [
        (status, code) for _, status, code in bad_requests().values()
    ]


@pytest.mark.parametrize("threads", [1, 2, 4])
def test_the_bytes_are_the_same_in_any_order_and_with_any_number_of_threads(threads: int) -> None:
    pipeline = tiny_pipeline(threads=threads)
    assert tuple(response.body for response in respond(*good(), pipeline=pipeline)) == alone()
    backwards = respond(*good()[::-1], pipeline=pipeline)
    assert tuple(response.body for response in backwards[::-1]) == alone()


def test_an_empty_batch_has_no_answers() -> None:
    assert respond() == []


def test_predict_passes_errors_through_and_keeps_the_order() -> None:
    error = InvalidRequest("no", remedy="none")
    first, second = shared().predict([error, make_request(text="stir")])
    assert first is error
    assert isinstance(second, Prediction)


# Defects


def boom(*_: Any, **__: Any) -> Any:
    raise RuntimeError("a secret in /srv/weights")


def assert_is_request_1s_internal_error(caplog: pytest.LogCaptureFixture) -> None:
    """Of three requests the second alone fails."""
    caplog.clear()
    with caplog.at_level(logging.ERROR):
        responses = respond(good()[1], {"text": "pour", "options": '{"top_k": 2}'}, good()[1])
    assert [response.status for response in responses] == [200, 500, 200]
    assert responses[0].body == responses[2].body == alone()[1]
    body = json.loads(responses[1].body)
    assert body.keys() == {"status", "code", "message", "remedy"}
    assert body["code"] == "internal_error"
    assert "request-1" in body["message"]
    for hidden in (b"Traceback", b"secret", b"/srv", b"RuntimeError", b".py"):
        assert hidden not in responses[1].body
    (record,) = caplog.records
    assert record.getMessage() == "request request-1 failed"
    assert "a secret in /srv/weights" in caplog.text


@pytest.mark.parametrize("stage", ["parse_request", "resolve_options", "read_clip", "build_segments"])
def test_a_defect_in_a_stage_is_that_requests_internal_error(
    stage: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    alone()
    calls = []
    original = getattr(pipeline_module, stage)

    def second_fails(*args: Any, **kwargs: Any) -> Any:
        calls.append(args)
        return boom() if len(calls) == 2 else original(*args, **kwargs)

    monkeypatch.setattr(pipeline_module, stage, second_fails)
    assert_is_request_1s_internal_error(caplog)


@pytest.mark.parametrize("stage", ["score", "render_any"])
def test_a_defect_in_the_model_or_the_rendering_is_that_requests_internal_error(
    stage: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    alone()
    calls = []
    owner: Any = Scorer if stage == "score" else pipeline_module
    original = getattr(owner, stage)

    def second_fails(*args: Any) -> Any:
        calls.append(args)
        return boom() if len(calls) == 2 else original(*args)

    monkeypatch.setattr(owner, stage, second_fails)
    assert_is_request_1s_internal_error(caplog)


def test_scores_that_are_no_numbers_are_an_internal_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared().scorer, "temperature", float("nan"))
    (response,) = respond({"text": "stir", "options": '{"extras": ["windows"]}'})
    assert response.status == 500
    assert b"NaN" not in response.body


# Options


def test_the_answer_is_what_the_design_says() -> None:
    values = answer({"body": movie()})
    assert list(values) == [
        *("status", "model", "start_seconds", "duration_seconds"),
        *("modalities", "activities", "segments"),
    ]
    assert values["model"] == {"name": "tiny", "version": "0.1"}
    assert (values["start_seconds"], values["duration_seconds"]) == (0.0, 3.2)
    assert values["modalities"]["text"] == {"used": False, "code": "not_sent", "reason": "not sent"}
    assert {item["label"] for item in values["activities"]} == set(TINY.labels)


def test_extras_are_there_only_when_asked_for() -> None:
    assert "timing" not in answer({"text": CUES})
    values = answer(with_options(extras=["timing", "embedding", "windows"]))
    assert values["timing"].keys() == {"decode_seconds", "model_seconds"}
    assert all(seconds > 0 for seconds in values["timing"].values())
    assert len(values["embedding"]) == 3 * 16
    assert len(values["windows"]) == 9  # 6 s: 12 hops, windows of 4


@pytest.mark.parametrize(
    ("answer_format", "content_type", "head"),
    [
        ("json", "application/json", b'{"status":200,'),
        ("vtt", "text/vtt; charset=utf-8", b"WEBVTT\n\n00:00:00.000 --> "),
        ("srt", "application/x-subrip; charset=utf-8", b"1\n00:00:00,000 --> "),
    ],
)
def test_each_format_has_its_content_type(answer_format: str, content_type: str, head: bytes) -> None:
    (response,) = respond(with_options(format=answer_format, threshold=0.0, min_segment_seconds=0.0))
    assert (response.status, response.content_type) == (200, content_type)
    assert response.body.startswith(head)


def test_the_same_request_gives_the_same_bytes_again() -> None:
    once, again = respond({"body": movie()}), respond({"body": movie()})
    assert once[0].body == again[0].body


def test_what_is_seen_heard_and_said_each_changes_the_scores() -> None:
    options = '{"extras": ["windows"]}'
    base: dict[str, Any] = {"video": movie(), "audio": wav(), "text": CUES, "options": options}
    others = {
        "video": render("mp4", Picture(num_frames=80, width=32, height=16, options=X264), Sound(seconds=3.2)),
        "audio": render("wav", Sound(codec="pcm_s16le", seconds=1.3, hertz=1760.0)),
        "text": CUES.replace("soup", "milk"),
    }
    windows = answer(base)["windows"]
    for part, other in others.items():
        assert answer({**base, part: other})["windows"] != windows, part


def test_a_coarser_stride_keeps_every_other_window_with_its_scores() -> None:
    fine = answer(with_options(extras=["windows"]))["windows"]
    coarse = answer(with_options(extras=["windows"], stride_seconds=1.0))["windows"]
    assert [window["start_seconds"] for window in coarse] == [0.0, 1.0, 2.0, 3.0, 4.0]
    assert [window["scores"] for window in coarse] == [window["scores"] for window in fine[::2]]


def test_smoothing_is_the_mean_over_the_windows_that_were_asked_for() -> None:
    windows = answer(with_options(extras=["windows"], smoothing_windows=2, lookahead_windows=1))["windows"]
    for window, following in pairwise(windows):
        for label in TINY.labels:
            mean = (window["scores"][label] + following["scores"][label]) / 2
            assert window["smoothed"][label] == pytest.approx(mean, abs=2e-6)
    assert windows[-1]["smoothed"] == windows[-1]["scores"]


def test_included_and_excluded_labels_alone_are_answered() -> None:
    values = answer(with_options(include_labels=["stir", "chop"], exclude_labels=["chop"], threshold=0.0))
    assert [item["label"] for item in values["activities"]] == ["stir"]
    assert [segment["label"] for segment in values["segments"]] == ["stir"]
    assert (values["segments"][0]["start_seconds"], values["segments"][0]["stop_seconds"]) == (0.0, 6.0)


# Models


def test_a_model_of_several_labels_answers_each_on_its_own() -> None:
    config = TINY.model_copy(update={"head": HeadConfig(hidden=16, task="multi_label")})
    values = answer(with_options(threshold=0.0, extras=["windows"]), tiny_pipeline(config))
    assert sorted(segment["label"] for segment in values["segments"]) == sorted(TINY.labels)
    assert {segment["stop_seconds"] for segment in values["segments"]} == {6.0}
    assert sum(values["windows"][0]["scores"].values()) != pytest.approx(1.0, abs=1e-3)


def test_a_model_of_one_modality_uses_that_alone() -> None:
    pipeline = tiny_pipeline(TINY.model_copy(update={"video": None, "text": None}))
    values = answer({"video": movie(), "text": CUES, "options": '{"extras": ["embedding"]}'}, pipeline)
    assert values["modalities"]["audio"] == {"used": True}
    assert values["modalities"]["video"]["code"] == values["modalities"]["text"]["code"] == "not_in_model"
    assert len(values["embedding"]) == 16
    (refusal,) = respond({"text": CUES}, pipeline=pipeline)
    assert (refusal.status, json.loads(refusal.body)["code"]) == (422, "no_usable_modality")


def test_limits_hold_for_a_pipelines_requests() -> None:
    pipeline = ActivityPipeline(
        tiny_checkpoint(), runtime=choose_runtime(threads=1), limits=Limits(max_text_characters=9)
    )
    (error,) = pipeline.predict([make_request(text="stir the soup")])
    assert isinstance(error, ActivityError)
    assert error.status == 413


def test_a_saved_checkpoint_answers_with_the_same_bytes(tmp_path: Path) -> None:
    checkpoint = tiny_checkpoint()
    save_checkpoint(tmp_path, checkpoint.description, checkpoint.model, checkpoint.tokenizer)
    pipeline = ActivityPipeline.from_checkpoint(tmp_path, runtime=choose_runtime(threads=1))
    assert tuple(response.body for response in respond(*good(), pipeline=pipeline)) == alone()
    with pytest.raises(SettingsError, match="is no checkpoint"):
        ActivityPipeline.from_checkpoint(tmp_path / "elsewhere")
