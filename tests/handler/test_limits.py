"""Each limit through the whole core: what is refused above it passes at it, and the refusal says both numbers."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import pytest

from handler.errors import EXCEEDED, Exceeded
from handler.limits import Limits
from handler.pipeline import ActivityPipeline
from handler.runtime import choose_runtime
from models.checkpoint import Checkpoint
from tests.handler.requests import tiny_checkpoint
from tests.handler.tables import as_csv, as_json
from tests.media import X264, Picture, Sound, png, render
from tests.models.every import EVERY

ELSEWHERE: frozenset[Exceeded] = frozenset({"decode_seconds", "memory", "transcribed_seconds", "transcription_passes"})
"""Limits on a process or of a recipe, whose tests are those of handler.cage, handler.container and
handler.transcription."""

FILM = Picture(codec="mjpeg", pix_fmt="yuvj420p", width=32, height=32, num_frames=50)
ROW: dict[str, list[Any]] = {"guests": [120], "hour": [7], "place": ["hall"]}
SWING = {"seconds": [0.0, 0.5, 1.0], "x": [0, 1, 2], "y": [0, 1, 2], "z": [0, 1, 2]}
CUES = "WEBVTT\n\n00:00.000 --> 00:02.000\nstir\n\n00:02.000 --> 00:03.000\npour\n"
OPTIONS = b'{"top_k": 1}'


@lru_cache
def film() -> bytes:
    return render("matroska", FILM)


@lru_cache
def wav() -> bytes:
    return render("wav", Sound(codec="pcm_s16le", rate=8_000, channels=2, seconds=2.0))


@lru_cache
def flood() -> bytes:
    """One group of pictures, the 47th of which is the last that is wanted."""
    return render("mp4", Picture(options=X264, width=32, height=32, num_frames=50))


@dataclass(frozen=True)
class Case:
    """A request that has ``value`` of something, whose limit is the setting ``name``."""

    what: Exceeded
    name: str
    value: float
    raw: Mapping[str, Any]
    said: str
    """How the message says the value."""


def instances(count: int) -> dict[str, Any]:
    return {"body": {"instances": [{"video": {"b64": base64.b64encode(wav()).decode()}}] * count}}


def cases() -> dict[str, Case]:
    size, table = len(film()), as_csv(SWING)
    movie = render("matroska", FILM, Sound(seconds=2.0))
    image, row = png(24, 16), as_csv(ROW)
    encoded = 2 * len(base64.b64encode(wav())) * 3 // 4  # as it is known before it is decoded
    explained = {"video": film(), "options": {"extras": ["explanation"]}}
    found = [
        Case("bytes", "max_bytes", size, {"video": film()}, f"{size} bytes"),
        Case("options", "max_options_bytes", len(OPTIONS), {"text": "a", "options": OPTIONS}, "12 bytes"),
        Case("text", "max_text_characters", len(CUES), {"text": CUES}, f"{len(CUES)} characters"),
        Case("cues", "max_cues", 2, {"text": CUES}, "2 cues"),
        Case("streams", "max_streams", 2, {"video": movie}, "2 streams"),
        Case("packets", "max_packets", 50, {"video": film()}, "50 packets"),
        Case("seconds", "max_duration_seconds", 2.0, {"video": film()}, "spans 2.000 s"),
        Case("frames", "max_frames", 47, {"video": flood()}, "47 frames"),
        Case("frame_pixels", "max_frame_pixels", 1_024, {"video": film()}, "32 x 32 pixels"),
        Case("total_pixels", "max_total_pixels", 47 * 1_024, {"video": flood()}, "48128 pixels"),
        Case("image_pixels", "max_image_pixels", 384, {"image": image}, "24 x 16 pixels"),
        Case("sample_rate", "max_sample_rate", 8_000, {"audio": wav()}, "is 8000 Hz"),
        Case("sample_rate", "min_sample_rate", 8_000, {"audio": wav()}, "is 8000 Hz"),
        Case("channels", "max_channels", 2, {"audio": wav()}, "2 channels"),
        Case("table_bytes", "max_table_bytes", len(table), {"imu": table}, f"{len(table)} bytes"),
        Case("table_columns", "max_table_columns", 4, {"imu": table}, "4 columns"),
        Case("table_rows", "max_table_rows", 3, {"imu": table}, "3 rows"),
        Case("table_cells", "max_table_cells", 12, {"imu": table}, "12 cells"),
        Case("table_bytes", "max_table_bytes", len(row), {"tabular": row}, f"{len(row)} bytes"),
        Case("table_columns", "max_table_columns", 3, {"tabular": as_json({k: v[0] for k, v in ROW.items()})}, "3 col"),
        Case("instances", "max_instances", 2, instances(2), "2 instances"),
        Case("instances_bytes", "max_instances_bytes", encoded, instances(2), f"{encoded} bytes"),
        Case("explained_seconds", "max_explained_seconds", 2.0, explained, "spans 2.000 s"),
    ]
    return {f"{case.name} of {', '.join(case.raw)}": case for case in found}


@lru_cache
def checkpoint() -> Checkpoint:
    return tiny_checkpoint(EVERY)


def respond(raw: Mapping[str, Any], **limits: float) -> dict[str, Any]:
    pipeline = ActivityPipeline(checkpoint(), runtime=choose_runtime(threads=1), limits=Limits.model_validate(limits))
    (response,) = pipeline.respond([raw], ["limits"])
    values: dict[str, Any] = json.loads(response.body)
    return values


def fault(values: Mapping[str, Any]) -> Mapping[str, Any]:
    """The one of a body's instances that has failed, or the answer itself."""
    return next((each for each in values.get("predictions", ()) if each["status"] != 200), values)


