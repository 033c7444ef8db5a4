from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from models.encoder_config import DepthConfig, ImageConfig, TextConfig, VideoConfig
from models.model import build_model
from models.pretrained.config import PretrainedConfig
from models.pretrained.resolve import resolve_pretrained
from models.pretrained.weights import quiet_transformers
from models.settings import Settings, SettingsError
from tests.models.pretrained.pictures import model_config
from tests.pretrained_factory import tiny_clip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    with quiet_transformers():
        return tiny_clip(tmp_path / "clip")


def test_what_the_source_says_stands_in_the_configuration(folder: Path) -> None:
    config = model_config(folder, "video", frames_per_hop=5)
    assert config.video is not None
    assert (config.video.size, config.video.frames_per_hop) == (32, 5)
    pretrained = config.video.pretrained
    assert pretrained is not None
    assert pretrained.architecture == json.loads((folder / "config.json").read_text(encoding="utf-8"))
    assert pretrained.processor is not None
    assert pretrained.processor["crop_size"] == {"height": 32, "width": 32}
    assert type(config).read(json.loads(config.model_dump_json()), source="model.json") == config
    assert resolve_pretrained(config) is config  # no source is read again


def test_a_recipe_may_repeat_what_the_source_says_and_not_change_it(folder: Path) -> None:
    assert model_config(folder, "video", size=32) == model_config(folder, "video", size=32)
    with pytest.raises(SettingsError, match=r"model\.video\.size is 64, but .* needs 32: leave it out"):
        model_config(folder, "video", size=64)


def test_an_encoder_of_another_size_than_its_processor_is_refused(folder: Path) -> None:
    path = folder / "preprocessor_config.json"
    values = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**values, "crop_size": {"height": 16, "width": 16}}), encoding="utf-8")
    with pytest.raises(SettingsError, match="the processor gives 16 pixels, the encoder takes 32"):
        model_config(folder, "video")


@pytest.mark.parametrize(
    "vision",
    [
        {"num_attention_heads": 3},
        {"num_attention_heads": 0},
        {"hidden_size": "32"},
        {"patch_size": 0},
        {"hidden_act": "none that is known"},
    ],
)
def test_what_cannot_be_built_is_said_to_be_so(folder: Path, vision: dict[str, Any]) -> None:
    path = folder / "config.json"
    values = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**values, "vision_config": {**values["vision_config"], **vision}}), encoding="utf-8")
    with pytest.raises(SettingsError, match=r"the configuration of .* cannot be used"):
        build_model(model_config(folder, "video"))


def test_preprocessing_that_cannot_be_followed_is_said_to_be_so(folder: Path) -> None:
    path = folder / "preprocessor_config.json"
    values = json.loads(path.read_text(encoding="utf-8"))
    faults: list[Any] = [[], {**values, "image_mean": None}, {**values, "size": {"shortest_edge": 0}}]
    for faulty in faults:
        path.write_text(json.dumps(faulty), encoding="utf-8")
        with pytest.raises(SettingsError, match=r"the configuration of .* cannot be used"):
            model_config(folder, "video")


def test_what_a_source_lacks_is_named(folder: Path) -> None:
    (folder / "preprocessor_config.json").unlink()
    with pytest.raises(SettingsError, match="has no image processor that can be read"):
        model_config(folder, "video")
    (folder / "config.json").write_text("[]", encoding="utf-8")
    with pytest.raises(SettingsError, match=r"config\.json holds no object"):
        model_config(folder, "video")
    (folder / "config.json").write_text("{", encoding="utf-8")
    with pytest.raises(SettingsError, match=r"config\.json is no JSON"):
        model_config(folder, "video")


@pytest.mark.parametrize(
    ("settings", "values", "message"),
    [
        (VideoConfig, {"encoder": "pretrained"}, "come together"),
        (TextConfig, {"pretrained": {"source": "x"}}, "come together"),
        (ImageConfig, {"encoder": "vit", "pretrained": {"source": "x"}}, "come together"),
        (DepthConfig, {"encoder": "pretrained", "pretrained": {"source": "x"}}, "depth has no pretrained encoder"),
        (
            VideoConfig,
            {"encoder": "pretrained", "pretrained": {"source": "x"}, "crop": {"left": 0, "top": 0, "side": 0.5}},
            "leave out crop",
        ),
        (PretrainedConfig, {"source": "x", "architecture": {}}, "leave out both"),
        (PretrainedConfig, {"source": "x", "output": "embedding", "tune": "all"}, "tune must be frozen"),
    ],
)
def test_sections_that_do_not_fit_are_refused(settings: type[Settings], values: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        settings.read(values, source="test")
