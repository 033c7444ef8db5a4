"""A recipe's transcriber comes with the checkpoint, and is sought before the clips are decoded."""

from __future__ import annotations

from pathlib import Path

import pytest

from handler.pipeline import ActivityPipeline
from models.settings import SettingsError
from models.side_config import TranscriberConfig
from tests.side_factory import tiny_whisper
from tests.training.test_train import RECIPE, run
from training import train as train_module
from training.recipe import Recipe


def recipe_with(source: Path) -> Recipe:
    transcriber = TranscriberConfig(source=str(source), language="en")
    return RECIPE.model_copy(update={"model": RECIPE.model.model_copy(update={"transcriber": transcriber})})


def test_a_transcriber_comes_with_the_checkpoint(tiny_manifest: Path, tmp_path: Path) -> None:
    recipe = recipe_with(tiny_whisper(tmp_path / "whisper"))
    checkpoint = run(tiny_manifest, tmp_path / "output", recipe=recipe).checkpoint
    assert ActivityPipeline.from_checkpoint(checkpoint).transcriber is not None


def test_a_source_that_is_not_there_is_said_before_the_work(
    tiny_manifest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(train_module, "fit_statistics", lambda *_args: pytest.fail("the clips were decoded"))
    with pytest.raises(SettingsError, match="is no folder"):
        run(tiny_manifest, tmp_path / "output", recipe=recipe_with(tmp_path / "nothing"))