@pytest.mark.parametrize("name", cases())
def test_a_value_passes_at_its_limit_and_is_refused_above(name: str) -> None:
    case = cases()[name]
    above = 1 if case.name.startswith("min") else -1
    limit = case.value + (above if isinstance(case.value, int) else above * 0.25)
    assert "code" not in fault(respond(case.raw, **{case.name: case.value}))
    values = fault(respond(case.raw, **{case.name: limit}))
    assert (values["status"], values["code"]) == (413, f"limit_{case.what}")
    assert case.said in values["message"]
    assert f"{limit:g}" in values["message"].replace(case.said, "")
    assert values["remedy"]


def test_every_limit_is_held_here_or_elsewhere() -> None:
    assert EXCEEDED.keys() - {case.what for case in cases().values()} == {*ELSEWHERE, *("answers", "state")}


def test_an_answer_and_a_state_have_limits() -> None:
    answer = respond({"text": "stir", "options": {"extras": ["windows"]}}, max_answers_bytes=400)
    assert answer["code"] == "limit_answers"
    assert re.fullmatch(r"the answer has \d+ bytes, at most 400 are allowed", answer["message"])
    state = respond({"video": film(), "options": {"chunk": {}}}, max_state_bytes=400)
    assert state["code"] == "limit_state"
    assert re.search(r" have \d+ bytes, at most 400 are allowed", state["message"])


def test_the_longest_recordings_pass() -> None:
    limits = Limits()
    assert limits.max_frames == 60 * limits.max_duration_seconds
    assert limits.max_total_pixels >= 30 * limits.max_duration_seconds * 1_920 * 1_080


@pytest.mark.parametrize(
    ("name", "seconds", "frames", "pixels"),
    [("streamed", 7_200.0, 432_000, 480_000_000_000), ("shared", 75.0, 4_500, 5_000_000_000)],
)
def test_what_comes_out_of_a_decoder_is_bounded_by_the_second(
    name: str, seconds: float, frames: int, pixels: int
) -> None:
    limits = Limits().streamed() if name == "streamed" else Limits().shared_by(8)
    assert (limits.max_duration_seconds, limits.max_frames, limits.max_total_pixels) == (seconds, frames, pixels)
    assert Limits().shared_by(1) == Limits()
    assert Limits(max_frames=1, max_total_pixels=1).shared_by(8).max_frames == 1


def test_the_instances_of_a_body_share_the_frames() -> None:
    video = {"b64": base64.b64encode(flood()).decode()}
    assert "code" not in fault(respond({"body": {"instances": [{"video": video}]}}, max_frames=90))
    shared = fault(respond({"body": {"instances": [{"video": video}] * 2}}, max_frames=90))
    assert shared["message"] == "the video has 46 frames or more, the limit is 45"


def test_a_streamed_recording_may_have_more_frames() -> None:
    limits = {"max_duration_seconds": 4.0, "max_frames": 40}
    assert respond({"video": flood()}, **limits)["code"] == "limit_frames"
    raw = {"video": flood(), "options": {"stream": True}}
    for seconds, code in ((8.0, "ok"), (4.0, "limit_frames")):
        values = {**limits, "max_streamed_seconds": seconds}
        pipeline = ActivityPipeline(checkpoint(), limits=Limits.model_validate(values))
        ((response, _),) = pipeline.respond_measured([raw], ["a"], streamable={0})
        assert list(response.rest or ()) or response.code == code
