from __future__ import annotations

from typing import Any

import pytest

from models.config import DecisionConfig, ModelConfig, WindowConfig
from models.encoder_config import AudioConfig, VideoConfig
from models.settings import SettingsError
from tests.models.tiny import TINY

LABELS = {"labels": ["a", "b"]}


def test_the_defaults_are_consistent() -> None:
    config = ModelConfig(labels=("a", "b"))
    assert config.modalities == ("video", "audio", "text")
    assert config.windows.window_seconds == 2.0
    assert config.hop_samples == 8000


def test_derived_sizes_follow_the_settings() -> None:
    config = ModelConfig(
        labels=("a", "b"),
        windows=WindowConfig(stride_seconds=0.25, hops=6),
        audio=AudioConfig(sample_rate=8000, n_fft=200, hop_length=80),
    )
    assert config.windows.window_seconds == 1.5
    assert config.hop_samples == 2000


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"labels": ["a", "a"]}, "labels must be unique"),
        ({"labels": ["a"]}, "labels"),
        ({**LABELS, "video": None, "audio": None, "text": None}, "at least one of video, audio, text"),
        ({**LABELS, "video": {"size": 60}}, "size 60 must be a multiple of patch_size 16"),
        ({**LABELS, "video": {"frames_per_hop": 3}}, "frames_per_hop 3 must be a multiple of tubelet_frames 2"),
        ({**LABELS, "windows": {"stride_seconds": 0.333}}, "is 5328 samples, which must be a multiple of hop_length"),
        ({**LABELS, "audio": {"hop_length": 500}}, "hop_length 500 must not exceed n_fft 400"),
        ({**LABELS, "decision": {"lookahead_windows": 5}}, "lookahead_windows 5 must be below smoothing_windows 5"),
        ({**LABELS, "decision": {"threshold": 1.5}}, "'decision.threshold' is 1.5"),
        ({**LABELS, "decision": {"threshold": float("nan")}}, "'decision.threshold' is nan"),
        ({**LABELS, "windows": {"stride_seconds": 0.0}}, "'windows.stride_seconds' is 0.0"),
        ({**LABELS, "windows": {"stride_seconds": float("inf")}}, "'windows.stride_seconds' is inf"),
        ({**LABELS, "width": 0}, "'width' is 0"),
        ({**LABELS, "head": {"task": "both"}}, "'head.task' is 'both': input should be 'single_label' or"),
        ({**LABELS, "fusion": {"head": 1}}, "unknown key 'fusion.head' (known keys: cross_depth, heads,"),
    ],
)
def test_what_cannot_be_built_is_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError) as caught:
        ModelConfig.read(values, source="model")
    assert message in str(caught.value)


def test_modalities_stand_in_one_order_and_absent_ones_are_left_out() -> None:
    config = ModelConfig(labels=("a", "b"), audio=None)
    assert config.modalities == ("video", "text")
    with pytest.raises(ValueError, match="no audio"):
        _ = config.hop_samples


def test_a_configuration_goes_through_json_unchanged() -> None:
    config = TINY.model_copy(update={"decision": DecisionConfig(threshold=0.1), "video": VideoConfig(mean=(0, 1, 0.3))})
    assert ModelConfig.read(config.model_dump(mode="json"), source="model.json") == config


def test_a_number_stands_for_labels_without_a_meaning() -> None:
    assert ModelConfig.model_validate({"labels": 3}).labels == ("class_000", "class_001", "class_002")
    with pytest.raises(SettingsError, match="labels"):
        ModelConfig.read({"labels": 1}, source="recipe.yaml")


@pytest.mark.parametrize("name", ["keys", "values", "type", "training", "clip"])
def test_a_sequence_may_not_take_a_name_that_is_needed(name: str) -> None:
    with pytest.raises(SettingsError, match=f"vectors cannot be named {name}"):
        ModelConfig.read({"labels": ["a", "b"], "vectors": {name: {"channels": 1, "rate_hz": 10}}}, source="recipe")


def test_so_many_labels_that_no_memory_holds_them_are_refused() -> None:
    with pytest.raises(SettingsError, match="1000000000 labels are too many"):
        ModelConfig.read({"labels": 1_000_000_000}, source="recipe")
