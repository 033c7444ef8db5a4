"""A recipe: the model and how it is trained, in one YAML file of config/recipes/."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, model_validator

from models.config import ModelConfig
from models.settings import Fraction, PositiveFloat, PositiveInt, Settings


class TrainingConfig(Settings):
    """How the model is trained.

    ``epochs`` passes over the clips; each step takes ``clips_per_batch`` runs of ``hops_per_run`` hops: many short runs
    give a steadier gradient than few long ones, whose windows are alike. A modality is dropped from a whole run with
    probability ``modality_dropout``, never all of them; the loss with one of them alone counts
    ``unimodal_weight``. ``warmup_fraction`` of the steps raise the learning rate from zero, the rest lower it along a
    cosine.
    """

    epochs: PositiveInt = 12
    clips_per_batch: PositiveInt = 40
    hops_per_run: PositiveInt = 5
    learning_rate: PositiveFloat = 1e-3
    weight_decay: Annotated[float, Field(ge=0.0)] = 0.05
    warmup_fraction: Fraction = 0.1
    gradient_clip: PositiveFloat = 1.0
    modality_dropout: Fraction = 0.3
    unimodal_weight: Annotated[float, Field(ge=0.0)] = 1.0
    label_smoothing: Fraction = 0.0
    seed: Annotated[int, Field(ge=0)] = 0


class Recipe(Settings):
    """What ``activity train`` reads; ``name`` and ``version`` are the checkpoint's."""

    name: Annotated[str, Field(min_length=1)] = "activity"
    version: Annotated[str, Field(min_length=1)] = "1.0"
    model: ModelConfig
    training: TrainingConfig = TrainingConfig()

    @model_validator(mode="after")
    def _runs_hold_windows(self) -> Self:
        runs, windows = self.training.hops_per_run, self.model.windows.hops
        if runs < windows:
            raise ValueError(f"training.hops_per_run {runs} must be at least model.windows.hops {windows}")
        return self
