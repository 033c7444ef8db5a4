"""The configuration of a model small enough to reason about; it needs no torch."""

from __future__ import annotations

from models.config import HeadConfig, ModelConfig
from models.encoder_config import AudioConfig, TextConfig, VideoConfig
from models.fusion_config import CrossAttentionConfig

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
