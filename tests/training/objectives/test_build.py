"""From the recipe's section to the objectives."""

from __future__ import annotations

import pytest
import torch

from models.settings import SettingsError
from tests.models.tiny import TINY
from tests.training.objectives.windows import make_windows
from training.objectives.build import build_objectives, objective_losses
from training.objectives.config import ObjectivesConfig

EVERYTHING = {
    "contrastive": {"weight": 0.5, "width": 8},
    "masked_modality": {"weight": 0.25},
    "temporal_order": {"weight": 0.0},
    "matching": {"weight": 2.0},
}


def test_nothing_is_built_unless_asked_for() -> None:
    objectives = build_objectives(ObjectivesConfig(), TINY, 8)
    assert len(objectives) == 0
    assert objective_losses(objectives, make_windows()) == {}


def test_each_is_weighted_and_those_of_no_weight_are_not_computed() -> None:
    inputs = make_windows(width=16)
    objectives = build_objectives(ObjectivesConfig.read(EVERYTHING, source="recipe"), TINY, 3 * 3 * 2 * 16).double()
    assert list(objectives) == list(EVERYTHING)
    torch.manual_seed(1)
    losses = objective_losses(objectives, inputs)
    torch.manual_seed(1)
    contrastive, masked, matching = (
        objectives[name](inputs).item() for name in ("contrastive", "masked_modality", "matching")
    )
    found = {name: loss.item() for name, loss in losses.items()}
    assert found == {"contrastive": 0.5 * contrastive, "masked_modality": 0.25 * masked, "matching": 2.0 * matching}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"contrastive": {"pairs": [["video", "video"]]}}, "each of two different modalities"),
        ({"contrastive": {"pairs": [["video", "audio"], ["audio", "video"]]}}, "none listed twice"),
        ({"contrastive": {"pairs": []}}, "at least one"),
        ({"contrastive": {"temperature": 2.0}}, "less than or equal to 1"),
        ({"temporal_order": {"shuffle": "some"}}, "'together' or 'one'"),
        ({"matching": {"weight": -1.0}}, "greater than or equal to 0"),
        ({"order": {}}, "unknown key 'order'"),
    ],
)
def test_what_makes_no_sense_is_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        ObjectivesConfig.read(settings, source="recipe")


def test_windows_have_to_agree_in_number() -> None:
    inputs = make_windows()
    with pytest.raises(ValueError, match="of the same windows and hops"):
        type(inputs)(inputs.tokens, inputs.masks, inputs.clips[:-1], inputs.fuse)
