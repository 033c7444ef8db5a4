"""Every file under config/ is one that something loads."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from handler.limits import HandlerSettings
from models.config import ModelConfig
from models.model import build_model
from training.recipe import Recipe

CONFIG = Path(__file__).parents[1] / "config"
RECIPES = sorted((CONFIG / "recipes").iterdir())


def test_there_is_nothing_else_under_config() -> None:
    assert sorted(path.name for path in CONFIG.iterdir()) == [
        *("grafana-dashboard.json", "log4j2.xml", "metrics.yaml", "model-config.yaml", "nginx.conf.template"),
        *("prometheus-alerts.yml", "recipes", "splits"),
    ]
    assert "demo.yaml" in [path.name for path in RECIPES]


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.name)
def test_a_recipe_loads_and_says_how_it_is_used(path: Path) -> None:
    assert path.suffix == ".yaml"
    recipe = Recipe.read_yaml(path)
    assert isinstance(recipe.model, ModelConfig)
    made_by = "train" if recipe.model.zero_shot is None else "assemble"
    assert f"activity {made_by} config/recipes/{path.name}" in path.read_text(encoding="utf-8")


def test_the_demos_weights_stay_below_ten_megabytes() -> None:
    model = build_model(Recipe.read_yaml(CONFIG / "recipes" / "demo.yaml").model)
    assert sum(tensor.numel() * tensor.element_size() for tensor in model.state_dict().values()) <= 10_000_000


def test_the_handlers_section_is_what_the_handler_reads() -> None:
    values = yaml.safe_load((CONFIG / "model-config.yaml").read_text(encoding="utf-8"))
    assert HandlerSettings.read(values["handler"], source="model-config.yaml") == HandlerSettings()
    assert values["handler"].keys() == HandlerSettings.model_fields.keys()
