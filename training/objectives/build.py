"""From the recipe's section to the objectives, and to their weighted sum."""

from __future__ import annotations

from torch import Tensor, nn

from models.config import ModelConfig
from training.objectives.base import Objective, ObjectiveInput
from training.objectives.config import ObjectivesConfig
from training.objectives.contrastive import Contrastive
from training.objectives.masked_modality import MaskedModality
from training.objectives.matching import Matching
from training.objectives.temporal_order import TemporalOrder


def build_objectives(config: ObjectivesConfig, model: ModelConfig, fused_width: int) -> nn.ModuleDict:
    """The objectives that ``config`` asks for, by name; empty when it asks for none.

    Args:
        config: the recipe's section.
        model: the model they train.
        fused_width: ``output_width`` of its fusion.

    Raises:
        SettingsError: when an objective needs a modality that the model does not have.
    """
    objectives: dict[str, Objective] = {}
    if config.contrastive is not None:
        modalities = model.embedded_modalities or model.modalities
        own_width = None if model.embedding is not None else model.width
        objectives["contrastive"] = Contrastive(config.contrastive, modalities, width=own_width)
    if config.masked_modality is not None:
        objectives["masked_modality"] = MaskedModality(
            config.masked_modality, model.modalities, width=model.width, fused_width=fused_width
        )
    if config.temporal_order is not None:
        objectives["temporal_order"] = TemporalOrder(config.temporal_order, model.modalities, fused_width=fused_width)
    if config.matching is not None:
        objectives["matching"] = Matching(config.matching, model.modalities, fused_width=fused_width)
    return nn.ModuleDict(objectives)


def objective_losses(objectives: nn.ModuleDict, inputs: ObjectiveInput) -> dict[str, Tensor]:
    """The weighted loss of each objective, by name, to be summed; those of weight 0 are left out."""
    losses: dict[str, Tensor] = {}
    for name, objective in objectives.items():
        assert isinstance(objective, Objective)  # noqa: S101 - build_objectives puts nothing else in
        if objective.weight:
            losses[name] = objective.weight * objective(inputs)
    return losses
