"""The recipe's section ``objectives``: which are learned beside the labels, and with which weight."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from models.config import Modality
from models.settings import PositiveInt, Settings

Weight = Annotated[float, Field(ge=0.0, allow_inf_nan=False)]


class ContrastiveConfig(Settings):
    """Symmetric InfoNCE between pairs of modalities; without ``pairs``, every pair the model has.

    ``width`` is the projection's. The learned ``temperature`` begins as stated; its inverse stays in [1, 100].
    With ``chunk_size`` similarities are never held for more than that many windows by that many.
    """

    weight: Weight = 1.0
    pairs: tuple[tuple[Modality, Modality], ...] | None = None
    width: PositiveInt = 128
    temperature: Annotated[float, Field(ge=0.01, le=1.0)] = 0.07
    chunk_size: PositiveInt | None = None

    @model_validator(mode="after")
    def _pairs_of_two(self) -> Self:
        seen = [frozenset(pair) for pair in self.pairs or ()]
        if self.pairs == () or any(len(pair) < 2 for pair in seen) or len(set(seen)) < len(seen):
            raise ValueError("pairs must be at least one, each of two different modalities, and none listed twice")
        return self


class MaskedModalityConfig(Settings):
    """Predicts a modality that was taken away from the fusion of the others; ``hidden`` is the predictors' width."""

    weight: Weight = 1.0
    hidden: PositiveInt = 128


class TemporalOrderConfig(Settings):
    """Says whether a window's hops were shuffled.

    ``shuffle: together`` permutes the hops of all timed modalities alike, so that the order of events has to be known;
    ``one`` permutes those of one modality, drawn for each window, so that it suffices to see them out of step.
    """

    weight: Weight = 1.0
    shuffle: Literal["together", "one"] = "together"
    hidden: PositiveInt = 128


class MatchingConfig(Settings):
    """Says whether a window's modalities belong together.

    ``modalities`` are those that are exchanged between clips; without them, any of the model.
    """

    weight: Weight = 1.0
    modalities: Annotated[tuple[Modality, ...], Field(min_length=1)] | None = None
    hidden: PositiveInt = 128


class ObjectivesConfig(Settings):
    """Each objective is off unless its key is there; its weight multiplies it before it is added to the main loss."""

    contrastive: ContrastiveConfig | None = None
    masked_modality: MaskedModalityConfig | None = None
    temporal_order: TemporalOrderConfig | None = None
    matching: MatchingConfig | None = None
