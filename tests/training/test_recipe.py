"""Recipes: each shipped one is read, and what cannot be trained is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from models.settings import SettingsError
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
        ({"model": {}}, r"missing key 'model\.labels'"),
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
