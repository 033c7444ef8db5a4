from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import CLIPModel

from models.model import build_model
from models.pretrained.resolve import load_pretrained
from models.pretrained.weights import quiet_transformers
from models.settings import SettingsError
from tests.models.pretrained.pictures import feed_video, model_config, picture
from tests.pretrained_factory import tiny_clip

NORM = "vision_model.post_layernorm.weight"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    with quiet_transformers():
        return tiny_clip(tmp_path / "clip")


def rewrite(folder: Path, change: Callable[[dict[str, Tensor]], None]) -> None:
    """Change a source's tensors."""
    weights = load_file(folder / "model.safetensors")
    change(weights)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def features(folder: Path) -> Tensor:
    config = model_config(folder, "video", frames_per_hop=1)
    model = build_model(config).eval()
    load_pretrained(model, config)
    backbone: Any = model.encoders["video"].get_submodule("backbone")
    pooled: Tensor = backbone(pixel_values=feed_video(config, [picture(40, 50)])[:, :, 0]).pooler_output
    return pooled


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda it: it.pop(NORM), r"missing: post_layernorm\.weight$"),
        (lambda it: it.update(extra=torch.zeros(1)), r"unexpected: extra$"),
        (lambda it: it.update({NORM: torch.zeros(3)}), r"misshapen: post_layernorm\.weight$"),
        (lambda it: it[NORM].fill_(torch.nan), r"infinite_or_nan: post_layernorm\.weight$"),
    ],
)
def test_tensors_that_do_not_fit_are_named(
    folder: Path, change: Callable[[dict[str, Tensor]], None], message: str
) -> None:
    rewrite(folder, change)
    with pytest.raises(SettingsError, match=message):
        features(folder)


def test_a_file_that_is_no_safetensors_is_said(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(b"nothing of the kind")
    with pytest.raises(SettingsError, match="cannot be read"):
        features(folder)


def test_half_precision_shards_and_old_files_load_alike(folder: Path) -> None:
    expected = features(folder)
    rewrite(folder, lambda it: it.update({"vision_model.embeddings.position_ids": torch.arange(5)[None]}))
    old = {
        "crop_size": 32,
        "do_center_crop": True,
        "do_normalize": True,
        "do_resize": True,
        "feature_extractor_type": "CLIPFeatureExtractor",
        "image_mean": [0.48145466, 0.4578275, 0.40821073],
        "image_std": [0.26862954, 0.26130258, 0.27577711],
        "resample": 3,
        "size": 32,
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(old), encoding="utf-8")
    assert torch.equal(features(folder), expected)
    with quiet_transformers():
        model = CLIPModel.from_pretrained(folder)
        (folder / "model.safetensors").unlink()
        model.save_pretrained(folder, max_shard_size="40KB")
        assert len(list(folder.glob("*.safetensors"))) > 1
        assert torch.equal(features(folder), expected)
        for shard in folder.glob("model*"):
            shard.unlink()
        model.half().save_pretrained(folder)
    halved = features(folder)
    assert halved.dtype == torch.float32
    torch.testing.assert_close(halved, expected, atol=0.01, rtol=0.0)
