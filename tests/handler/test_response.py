from __future__ import annotations

import json
import re
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from handler.clip import ModalityStatus
from handler.errors import InternalError, InvalidOptions
from handler.limits import Limits
from handler.options import AnswerFormat
from handler.response import Response, WindowScores, render_error, render_prediction
from handler.segments import Segment
from handler.text import parse_text
from models.config import Modality
from tests.golden.generate import FOLDER, MAX_BYTES, example_error, example_prediction, golden_answers

PREDICTION = example_prediction()
VTT_CUE = re.compile(r"(\d{2,}):([0-5]\d):([0-5]\d)\.(\d{3}) --> (\d{2,}):([0-5]\d):([0-5]\d)\.(\d{3})")


@pytest.mark.parametrize("name", sorted(golden_answers()))
def test_golden_answers(name: str) -> None:
    expected = (FOLDER / name).read_bytes()
    assert len(expected) <= MAX_BYTES
    assert golden_answers()[name] == expected


@pytest.mark.parametrize(
    ("answer_format", "content_type"),
    [
        ("json", "application/json"),
        ("ndjson", "application/x-ndjson"),
        ("vtt", "text/vtt; charset=utf-8"),
        ("srt", "application/x-subrip; charset=utf-8"),
    ],
)
def test_content_types(answer_format: AnswerFormat, content_type: str) -> None:
    response = render_prediction(PREDICTION, answer_format)
    assert (response.status, response.phrase, response.content_type) == (200, "OK", content_type)


def test_extras_are_left_out_unless_they_are_there() -> None:
    plain = replace(PREDICTION, windows=None, embedding=None, timing=None)
    assert list(json.loads(render_prediction(plain, "json").body)) == [
        "status",
        "model",
        "start_seconds",
        "duration_seconds",
        "modalities",
        "activities",
        "segments",
    ]
    assert list(json.loads(render_prediction(PREDICTION, "json").body))[-3:] == ["windows", "embedding", "timing"]


def test_only_the_modalities_of_the_model_are_listed() -> None:
    without_text: dict[Modality, ModalityStatus] = {
        name: status for name, status in PREDICTION.modalities.items() if name != "text"
    }
    body = json.loads(render_prediction(replace(PREDICTION, modalities=without_text), "json").body)
    assert list(body["modalities"]) == ["video", "audio"]


def test_labels_are_utf_8() -> None:
    prediction = replace(PREDICTION, segments=(Segment(0.0, 1.0, "Händeklatschen 拍手", 0.5),))
    for answer_format in ("json", "ndjson", "vtt", "srt"):
        assert "Händeklatschen 拍手".encode() in render_prediction(prediction, answer_format).body


@pytest.mark.parametrize(("answer_format", "body"), [("vtt", b"WEBVTT\n"), ("srt", b"\n")])
def test_an_empty_answer_is_a_valid_file(answer_format: AnswerFormat, body: bytes) -> None:
    assert render_prediction(replace(PREDICTION, segments=()), answer_format).body == body


def test_no_cue_lies_before_zero_or_has_no_length() -> None:
    segments = (Segment(-3.0, -1.0, "a", 0.5), Segment(-1.0, 0.0001, "b", 0.5), Segment(7.0, 7.0, "c", 0.5))
    body = render_prediction(replace(PREDICTION, segments=segments), "vtt").body.decode()
    assert body == ("WEBVTT\n\n00:00:00.000 --> 00:00:00.001\nb (50%)\n\n00:00:07.000 --> 00:00:07.001\nc (50%)\n")


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(0.0004, "00:00:00.000"), (59.9996, "00:01:00.000"), (3599.9994, "00:59:59.999"), (360_000.5, "100:00:00.500")],
)
def test_timestamps_carry(seconds: float, shown: str) -> None:
    prediction = replace(PREDICTION, segments=(Segment(seconds, 400_000.0, "a", 0.5),))
    assert f"\n\n{shown} --> 111:06:40.000\n" in render_prediction(prediction, "vtt").body.decode()
    assert f"1\n{shown.replace('.', ',')} --> 111:06:40,000\n" in render_prediction(prediction, "srt").body.decode()


@pytest.mark.parametrize("score", [float("nan"), float("inf")])
def test_what_is_not_finite_is_no_answer(score: float) -> None:
    assert PREDICTION.windows is not None
    scores = np.full((3, 2), score)
    faulty = WindowScores(PREDICTION.windows.windows, PREDICTION.windows.labels, scores, scores)
    with pytest.raises(ValueError, match="not JSON compliant"):
        render_prediction(replace(PREDICTION, windows=faulty), "json")


