from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import CLIPImageProcessor, ViTImageProcessor, VivitImageProcessor

from models.pretrained.config import PretrainedConfig
from models.pretrained.pictures import (
    KIND,
    build_geometry,
    build_image_processor,
    read_image_processor,
    settle_pictures,
)
from models.settings import SettingsError
from tests.models.pretrained.pictures import picture

SQUARE = {"height": 16, "width": 16}


def resolved(processor: Any, **changed: Any) -> PretrainedConfig:
    values = {**processor.to_dict(), KIND: type(processor).__name__, **changed}
    return PretrainedConfig(source="x", architecture={}, processor=values)


@pytest.mark.parametrize(
    "processor",
    [
        ViTImageProcessor(size=SQUARE),
        ViTImageProcessor(size=SQUARE, do_rescale=False),
        ViTImageProcessor(size=SQUARE, do_normalize=False),
        ViTImageProcessor(size=SQUARE, do_rescale=False, do_normalize=False),
        VivitImageProcessor(size=SQUARE, crop_size=SQUARE),
        VivitImageProcessor(size=SQUARE, crop_size=SQUARE, offset=False, do_normalize=False),
    ],
    ids=["usual", "no_rescale", "no_normalize", "neither", "vivit", "vivit_no_offset"],
)
def test_scale_mean_and_deviation_are_the_processor_s(processor: Any) -> None:
    frame = picture(20, 30)
    config = resolved(processor)
    settled = settle_pictures(config)
    assert settled["size"] == 16
    colours = torch.from_numpy(build_geometry(config)(frame)) / 255.0
    mean, std = (torch.tensor(settled[name])[:, None, None] for name in ("mean", "std"))
    batch = processor([frame], input_data_format="channels_first", return_tensors="np")["pixel_values"]
    expected = torch.from_numpy(np.asarray(batch)).float().view(3, 16, 16)
    scale = expected.abs().max()
    torch.testing.assert_close((colours - mean) / std / scale, expected / scale, atol=1e-6, rtol=0.0)


@pytest.mark.parametrize(
    "processor",
    [
        CLIPImageProcessor(size={"shortest_edge": 16}, do_center_crop=False),
        CLIPImageProcessor(size={"shortest_edge": 16}, crop_size={"height": 8, "width": 12}),
    ],
    ids=["as_wide_as_it_comes", "oblong"],
)
def test_what_is_no_square_is_refused(processor: Any) -> None:
    with pytest.raises(SettingsError, match="needed is one square size, whatever comes in"):
        settle_pictures(resolved(processor))


def test_code_of_a_source_is_never_run_nor_offered_to_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("builtins.input", pytest.fail)
    (tmp_path / "own.py").write_text("raise SystemExit('it ran')")
    own = {KIND: "OwnProcessor", "auto_map": {"AutoImageProcessor": "own.OwnProcessor"}}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(own))
    with pytest.raises(SettingsError, match="has no image processor that can be read"):
        read_image_processor(tmp_path)


def test_a_checkpoint_cannot_name_any_class() -> None:
    with pytest.raises(SettingsError, match="the processor Trainer is none of CLIPImageProcessor"):
        build_image_processor({KIND: "Trainer"})
