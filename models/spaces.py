"""Which modalities of a model can be compared with which: one view of towers, whoever trained them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from models.config import Modality, ModelConfig

OWN_SPACE = "own"
"""The space of the towers that a model was trained with."""


@dataclass(frozen=True)
class Space:
    """An embedding space: vectors of length 1 that are compared by their cosine."""

    name: str
    modalities: tuple[Modality, ...]
    """Those whose windows are embedded into it."""
    takes_text: bool
    """Whether a text that somebody asks for can be embedded into it."""


def spaces_of(config: ModelConfig) -> Mapping[str, Space]:
    """The spaces of a model, by name; none where nothing of it can be embedded alone."""
    if config.zero_shot is not None:
        spaces = config.zero_shot.spaces
        return {name: Space(name, space.modalities, takes_text=True) for name, space in spaces.items()}
    if config.embedding is None:
        return {}
    names = config.embedded_modalities
    return {OWN_SPACE: Space(OWN_SPACE, names, takes_text="text" in names)}
