from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from models.checkpoint import read_description
from models.config import ModelConfig
from models.fusion.build import FUSIONS
from models.fusion_config import BottleneckConfig, CrossAttentionConfig, PerceiverConfig
from models.settings import SettingsError

LABELS = {"labels": ["a", "b"]}
DEMO = Path(__file__).parents[2] / "model-store" / "demo"


def test_without_a_kind_it_is_cross_attention() -> None:
    assert ModelConfig.read(LABELS, source="x").fusion == CrossAttentionConfig()
    assert ModelConfig.read({**LABELS, "fusion": {"heads": 2}}, source="x").fusion == CrossAttentionConfig(heads=2)
    assert read_description(DEMO).config.fusion == CrossAttentionConfig(heads=4, temporal_depth=1, cross_depth=1)


def test_the_kind_chooses_and_goes_through_json() -> None:
    config = ModelConfig.read({**LABELS, "fusion": {"kind": "perceiver", "num_latents": 3}}, source="x")
    assert config.fusion == PerceiverConfig(num_latents=3)
    assert ModelConfig.model_validate_json(config.model_dump_json()) == config
    assert ModelConfig(labels=("a", "b"), fusion=PerceiverConfig()).fusion == PerceiverConfig()


@pytest.mark.parametrize(
    ("fusion", "message"),
    [
        (
            {"kind": "perceiver", "latents": 3},
            "unknown key 'fusion.latents' (known keys: depth, heads, kind, learned_length, num_latents, positions)",
        ),
        ({"latents": 3}, "unknown key 'fusion.latents' (known keys: cross_depth, heads, kind, learned_length, "),
        ({"kind": "percever"}, f"'fusion.kind' is 'percever' (known kinds: {', '.join(FUSIONS)})"),
        ({"kind": ["early"]}, "'fusion.kind' is ['early'] (known kinds: early, "),
        (3, "'fusion' is 3: input should be a mapping of keys to values"),
        ({"kind": "late", "combine": "sum"}, "'fusion.combine' is 'sum': input should be 'mean', 'concat' or"),
        ({"positions": "rotary"}, "'fusion.positions' is 'rotary': input should be 'sinusoidal', 'temporal',"),
        ({"kind": "hierarchical", "order": ["audio", "video"]}, "it must name each modality once (video, audio, text)"),
        ({"kind": "gated_cross_attention", "main": "imu"}, "fusion.main is imu: it must be one of video, audio, text"),
        ({"heads": 3}, "width 128 must be a multiple of fusion.heads 3"),
        ({"kind": "bottleneck", "depth": 2}, "bottleneck_layer 1 must be at most depth - 2 = 0"),
    ],
)
def test_what_cannot_be_built_is_refused(fusion: Any, message: str) -> None:
    with pytest.raises(SettingsError) as caught:
        ModelConfig.read({**LABELS, "fusion": fusion}, source="recipe.yaml")
    assert str(caught.value).startswith("recipe.yaml: ")
    assert message in str(caught.value)


def test_the_bottleneck_must_be_read_after_it_is_written() -> None:
    assert BottleneckConfig(depth=2, bottleneck_layer=0).bottleneck_layer == 0
    with pytest.raises(ValidationError, match="what the tokens gather in one layer is read in the next"):
        BottleneckConfig(depth=1, bottleneck_layer=0)
