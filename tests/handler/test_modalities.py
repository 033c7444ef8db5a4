"""Every modality through the whole core: what a client sends comes back as an answer, each absent at will."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from functools import lru_cache
from itertools import combinations
from typing import Any

import numpy as np
import pytest

from handler.clip import Clip
from handler.decode import decode_request, to_grey
from handler.errors import ActivityError, LimitExceeded, NoUsableModality, UndecodableMedia
from handler.limits import Limits
from handler.pipeline import ActivityPipeline
from handler.request import parse_request
from models.config import ModelConfig
from tests.handler.requests import tiny_pipeline
from tests.handler.tables import as_csv, as_json, as_parquet
from tests.media import X264, Picture, Sound, frame_level, png, render
from tests.models.every import EVERY
from tests.models.tiny import TINY

LIMITS = Limits()
ROW = {"guests": 120, "hour": None, "place": "hall"}
CUES = "WEBVTT\n\n00:00.000 --> 00:02.000\nstir the soup\n"
STILL = EVERY.model_copy(update={"video": None, "audio": None, "text": None, "depth": None, "vectors": {}})
"""A picture and a row, and nothing with times."""


def swing(seconds: float = 2.0, start: float = 0.0) -> dict[str, Any]:
    times = start + np.arange(round(seconds * 20)) / 20
    return {"seconds": times.tolist(), "values": np.stack([np.sin(times), np.cos(times), times], axis=1).tolist()}


@lru_cache(maxsize=1)
def depth_video() -> bytes:
    return render("matroska", Picture(codec="ffv1", width=32, height=32, num_frames=50, pix_fmt="gray"))


@lru_cache(maxsize=1)
def parts() -> Mapping[str, bytes]:
    return {
        "video": render("mp4", Picture(num_frames=50, width=32, height=32, options=X264)),
        "audio": render("wav", Sound(codec="pcm_s16le", seconds=2.0)),
        "text": CUES.encode(),
        "image": png(24, 16),
        "tabular": as_json(ROW),
        "depth": depth_video(),
        "imu": as_json(swing()),
    }


@lru_cache(maxsize=4)
def pipeline_of(name: str) -> ActivityPipeline:
    return tiny_pipeline({"every": EVERY, "still": STILL, "tiny": TINY}[name])


def respond(raw: Mapping[str, Any], model: str = "every") -> tuple[int, dict[str, Any]]:
    (response,) = pipeline_of(model).respond([raw], ["request"])
    return response.status, json.loads(response.body)


def decoded(raw: Mapping[str, Any], config: ModelConfig = EVERY, limits: Limits = LIMITS) -> Clip:
    return decode_request(parse_request(raw, limits, config.vectors), config, limits)


def refusal(raw: Mapping[str, Any], config: ModelConfig = EVERY, limits: Limits = LIMITS) -> ActivityError:
    with pytest.raises(ActivityError) as caught:
        decoded(raw, config, limits)
    return caught.value


def test_a_request_of_all_modalities_uses_all() -> None:
    status, body = respond(parts())
    assert status == 200
    assert list(body["modalities"]) == list(EVERY.modalities)
    assert all(body["modalities"][name] == {"used": True} for name in EVERY.modalities)
    assert body["duration_seconds"] == 2.0


@pytest.mark.parametrize("size", [1, 2, 6])
def test_any_of_them_may_be_left_out(size: int) -> None:
    for names in combinations(EVERY.modalities, size):
        status, body = respond({name: parts()[name] for name in names})
        assert status == 200, names
        assert {name for name, it in body["modalities"].items() if it["used"]} == set(names)
        assert all(it.get("code") == "not_sent" for it in body["modalities"].values() if not it["used"])


def test_every_modality_counts() -> None:
    """What each holds moves the scores: none of them is taken and then lost."""
    others = {
        "tabular": as_json({**ROW, "guests": 10, "place": "field"}),
        "imu": as_json({**swing(), "values": [[3.0, -3.0, 0.0]] * 40}),
        "depth": render("matroska", Picture(codec="ffv1", width=32, height=32, num_frames=20, pix_fmt="gray")),
        "image": render("apng", Picture(codec="apng", width=24, height=16, num_frames=1, pix_fmt="rgb24")),
    }
    for name, other in others.items():
        one, two = ({"tabular": parts()["tabular"], name: content} for content in (parts()[name], other))
        first, second = respond(one)[1], respond(two)[1]
        assert first["modalities"][name] == second["modalities"][name] == {"used": True}
        assert first["activities"] != second["activities"], name


def test_parts_and_json_give_the_same_bytes() -> None:
    sent = {name: parts()[name] for name in ("image", "tabular", "depth", "imu")}
    columns = {"seconds": swing()["seconds"], **dict(zip("xyz", np.array(swing()["values"]).T.tolist(), strict=True))}
    media = {name: base64.b64encode(sent[name]).decode() for name in ("image", "depth")}
    packed = base64.b64encode(as_parquet(columns)).decode()
    bodies: list[dict[str, Any]] = [
        {"body": {**media, "tabular": ROW, "imu": swing()}},
        {"body": json.dumps({**media, "tabular": json.dumps(ROW), "imu": as_csv(columns).decode()}).encode()},
        {"body": {**media, "tabular": [ROW], "imu": packed}},
        {**{name: bytearray(content) for name, content in sent.items()}, "tabular": ROW, "imu": swing()},
    ]
    expected = respond(sent)
    assert expected[0] == 200
    assert [respond(body) for body in bodies] == [expected] * len(bodies)


def test_a_model_without_times_has_one_window() -> None:
    status, body = respond({"image": parts()["image"], "tabular": ROW}, "still")
    assert status == 200
    assert body["duration_seconds"] == STILL.windows.window_seconds
    assert len(body["segments"]) <= 1
    assert list(body["modalities"]) == ["video", "audio", "text", "image", "tabular"]
    assert body["modalities"]["video"]["code"] == "not_in_model"


def test_the_first_model_answers_as_ever_and_names_what_it_does_not_have() -> None:
    _, body = respond({"text": CUES}, "tiny")
    assert list(body["modalities"]) == ["video", "audio", "text"]
    status, body = respond({"text": CUES, "image": parts()["image"], "tabular": ROW}, "tiny")
    assert status == 200
    assert list(body["modalities"]) == ["video", "audio", "text", "image", "tabular"]
    assert body["modalities"]["image"] == {
        "used": False,
        "code": "not_in_model",
        "reason": "the model does not have it",
    }


def test_a_sequence_that_the_model_does_not_have_is_an_unknown_part() -> None:
    status, body = respond({"imu": swing()}, "tiny")
    assert (status, body["code"]) == (400, "unknown_part")
    status, body = respond({"gaze": swing()})
    assert (status, body["code"]) == (400, "unknown_part")
    assert "imu, options" in body["message"]


# One time axis


def test_the_clip_spans_what_has_times() -> None:
    clip = decoded({"imu": swing(2.0, start=1.0), "depth": parts()["depth"]})
    assert (clip.schedule.span.start_seconds, clip.schedule.span.stop_seconds) == pytest.approx((0.0, 3.0))
    assert clip.masks["depth"].tolist() == [True, True, True, True, False, False]
    assert clip.masks["imu"].tolist() == [False, False, True, True, True, True]
    assert clip.vectors["imu"].shape == (6, 10, 3)
    np.testing.assert_allclose(clip.vectors["imu"][2:].reshape(-1, 3), np.array(swing(2.0, 1.0)["values"]), atol=1e-6)


def test_words_and_what_has_no_times_do_not_lengthen_the_clip() -> None:
    late = "WEBVTT\n\n00:09.000 --> 00:10.000\nchop\n"
    clip = decoded({"imu": swing(1.0), "text": late, "image": parts()["image"], "tabular": ROW})
    assert clip.schedule.num_hops == 2
    assert clip.modalities["text"].reason == "no cue lies inside the clip"
    assert clip.masks["image"].tolist() == clip.masks["tabular"].tolist() == [True, True]
    assert decoded({"text": late, "image": parts()["image"]}).schedule.span.start_seconds == 9.0


def test_modalities_too_far_apart_are_one_clip_too_long() -> None:
    error = refusal({"imu": swing(1.0, start=1e6), "depth": parts()["depth"]})
    assert isinstance(error, LimitExceeded)


# What fails leaves the others


@pytest.mark.parametrize("name", ["image", "tabular", "depth", "imu"])
def test_a_broken_part_is_a_status_and_alone_an_error(name: str) -> None:
    clip = decoded({**parts(), name: b"\x89no such thing"})
    status = clip.modalities[name]
    assert (status.used, status.code) == (False, "undecodable_media")
    assert sorted(clip.masks) == sorted(set(EVERY.modalities) - {name})
    assert isinstance(refusal({name: b"\x89no such thing"}), UndecodableMedia)
    assert isinstance(refusal({name: b"\x89no such thing", "text": ""}), NoUsableModality)


def test_a_depth_that_does_not_decode_leaves_the_clip_to_the_others() -> None:
    tall = render("matroska", Picture(codec="ffv1", width=64, height=64, num_frames=100, pix_fmt="gray"))
    clip = decoded({"depth": tall, "imu": swing(1.0)}, limits=Limits(max_frame_pixels=2_000))
    assert clip.modalities["depth"].code == "limit_frame_pixels"
    assert clip.schedule.num_hops == 2  # not the four seconds of the depth
    assert decoded({"depth": tall, "imu": swing(1.0)}).schedule.num_hops == 8


def test_each_part_says_that_it_is_not_in_the_model() -> None:
    error = refusal({"image": parts()["image"]}, TINY)
    assert isinstance(error, NoUsableModality)
    assert "image: the model does not have it" in error.message


# Depth


@pytest.mark.parametrize("pix_fmt", ["gray", "gray16le", "gray10le", "yuv444p"])
def test_depth_is_grey_of_eight_bits_whatever_it_was(pix_fmt: str) -> None:
    picture = Picture(codec="ffv1", width=32, height=32, num_frames=50, pix_fmt=pix_fmt)
    clip = decoded({"depth": render("matroska", picture)})
    assert clip.depth is not None
    assert clip.depth.shape == (4, 2, 1, 16, 16)
    ground = np.median(clip.depth.reshape(8, -1), axis=1)
    shown = [frame_level(int(seconds * 25)) for seconds in (np.arange(8) + 0.5) * 0.25]
    np.testing.assert_allclose(ground, shown, atol=2)


def test_grey_is_the_mean_of_the_colours() -> None:
    frames = np.array([[[[255]], [[254]], [[255]]], [[[1]], [[0]], [[0]]]], dtype=np.uint8)
    assert to_grey(frames).flatten().tolist() == [255, 0]
    assert to_grey(frames).shape == (2, 1, 1, 1)


@pytest.mark.parametrize("size", [1e20, 1e30, 3e38])
def test_numbers_beyond_all_measure_are_answered(size: float) -> None:
    """What is finite is no fault of the request, and no score of it is NaN."""
    turning = {"values": [[size, -size, size], [-size, size, -size]] * 20}
    for raw in ({"tabular": as_json({**ROW, "guests": -size})}, {"imu": as_json(turning)}):
        assert respond(raw)[0] == 200


def test_times_that_almost_meet_are_answered() -> None:
    jump = {"seconds": [-0.05, -1e-300, 1e-300], "values": [[0.0] * 3, [3e38] * 3, [-3e38] * 3]}
    assert np.isfinite(decoded({"imu": as_json(jump)}).vectors["imu"]).all()
    assert respond({"imu": as_json(jump)})[0] == 200
