from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional
from transformers import AutoImageProcessor, AutoModel

from models.model import build_model
from models.pretrained.resolve import load_pretrained
from models.pretrained.weights import quiet_transformers
from models.settings import SettingsError
from tests.models.pretrained.pictures import SIZES, feed_video, model_config, picture
from tests.pretrained_factory import tiny_clip, tiny_dinov2, tiny_siglip

MAKERS = {"clip": tiny_clip, "siglip": tiny_siglip, "dinov2": tiny_dinov2}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    with quiet_transformers():
        return {name: make(tmp_path_factory.mktemp(name)) for name, make in MAKERS.items()}


def library_pooled(folder: Path, pixels: Tensor) -> Tensor:
    """The summary that the library's own model gives of pictures."""
    with quiet_transformers(), torch.no_grad():
        model = AutoModel.from_pretrained(folder).eval()
        pooled: Tensor = getattr(model, "vision_model", model)(pixels).pooler_output
        return pooled


@pytest.mark.parametrize("name", MAKERS)
def test_encoder_and_inputs_are_those_of_the_library(folders: dict[str, Path], name: str) -> None:
    frames = [picture(*size, seed=seed) for seed, size in enumerate(SIZES)]
    config = model_config(folders[name], "video", frames_per_hop=len(frames))
    with quiet_transformers():
        processor = AutoImageProcessor.from_pretrained(folders[name])
    pixels = processor(frames, return_tensors="pt")["pixel_values"]
    fed = feed_video(config, frames)
    torch.testing.assert_close(fed[0].transpose(0, 1), pixels, atol=1e-5, rtol=0.0)
    model = build_model(config).eval()
    encoder: Any = model.encoders["video"]
    load_pretrained(model, config)
    features = encoder.features(fed)
    assert features.shape == (1, len(frames), 16)
    torch.testing.assert_close(features[0], library_pooled(folders[name], pixels), atol=1e-5, rtol=0.0)
    assert model.encode("video", fed).shape == (1, len(frames), 24)


@pytest.mark.parametrize("name", ["clip", "siglip"])
def test_the_joint_embedding_is_the_library_s_of_length_1(folders: dict[str, Path], name: str) -> None:
    config = model_config(folders[name], "image", pretrained={"output": "embedding"})
    model = build_model(config).eval()
    load_pretrained(model, config)
    pixels = torch.randn(2, 3, 32, 32)
    with quiet_transformers(), torch.no_grad():
        whole = AutoModel.from_pretrained(folders[name]).eval()
        expected = functional.normalize(whole.get_image_features(pixel_values=pixels).pooler_output, dim=-1)
    embedding = model.encode("image", pixels)
    encoder: Any = model.encoders["image"]
    assert embedding.shape == (2, 1, encoder.embedding_width)
    torch.testing.assert_close(embedding[:, 0], expected, atol=1e-5, rtol=0.0)


def test_dinov2_has_no_joint_embedding(folders: dict[str, Path]) -> None:
    with pytest.raises(SettingsError, match="has no embedding that words share"):
        model_config(folders["dinov2"], "video", pretrained={"output": "embedding"})


def test_each_hop_is_encoded_for_itself(folders: dict[str, Path]) -> None:
    config = model_config(folders["clip"], "video", frames_per_hop=2)
    model = build_model(config).eval()
    hops = torch.randn(3, 3, 2, 32, 32)
    together = model.encode("video", hops)
    alone = torch.cat([model.encode("video", hop[None]) for hop in hops])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=0.0)
