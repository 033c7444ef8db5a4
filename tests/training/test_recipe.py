"""Recipes: each shipped one is read, and what cannot be trained is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from models.model import build_model
from models.settings import SettingsError
from training.objectives.build import build_objectives
from training.recipe import Recipe

RECIPES = sorted((Path(__file__).parents[2] / "config" / "recipes").glob("*.yaml"))
MODEL = {"labels": ["a", "b"]}


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.name)
def test_every_shipped_recipe_is_read(path: Path) -> None:
    recipe = Recipe.read_yaml(path)
    assert Recipe.model_validate_json(recipe.model_dump_json()) == recipe


def test_there_is_a_recipe() -> None:
    assert "demo.yaml" in [path.name for path in RECIPES]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, r"^r\.yaml: missing key 'model'$"),
        ({"model": {}}, r"'model' is {}: labels must be at least 2, got 0"),
        ({"model": MODEL, "name": ""}, r"'name' is ''"),
        ({"model": MODEL, "version": 1.0}, r"'version' is 1\.0"),
        ({"model": MODEL, "training": {"seed": -1}}, r"'training\.seed' is -1"),
        ({"model": MODEL, "training": {"epochs": 0}}, r"'training\.epochs' is 0"),
        ({"model": MODEL, "training": {"dropout": 0.1}}, r"unknown key 'training\.dropout' \(known keys: .*epochs"),
        (
            {"model": {**MODEL, "windows": {"hops": 6}}, "training": {"hops_per_run": 5}},
            r"training\.hops_per_run 5 must be at least model\.windows\.hops 6",
        ),
    ],
)
def test_what_cannot_be_trained(values: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        Recipe.read(values, source="r.yaml")


def test_a_run_may_be_one_window() -> None:
    recipe = Recipe.read({"model": {**MODEL, "windows": {"hops": 5}}, "training": {"hops_per_run": 5}}, source="r")
    assert recipe.training.hops_per_run == recipe.model.windows.hops == 5


TOWERS = {"labels": 2, "embedding": {"width": 32}}


@pytest.mark.parametrize(
    ("contrastive", "message"),
    [
        (None, "model.embedding is trained by objectives.contrastive"),
        ({"weight": 0}, "model.embedding is trained by objectives.contrastive"),
        ({"pairs": [["video", "audio"]]}, "pairs are of audio, video, model.embedding of audio, text, video"),
        ({"width": 64}, "objectives.contrastive.width 64 is not model.embedding.width 32"),
    ],
)
def test_towers_that_nothing_trains_are_refused(contrastive: dict[str, object] | None, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        Recipe.read({"model": TOWERS, "objectives": {"contrastive": contrastive}}, source="x")


def test_towers_are_trained_by_the_contrastive_objective() -> None:
    recipe = Recipe.read({"model": TOWERS, "objectives": {"contrastive": {}}}, source="x")
    model = build_model(recipe.model)
    objectives = build_objectives(recipe.objectives, recipe.model, 1)
    assert [name for name, _ in objectives.named_parameters()] == ["contrastive.log_scales"]
    assert model.embedding is not None
