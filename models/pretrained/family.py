"""What the rest of the package has to know of an architecture."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from models.pretrained.config import PretrainedConfig
from models.pretrained.encoder import PretrainedEncoder


@dataclass(frozen=True)
class Family:
    """How encoders of one architecture are described, built and fed, for one modality."""

    build: Callable[..., PretrainedEncoder]
    """From a resolved configuration, the model's width and what :func:`models.pretrained.build.build_pretrained` passes
    on, to an encoder with random weights."""
    read_processor: Callable[[Path], dict[str, Any]]
    """A source's preprocessing, as plain JSON values, from its folder."""
    settle: Callable[[PretrainedConfig], Mapping[str, Any]]
    """From a resolved configuration to the keys of the modality's settings that follow from the source."""
    limits: Callable[[PretrainedConfig], Mapping[str, int]] = lambda _: {}
    """From a resolved configuration to the keys whose value the recipe may lower; else it is this one."""
    sees_time: bool = False
    """Whether it sees more than one moment, so that ``span: window`` gives it more to see."""
    has_embedding: bool = False
    """Whether it can give ``output: embedding``."""
