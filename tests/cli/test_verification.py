from __future__ import annotations

import json
import platform
import re
from pathlib import Path

import pytest

from cli.demo import Observation, Sample, next_steps
from cli.timeline import TimedLabel
from cli.verification import write_verification
from client.answer import Answer
from tests.cli.checkpoints import write_tiny_checkpoint
from tests.cli.test_record import build_record
from training.synth.samples import render_canary


@pytest.fixture(scope="module")
def observation() -> Observation:
    clip = render_canary()
    body = json.dumps(
        {
            "start_seconds": 0.0,
            "duration_seconds": 6.0,
            "segments": [
                {"start_seconds": 0.0, "stop_seconds": 2.75, "label": "stir", "score": 0.9},
                {"start_seconds": 2.75, "stop_seconds": 6.0, "label": "chop", "score": 0.8},
            ],
        }
    ).encode()
    answer = Answer(200, "application/json", body)
    true = (TimedLabel(0.0, 3.0, "stir"), TimedLabel(3.0, 6.0, "pour"))
    sample = Sample(clip.video, clip.words.encode(), true)
    return Observation(sample=sample, rest=answer, grpc=answer, refused_without_token=True, canary_asked=True)


@pytest.fixture(scope="module")
def document(observation: Observation, tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("verification")
    checkpoint = write_tiny_checkpoint(folder / "checkpoint")
    write_verification(folder / "docs" / "verification.md", observation, checkpoint)
    first = (folder / "docs" / "verification.md").read_text(encoding="utf-8")
    write_verification(folder / "docs" / "verification.md", observation, checkpoint)
    assert (folder / "docs" / "verification.md").read_text(encoding="utf-8") == first
    assert str(folder) not in first
    return first


def test_it_has_every_section_in_order(document: str) -> None:
    headings = [line.removeprefix("## ") for line in document.splitlines() if line.startswith("## ")]
    assert headings == ["Versions", "Runtime", "Data path", "Observed output", "Limits met"]


def test_it_names_versions_streams_and_what_was_seen(document: str, observation: Observation) -> None:
    assert f"| Python | {platform.python_version()} |" in document
    assert "| torchserve | 0.12.0 |" in document
    assert "h264 " in document
    assert "aac " in document
    assert observation.rest.body.decode() in document
    assert "| true segments with the right label | 2 of 2 | 1 of 2 |" in document
    assert "| largest error of an edge | below one stride, 0.5 s | 0.250 s |" in document
    assert "| a call without a token | refused | refused |" in document


def test_it_names_no_path_of_the_machine(document: str) -> None:
    assert re.findall(r"(?<![\w.:/])/\w+", document) == []


def test_the_next_steps_survive_a_space_in_the_path(tmp_path: Path) -> None:
    record = build_record(tmp_path / "a folder")
    lines = next_steps(record)
    assert f"--form 'video=@{tmp_path}/a folder/clip.mp4'" in lines
    assert f"stop --run-dir '{tmp_path}/a folder'" in lines
    assert "http://127.0.0.1:1/predictions/activity" in lines
