"""Pictures of several sizes, and models that look at them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from handler.transform import Transforms
from models.config import ModelConfig
from models.encoder_config import VideoConfig
from models.pretrained.pictures import build_geometry
from models.pretrained.resolve import resolve_pretrained

SIZES = ((48, 64), (64, 48), (37, 51), (20, 24), (32, 32), (9, 80))
"""Heights and widths: landscape, portrait, odd, smaller than the crop, as it is, very wide."""


def picture(height: int, width: int, *, seed: int = 0) -> NDArray[np.uint8]:
    """Noise: what a wrong filter or a crop that is one pixel off cannot hide in."""
    return np.random.default_rng(seed).integers(0, 256, (3, height, width), dtype=np.uint8)


def model_config(source: Path, *modalities: str, **video: Any) -> ModelConfig:
    """A resolved model of ``modalities``, all of one source."""
    pretrained = video.pop("pretrained", {})
    section = {"encoder": "pretrained", "pretrained": {"source": str(source), **pretrained}}
    config = ModelConfig.read(
        {
            "width": 24,
            "labels": 3,
            "video": {**section, **video} if "video" in modalities else None,
            "image": section if "image" in modalities else None,
            "audio": None,
            "text": None,
            "fusion": {"kind": "late"},
        },
        source="test",
    )
    return resolve_pretrained(config)


def feed_video(config: ModelConfig, frames: list[NDArray[np.uint8]]) -> torch.Tensor:
    """What the encoder takes of one hop of frames of any sizes: ``(1, 3, T, H, W)`` float32."""
    video = config.video
    assert isinstance(video, VideoConfig)
    assert video.pretrained is not None
    geometry = build_geometry(video.pretrained)
    scaled = np.stack([geometry(frame) for frame in frames])
    assert scaled.dtype == np.uint8
    assert scaled.shape[1:] == (3, video.size, video.size)
    (fed,) = Transforms(config, None).prepare("video", torch.from_numpy(scaled)[None])
    return fed
