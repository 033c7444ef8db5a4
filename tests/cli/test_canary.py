from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import pytest

from cli.canary import Canary, compare_predictions, read_canary
from client.answer import Answer


def prediction(scores: dict[str, float], segments: tuple[str, ...] = ("walk", "run")) -> dict[str, Any]:
    return {
        "activities": [{"label": label, "score": score} for label, score in scores.items()],
        "segments": [{"label": label} for label in segments],
    }


EXPECTED = prediction({"walk": 0.6, "run": 0.3, "sit": 0.05})


@pytest.mark.parametrize(
    "found",
    [
        EXPECTED,
        prediction({"walk": 0.581, "run": 0.319, "sit": 0.05}),
        prediction({"walk": 0.6, "run": 0.3, "lie": 0.05}),
    ],
)
def test_what_another_processor_may_answer_passes(found: dict[str, Any]) -> None:
    assert compare_predictions(EXPECTED, found) is None


@pytest.mark.parametrize(
    ("found", "fault"),
    [
        (prediction({"run": 0.6, "walk": 0.58}), "the best label"),
        (prediction({"walk": 0.6, "run": 0.321}), "the score of run is 0.321, expected 0.3"),
        (prediction({"walk": 0.6, "run": 0.3}, ("walk",)), r"the segments are \['walk'\]"),
        (prediction({}, ()), "the best label"),
    ],
)
def test_what_a_wrong_path_answers_is_a_fault(found: dict[str, Any], fault: str) -> None:
    said = compare_predictions(EXPECTED, found)
    assert said is not None
    with pytest.raises(AssertionError, match=fault):
        raise AssertionError(said)


@pytest.mark.parametrize(
    ("answer", "fault"),
    [
        (Answer(422, "application/json", b'{"status":422}'), "status 422"),
        (Answer(200, "text/vtt", b"WEBVTT\n"), "the answer is no prediction"),
        (Answer(200, "application/json", b"{}"), "the answer is no prediction"),
    ],
)
def test_no_prediction_is_a_fault(answer: Answer, fault: str) -> None:
    said = Canary({}, EXPECTED).find_fault(answer)
    assert said is not None
    assert said.startswith(fault)


def test_the_right_answer_has_no_fault() -> None:
    answer = Answer(200, "application/json", json.dumps(EXPECTED).encode())
    assert Canary({}, EXPECTED).find_fault(answer) is None


def test_the_canary_is_read_from_the_archive(tmp_path: Path) -> None:
    archive = tmp_path / "a.mar"
    with zipfile.ZipFile(archive, "w") as mar:
        mar.writestr("canary/clip.mp4", b"clip")
        mar.writestr("canary/words.vtt", b"words")
        mar.writestr("canary/imu.csv", b"rows")
        mar.writestr("other/image.png", b"no part")
        mar.writestr("canary/expected.json", json.dumps(EXPECTED))
    assert read_canary(archive) == Canary({"video": b"clip", "text": b"words", "imu": b"rows"}, EXPECTED)


def test_an_archive_of_somebody_else_has_no_canary(tmp_path: Path) -> None:
    archive = tmp_path / "a.mar"
    with zipfile.ZipFile(archive, "w") as mar:
        mar.writestr("canary/clip.mp4", b"clip")
    assert read_canary(archive) is None
