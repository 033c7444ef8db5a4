from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoImageProcessor, AutoModelForVideoClassification

from models.model import build_model
from models.pretrained.resolve import load_pretrained
from models.pretrained.weights import quiet_transformers
from models.settings import SettingsError
from tests.models.pretrained.pictures import SIZES, feed_video, model_config, picture
from tests.pretrained_factory import tiny_timesformer, tiny_videomae, tiny_videomae_pretraining, tiny_vivit

MAKERS = {"videomae": (tiny_videomae, 4, 2), "vivit": (tiny_vivit, 4, 1), "timesformer": (tiny_timesformer, 3, 1)}
"""How each is made, its frames a clip, and its tokens a hop."""


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    with quiet_transformers():
        return {name: make(tmp_path_factory.mktemp(name)) for name, (make, *_) in MAKERS.items()}


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("name", MAKERS)
def test_inputs_are_those_of_the_processor(folders: dict[str, Path], name: str, size: tuple[int, int]) -> None:
    num_frames = MAKERS[name][1]
    frames = [picture(*size, seed=seed) for seed in range(num_frames)]
    config = model_config(folders[name], "video")
    assert config.video is not None
    assert config.video.frames_per_hop == num_frames
    with quiet_transformers():
        processor = AutoImageProcessor.from_pretrained(folders[name])
    pixels = torch.from_numpy(np.asarray(processor(frames, input_data_format="channels_first")["pixel_values"][0]))
    fed = feed_video(config, frames)
    torch.testing.assert_close(fed[0].transpose(0, 1), pixels, atol=1e-5, rtol=0.0)


@pytest.mark.parametrize("name", MAKERS)
def test_from_the_features_the_library_s_classifier_gives_its_own_logits(folders: dict[str, Path], name: str) -> None:
    _, num_frames, num_tokens = MAKERS[name]
    config = model_config(folders[name], "video")
    model = build_model(config).eval()
    load_pretrained(model, config)
    video = torch.randn(2, 3, num_frames, 32, 32)
    encoder: Any = model.encoders["video"]
    features = encoder.features(video)
    assert features.shape == (2, num_tokens, 16)
    with quiet_transformers(), torch.no_grad():
        whole = AutoModelForVideoClassification.from_pretrained(folders[name]).eval()
        expected = whole(pixel_values=video.transpose(1, 2)).logits
        read = features.mean(dim=1)
        logits = whole.classifier(whole.fc_norm(read) if name == "videomae" else read)
    torch.testing.assert_close(logits, expected, atol=1e-5, rtol=0.0)
    assert model.encode("video", video).shape == (2, num_tokens, 24)


def test_tokens_are_in_the_order_of_time(folders: dict[str, Path]) -> None:
    config = model_config(folders["videomae"], "video")
    encoder: Any = build_model(config).eval().encoders["video"]
    load = encoder.backbone.encoder.layer
    for layer in load:  # without attention a step's token is made of that step's patches alone
        torch.nn.init.zeros_(layer.attention.output.dense.weight)
    video = torch.randn(1, 3, 4, 32, 32)
    changed = video.clone()
    changed[:, :, 2:] += 1.0
    difference = (encoder.features(changed) - encoder.features(video)).abs().amax(dim=(0, 2))
    assert difference[0] < 1e-6
    assert difference[1] > 0.01


def test_what_was_trained_without_a_classifier_loads_without_its_decoder(tmp_path: Path) -> None:
    with quiet_transformers():
        tiny_videomae_pretraining(tmp_path)
    config = model_config(tmp_path, "video")
    load_pretrained(build_model(config), config)


def test_another_number_of_frames_is_refused(folders: dict[str, Path]) -> None:
    with pytest.raises(SettingsError, match=r"frames_per_hop is 2, but .* needs 4: leave it out"):
        model_config(folders["videomae"], "video", frames_per_hop=2)


def test_a_clip_encoder_is_none_for_pictures(folders: dict[str, Path]) -> None:
    with pytest.raises(SettingsError, match=r"'videomae', which is no encoder for image\. Known are clip, dinov2"):
        model_config(folders["videomae"], "image")
