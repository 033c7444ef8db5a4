from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from transformers import AutoImageProcessor, AutoModel

from handler.transform import Transforms
from models.config import ModelConfig
from models.model import build_model
from models.pretrained.pictures import build_geometry
from models.pretrained.resolve import load_pretrained, resolve_pretrained
from models.pretrained.weights import quiet_transformers
from tests.pretrained_factory import tiny_clip

SIZES = ((48, 64), (64, 48), (37, 51), (20, 24), (32, 32), (9, 80))
"""Heights and widths: landscape, portrait, odd, smaller than the crop, as it is, very wide."""


def pictures() -> list[NDArray[np.uint8]]:
    generator = np.random.default_rng(0)
    return [generator.integers(0, 256, (3, height, width), dtype=np.uint8) for height, width in SIZES]


def model_config(folder: Path, **pretrained: Any) -> ModelConfig:
    section = {"encoder": "pretrained", "pretrained": {"source": str(folder), **pretrained}}
    config = ModelConfig.read(
        {
            "width": 24,
            "labels": 3,
            "video": {**section, "frames_per_hop": 3},
            "image": section,
            "audio": None,
            "text": None,
            "fusion": {"kind": "late"},
        },
        source="test",
    )
    return resolve_pretrained(config)


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_clip(tmp_path_factory.mktemp("clip"))


def whole_pipeline(folder: Path, picture: NDArray[np.uint8]) -> tuple[torch.Tensor, Any]:
    """What the library's own processor and model give of a picture."""
    with quiet_transformers(), torch.no_grad():
        pixels = AutoImageProcessor.from_pretrained(folder)([picture], return_tensors="pt")["pixel_values"]
        return pixels, AutoModel.from_pretrained(folder).eval()


@pytest.mark.parametrize("picture", pictures(), ids=lambda it: f"{it.shape[1]}x{it.shape[2]}")
def test_what_clip_is_fed_is_what_its_processor_gives(clip: Path, picture: NDArray[np.uint8]) -> None:
    config = model_config(clip)
    assert config.image is not None
    assert config.image.pretrained is not None
    scaled = build_geometry(config.image.pretrained)(picture)
    assert (scaled.dtype, scaled.shape) == (np.uint8, (3, 32, 32))
    pixels, model = whole_pipeline(clip, picture)
    (image,) = Transforms(config, None).prepare("image", torch.from_numpy(scaled)[None])
    torch.testing.assert_close(image, pixels, atol=1e-5, rtol=0.0)
    encoder: Any = build_model(config).eval().encoders["image"]
    encoder.load(clip)
    with torch.no_grad():
        torch.testing.assert_close(
            encoder.features(image)[:, 0], model.vision_model(pixels).pooler_output, atol=1e-5, rtol=0.0
        )


def test_frames_are_tokens_in_order(clip: Path) -> None:
    config = model_config(clip)
    model = build_model(config).eval()
    load_pretrained(model, config)
    encoder: Any = model.encoders["video"]
    video = torch.randn(2, 3, 3, 32, 32)
    features = encoder.features(video)
    assert features.shape == (2, 3, 16)
    alone = torch.stack([encoder.features(video[:, :, time])[:, 0] for time in range(3)], dim=1)
    torch.testing.assert_close(features, alone, atol=1e-5, rtol=0.0)
    assert model.encode("video", video).shape == (2, 3, 24)
