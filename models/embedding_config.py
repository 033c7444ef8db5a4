"""The configuration of the space that a model's own towers share."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, field_validator

from models.settings import PositiveFloat, PositiveInt, Settings

USUAL_SCALE = 1 / 0.07
"""What cosines are multiplied by where it was not fitted: where CLIP's training begins."""


class EmbeddingConfig(Settings):
    """A norm and a projection for each modality, so that a window can be embedded by one modality alone.

    ``width`` is E, of the shared space. ``modalities`` are those that are embedded, at least two; without them, all
    that the model has. Trained by ``objectives.contrastive``. ``scales``: for pairs of them, such as ``audio+text``,
    what a cosine is multiplied by to be evidence; the training fits them to the validation split.
    """

    width: PositiveInt = 128
    modalities: Annotated[tuple[str, ...], Field(min_length=2)] | None = None
    scales: dict[str, PositiveFloat] = Field(default_factory=dict)

    def scale(self, one: str, other: str) -> float:
        """What the cosine of two modalities' windows is multiplied by.

        Within one modality nothing was trained: these cosines count as much as the best pair's.
        """
        fitted = self.scales.get(pair_key(one, other))
        if fitted is None and one == other:
            fitted = max(self.scales.values(), default=None)
        return USUAL_SCALE if fitted is None else fitted

    @field_validator("modalities")
    @classmethod
    def _each_once(cls, names: tuple[str, ...] | None) -> tuple[str, ...] | None:
        if names is not None and len(set(names)) < len(names):
            raise ValueError("a modality is listed twice")
        return names


def pair_key(one: str, other: str) -> str:
    """What a pair is called in ``scales``, whichever comes first."""
    return "+".join(sorted((one, other)))
