from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import pytest

from cli.archive import build_archive
from cli.canary import read_canary
from cli.canary_parts import MAX_CELLS, render_parts
from models.checkpoint import CheckpointDescription, save_checkpoint
from models.config import ModelConfig
from models.encoder_config import VectorConfig
from tests.handler.requests import tiny_pipeline
from tests.models.every import EVERY
from tests.models.tiny import TINY, tiny_model
from training.synth.render import RenderedClip
from training.synth.samples import render_canary

NOTHING: dict[str, Any] = {"video": None, "audio": None, "text": None, "image": None, "tabular": None, "depth": None}


@pytest.fixture(scope="module")
def clip() -> RenderedClip:
    return render_canary()


@pytest.fixture(autouse=True)
def rendered_once(clip: RenderedClip, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cli.canary_parts.render_canary", lambda: clip)


def only(*names: str) -> ModelConfig:
    """The tiny model of some modalities alone."""
    kept = {name: getattr(EVERY, name) for name in names if name in NOTHING}
    vectors = {name: EVERY.vectors[name] for name in names if name in EVERY.vectors}
    return EVERY.model_copy(update={**NOTHING, **kept, "vectors": vectors})


@pytest.mark.parametrize(
    "config", [EVERY, *(only(name) for name in EVERY.modalities), only("image", "tabular"), only("audio", "imu")]
)
def test_the_model_can_use_every_part_that_it_knows(config: ModelConfig) -> None:
    parts = render_parts(config)
    (response,) = tiny_pipeline(config).respond([parts], ["canary"])
    assert response.status == 200, response.body
    used = {name for name, status in json.loads(response.body)["modalities"].items() if status["used"]}
    assert used == set(config.modalities)


def test_the_first_models_canary_is_the_rendered_clip_alone(clip: RenderedClip) -> None:
    assert render_parts(TINY) == {"video": clip.video, "text": clip.words.encode()}


def test_the_parts_are_always_the_same() -> None:
    assert render_parts(EVERY) == render_parts(EVERY)


def test_a_wide_and_fast_sequence_stays_small() -> None:
    wide = VectorConfig(channels=2_000, rate_hz=8_000)
    (content,) = render_parts(only("imu").model_copy(update={"vectors": {"wide": wide}})).values()
    assert content.count(b"\n") == 1 + MAX_CELLS // 2_000


def test_an_archive_of_a_model_without_clips_carries_its_canary(tmp_path: Path) -> None:
    config = only("image", "tabular", "imu")
    description = CheckpointDescription(name="still", version="1.0", config=config)
    save_checkpoint(tmp_path / "still", description, tiny_model(config), None)
    summary = build_archive(tmp_path / "still", tmp_path / "still.mar")
    with zipfile.ZipFile(summary.path) as mar:
        files = {name for name in mar.namelist() if name.startswith("canary/")}
    assert files == {f"canary/{name}" for name in ("expected.json", "image.png", "imu.csv", "tabular.csv")}
    canary = read_canary(summary.path)
    assert canary is not None
    assert canary.parts == render_parts(config)
    assert canary.expected["modalities"]["imu"] == {"used": True}
