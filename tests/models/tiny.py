"""A model small enough to reason about, seeded."""

from __future__ import annotations

import torch
from tokenizers import Tokenizer

from models.config import ModelConfig
from models.model import ActivityModel, build_model
from models.tokenizer import train_tokenizer
from tests.models.tiny_config import TINY

__all__ = ["TINY", "tiny_model", "tiny_tokenizer"]


def tiny_model(config: ModelConfig = TINY, seed: int = 0) -> ActivityModel:
    """The model of ``config`` with seeded weights, in evaluation mode."""
    torch.manual_seed(seed)
    return build_model(config).eval()


def tiny_tokenizer() -> Tokenizer:
    """A tokenizer over a few words."""
    return train_tokenizer(["stir the soup", "chop the onion", "pour the milk"] * 4, 64)
