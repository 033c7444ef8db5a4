"""A model small enough to reason about, seeded."""

from __future__ import annotations

import torch
from tokenizers import Tokenizer

from models.config import HeadConfig, ModelConfig
from models.encoder_config import AudioConfig, TextConfig, VideoConfig
from models.fusion_config import CrossAttentionConfig
from models.model import ActivityModel, build_model
from models.tokenizer import train_tokenizer

TINY = ModelConfig(
    width=16,
    dropout=0.0,
    labels=("stir", "chop", "pour"),
    video=VideoConfig(frames_per_hop=2, size=16, tubelet_frames=1, patch_size=8, depth=1, heads=2),
    audio=AudioConfig(n_mels=16, channels=(4, 8)),
    text=TextConfig(vocab_size=64, max_tokens=8, depth=1, heads=2),
    fusion=CrossAttentionConfig(heads=2),
    head=HeadConfig(hidden=16),
)


def tiny_model(config: ModelConfig = TINY, seed: int = 0) -> ActivityModel:
    """The model of ``config`` with seeded weights, in evaluation mode."""
    torch.manual_seed(seed)
    return build_model(config).eval()


def tiny_tokenizer() -> Tokenizer:
    """A tokenizer over a few words."""
    return train_tokenizer(["stir the soup", "chop the onion", "pour the milk"] * 4, 64)
