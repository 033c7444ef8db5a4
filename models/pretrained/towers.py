"""The library's own configuration objects of a source, and of one tower of a source that has two."""

from __future__ import annotations

from typing import Any

import torch

from models.pretrained.config import PretrainedConfig
from models.pretrained.encoder import architecture_of


def tower_config(config: PretrainedConfig, tower: str) -> Any:
    """The transformers configuration of a tower, to build it of in float32.

    Args:
        config: resolved.
        tower: ``audio_config`` or ``text_config``; a source without towers is taken whole.
    """
    from transformers import CONFIG_MAPPING  # noqa: PLC0415 - costs seconds, and only pretrained encoders need it

    architecture = dict(architecture_of(config))
    whole = CONFIG_MAPPING[architecture["model_type"]].from_dict(architecture)
    part = getattr(whole, tower, whole)
    if part is not whole and hasattr(whole, "projection_dim"):
        part.projection_dim = whole.projection_dim  # the joint one counts; a tower's own may be left at its default
    part.dtype = torch.float32  # some were saved in half precision
    return part