def test_window_scores_have_one_shape() -> None:
    assert PREDICTION.windows is not None
    with pytest.raises(ValueError, match=r"must be \(3, 2\), got \(3, 2\) and \(2, 2\)"):
        replace(PREDICTION.windows, smoothed=np.zeros((2, 2)))


def test_an_error_is_json_with_its_status() -> None:
    error = example_error()
    assert render_error(error) == Response(
        422, "Unprocessable Content", "application/json", golden_answers()["error.json"], code="no_usable_modality"
    )


def test_an_error_may_quote_any_character() -> None:
    error = InvalidOptions('unknown "\ud800" \u00e9 \x00', remedy="Leave it out.")
    body = render_error(error).body
    assert "é".encode() in body
    assert json.loads(body)["message"] == error.message


def test_a_defect_has_its_status() -> None:
    response = render_error(InternalError("request 7 failed", remedy="Report it.", details={"request_id": "7"}))
    assert (response.status, response.phrase) == (500, "Internal Server Error")
    assert json.loads(response.body) == {
        "status": 500,
        "code": "internal_error",
        "message": "request 7 failed",
        "remedy": "Report it.",
        "request_id": "7",
    }


labels = st.text(st.characters(), max_size=12)
moments = st.lists(st.floats(-5, 7_000), min_size=2, max_size=8).map(sorted)


@st.composite
def predicted_segments(draw: st.DrawFn) -> tuple[Segment, ...]:
    return tuple(Segment(*span, draw(labels), draw(st.floats(0, 1))) for span in pairwise(draw(moments)))


def milliseconds(groups: tuple[str, ...]) -> int:
    hours, minutes, seconds, millis = map(int, groups)
    return ((hours * 60 + minutes) * 60 + seconds) * 1000 + millis


@given(predicted_segments())
def test_any_answer_is_valid_webvtt(segments: tuple[Segment, ...]) -> None:
    """The syntax of https://www.w3.org/TR/webvtt1/, chapter 4, as far as it is used."""
    text = render_prediction(replace(PREDICTION, segments=segments), "vtt").body.decode("utf-8")
    header, *blocks = text.removesuffix("\n").split("\n\n")
    assert header == "WEBVTT"
    assert len(blocks) == sum(segment.stop_seconds > 0 for segment in segments)
    previous = 0
    for block in blocks:
        timing, payload = re.split(r"\r\n|\r|\n", block)
        match = VTT_CUE.fullmatch(timing)
        assert match
        start, stop = milliseconds(match.groups()[:4]), milliseconds(match.groups()[4:])
        assert previous <= start < stop
        assert not re.search(r"[<>]|&(?!amp;|lt;|gt;)", payload)
        previous = start


@given(predicted_segments())
def test_any_answer_is_valid_json_and_the_same_each_time(segments: tuple[Segment, ...]) -> None:
    prediction = replace(PREDICTION, segments=segments)
    body = render_prediction(prediction, "json").body
    assert body == render_prediction(prediction, "json").body
    for shown, segment in zip(json.loads(body)["segments"], segments, strict=True):
        assert shown["label"] == segment.label
        assert shown["start_seconds"] == pytest.approx(segment.start_seconds, abs=5.1e-7)
        assert shown["score"] == pytest.approx(segment.score, abs=5.1e-7)
    assert b"-0.0," not in body
    assert b"-0.0}" not in body


@given(predicted_segments())
def test_the_lines_of_ndjson_are_the_values_of_json(segments: tuple[Segment, ...]) -> None:
    prediction = replace(PREDICTION, segments=segments)
    values = json.loads(render_prediction(prediction, "json").body)
    *texts, end = render_prediction(prediction, "ndjson").body.split(b"\n")
    assert end == b""
    header, *lines = map(json.loads, texts)
    assert list(header)[:2] == ["type", "status"]
    by_type = {
        kind: [{k: v for k, v in line.items() if k != "type"} for line in lines if line["type"] == kind]
        for kind in ("window", "segment")
    }
    assert {**header, "windows": by_type["window"], "segments": by_type["segment"]} == {"type": "header", **values}


def test_plain_ndjson_is_the_header_and_a_line_a_segment() -> None:
    body = render_prediction(replace(PREDICTION, windows=None), "ndjson").body
    assert [json.loads(line)["type"] for line in body.splitlines()] == ["header", "segment", "segment"]


@pytest.mark.parametrize("answer_format", ["vtt", "srt"])
def test_subtitles_can_be_sent_back_as_words(answer_format: AnswerFormat) -> None:
    words = parse_text(render_prediction(PREDICTION, answer_format).body, Limits())
    assert [(cue.start_seconds, cue.stop_seconds, cue.text) for cue in words.cues] == [
        (0.0, 1.751, "clap & wave (78%)"),
        (1.751, 3.375, "jump (67%)"),
    ]
