from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torchvision.models.video import S3D, MViT, S3D_Weights, SwinTransformer3d
from torchvision.models.video.mvit import MSBlockConfig
from torchvision.transforms._presets import VideoClassification

from models.model import build_model
from models.pretrained import torchvision_folder
from models.pretrained.resolve import load_pretrained
from models.pretrained.torchvision_folder import save_torchvision
from models.settings import SettingsError
from tests.models.pretrained.pictures import SIZES, feed_video, model_config, picture

CROP = 32


def tiny_mvit() -> MViT:
    """MViT of width 16, two blocks, for clips of 4 frames of 32 x 32 pixels."""
    pooling = {"kernel_q": [3, 3, 3], "kernel_kv": [3, 3, 3], "stride_q": [1, 1, 1], "stride_kv": [1, 1, 1]}
    blocks = [MSBlockConfig(2, 16, 16, **pooling) for _ in range(2)]
    return MViT((CROP, CROP), 4, blocks, residual_pool=False, residual_with_cls_embed=True, rel_pos_embed=False,
                proj_after_attn=False, num_classes=5)  # fmt: skip


def tiny_swin() -> SwinTransformer3d:
    """Swin3D of width 12, two blocks, for any clip."""
    return SwinTransformer3d([2, 4, 4], 12, [2], [2], [2, 2, 2], num_classes=5)


TINY = {"mvit_tiny": tiny_mvit, "swin3d_tiny": tiny_swin}


@pytest.fixture(params=["s3d", *TINY])
def source(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Any]:
    """A folder and torchvision's own model with the same weights."""
    torch.manual_seed(0)
    name: str = request.param
    if name == "s3d":
        model: Any = S3D(num_classes=5)
        save_torchvision(name, model.state_dict(), tmp_path, num_frames=14)
        return tmp_path, model.eval()
    preset = partial(VideoClassification, crop_size=(CROP, CROP), resize_size=(40,))
    monkeypatch.setattr(torchvision_folder, "preset_of", lambda _: preset())
    monkeypatch.setattr(torchvision_folder, "build_torchvision", lambda name: TINY[name]())
    model = TINY[name]()
    save_torchvision(name, model.state_dict(), tmp_path, num_frames=4)
    return tmp_path, model.eval()


def test_the_features_are_what_torchvision_s_classifier_reads(source: tuple[Path, Any]) -> None:
    folder, whole = source
    config = model_config(folder, "video")
    assert config.video is not None
    model = build_model(config).eval()
    load_pretrained(model, config)
    num_frames = 14 if isinstance(whole, S3D) else 4
    assert config.video.frames_per_hop == num_frames
    video = torch.randn(1, 3, num_frames, config.video.size, config.video.size)
    encoder: Any = model.encoders["video"]
    with torch.no_grad():
        features = encoder.features(video)
        assert features.shape[:2] == (1, 1)
        head = whole.classifier if isinstance(whole, S3D) else whole.head
        read = features[:, 0, :, None, None, None] if isinstance(whole, S3D) else features[:, 0]
        torch.testing.assert_close(head(read).flatten(1), whole(video), atol=1e-5, rtol=0.0)


@pytest.mark.parametrize("size", [*SIZES, (300, 260)], ids=str)
def test_inputs_are_those_of_torchvision_s_preset(tmp_path: Path, size: tuple[int, int]) -> None:
    save_torchvision("s3d", {"classifier.1.weight": torch.zeros(400, 1)}, tmp_path)
    config = model_config(tmp_path, "video")
    frames = [picture(*size, seed=seed) for seed in range(2)]
    expected = S3D_Weights.KINETICS400_V1.transforms()(torch.stack([torch.from_numpy(frame) for frame in frames]))
    torch.testing.assert_close(feed_video(config, frames)[0], expected, atol=1e-5, rtol=0.0)


def test_a_folder_says_what_torchvision_says_of_its_weights(tmp_path: Path) -> None:
    save_torchvision("swin3d_t", {"head.weight": torch.zeros(400, 768)}, tmp_path)
    assert json.loads((tmp_path / "config.json").read_text(encoding="utf-8")) == {
        "model_type": "torchvision",
        "name": "swin3d_t",
        "num_classes": 400,
        "num_frames": 32,
        "resize_size": [256],
        "crop_size": [224, 224],
        "mean": [0.485, 0.456, 0.406],
        "std": [0.229, 0.224, 0.225],
        "interpolation": "bilinear",
    }


def test_weights_of_another_model_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="r3d_18 is no encoder that is known: s3d"):
        save_torchvision("r3d_18", {}, tmp_path)
    with pytest.raises(SettingsError, match="torchvision has no video model s3d_large"):
        save_torchvision("s3d_large", {}, tmp_path)
    with pytest.raises(SettingsError, match=r"have no tensor classifier\.\*"):
        save_torchvision("s3d", {"head.weight": torch.zeros(1, 1)}, tmp_path)
    save_torchvision("s3d", S3D(num_classes=5).state_dict(), tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    del weights["features.2.0.weight"]
    save_file(weights, tmp_path / "model.safetensors")
    config = model_config(tmp_path, "video")
    with pytest.raises(SettingsError, match=r"missing: features\.2\.0\.weight$"):
        load_pretrained(build_model(config), config)
