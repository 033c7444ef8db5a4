"""docs/recipes.md says every key that a recipe can have, and its examples are valid."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import BaseModel, TypeAdapter

from models.config import ModelConfig
from models.encoder_config import VideoConfig
from models.fusion.build import FUSIONS
from models.fusion_config import FusionConfig
from training.recipe import Recipe

TEXT = (Path(__file__).resolve().parent.parent / "docs/recipes.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```yaml\n(.*?)^```", TEXT, flags=re.MULTILINE | re.DOTALL)
RECIPE = BLOCKS[0]
(PRETRAINED,) = (block for block in BLOCKS[1:] if block.startswith("video:"))
(FUSION_LIST,) = (block for block in BLOCKS if block.startswith("- {kind:"))
(SIDE_MODELS,) = (block for block in BLOCKS[1:] if block.startswith("transcriber:"))
(ZERO_SHOT,) = (block for block in BLOCKS[1:] if block.startswith("model:"))


def _settings_below(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
        for field in annotation.model_fields.values():
            yield from _settings_below(field.annotation)
    for argument in getattr(annotation, "__args__", ()):
        yield from _settings_below(argument)


def test_the_example_is_a_recipe() -> None:
    recipe = Recipe.read(yaml.safe_load(RECIPE), source="recipes.md")
    assert recipe.model.modalities == (
        *("video", "audio", "text", "image", "tabular", "depth"),
        *("imu", "pose", "features"),
    )
    assert [stage.name for stage in recipe.curriculum] == ["alone", "pairs", "together"]


def test_the_example_of_labels_that_come_with_the_request_is_a_recipe() -> None:
    model = Recipe.read(yaml.safe_load(ZERO_SHOT), source="recipes.md").model
    assert model.zero_shot is not None
    assert set(model.zero_shot.modalities) == set(model.modalities) == {"video", "audio"}


def test_the_side_models_are_read() -> None:
    config = ModelConfig.read({"labels": ["a", "b"], **yaml.safe_load(SIDE_MODELS)}, source="recipes.md")
    assert config.transcriber is not None
    assert config.captioner is not None


def test_the_list_has_every_fusion() -> None:
    fusions = TypeAdapter(tuple[FusionConfig, ...]).validate_python(yaml.safe_load(FUSION_LIST))
    assert len({fusion.kind for fusion in fusions}) == len(fusions) == len(FUSIONS)


def test_the_pretrained_encoder_is_one() -> None:
    video = yaml.safe_load(PRETRAINED)["video"]
    assert VideoConfig.read(video, source="recipes.md").encoder == "pretrained"


@pytest.mark.parametrize("settings", sorted(set(_settings_below(Recipe)), key=repr))
def test_every_key_is_named(settings: type[BaseModel]) -> None:
    missing = [name for name in settings.model_fields if not re.search(rf"\b{name}\b", TEXT)]
    assert not missing
