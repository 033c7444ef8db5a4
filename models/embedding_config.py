"""The configuration of the space that a model's own towers share."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, field_validator

from models.settings import PositiveInt, Settings


class EmbeddingConfig(Settings):
    """A norm and a projection for each modality, so that a window can be embedded by one modality alone.

    ``width`` is E, of the shared space. ``modalities`` are those that are embedded, at least two; without them, all
    that the model has. Trained by ``objectives.contrastive``.
    """

    width: PositiveInt = 128
    modalities: Annotated[tuple[str, ...], Field(min_length=2)] | None = None

    @field_validator("modalities")
    @classmethod
    def _each_once(cls, names: tuple[str, ...] | None) -> tuple[str, ...] | None:
        if names is not None and len(set(names)) < len(names):
            raise ValueError("a modality is listed twice")
        return names
