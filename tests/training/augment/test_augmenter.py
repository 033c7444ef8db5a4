"""The augmenter: off by default, the same again from the same seed, and one draw a run."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from models.config import ModelConfig
from models.encoder_config import DepthConfig, ImageConfig, VectorConfig
from models.settings import SettingsError
from tests.models.tiny import TINY
from training.augment.augmenter import Augmenter
from training.augment.config import AugmentationConfig

MODEL = ModelConfig.model_validate(
    TINY.model_dump()
    | {
        "image": ImageConfig(size=16).model_dump(),
        "depth": DepthConfig(frames_per_hop=2, size=16, patch_size=8).model_dump(),
        "vectors": {"imu": VectorConfig(channels=3, rate_hz=20.0).model_dump()},
    }
)
PICTURE = {"crop_scale": [0.4, 0.9], "flip": True, "brightness": 0.3, "contrast": 0.3, "saturation": 0.3}
EVERYTHING: dict[str, Any] = {
    "video": PICTURE | {"shift_frames": 1, "drop_frames": 0.2},
    "depth": PICTURE,
    "image": PICTURE,
    "audio": {
        "noise": ["white", "pink", "mix"],
        "gain_db": [-6, 6],
        "polarity": True,
        "shift_seconds": 0.05,
        "time_masks": 2,
        "frequency_masks": 2,
        "stretch": [0.8, 1.2],
    },
    "text": {"word_dropout": 0.5},
    "vectors": {"imu": {"gain": [0.8, 1.25], "axis_gain": 0.05, "noise": 0.05}},
}
RUNS, HOPS = 4, 5


def make_raw() -> dict[str, tuple[Tensor, ...]]:
    """A run batch's tensors by modality, each run's hops all alike."""
    torch.manual_seed(0)

    def frames(*shape: int) -> tuple[Tensor, ...]:
        return (torch.randint(0, 256, (RUNS, 1, *shape), dtype=torch.uint8).expand(RUNS, HOPS, *shape),)

    ids = torch.randint(2, 60, (RUNS, 1, 8)).expand(RUNS, HOPS, 8)
    return {
        "video": frames(2, 3, 16, 16),
        "depth": frames(2, 1, 16, 16),
        "image": frames(3, 16, 16),
        "audio": (torch.randn(RUNS, HOPS, 8240),),
        "text": (ids, torch.ones_like(ids, dtype=torch.bool)),
        "imu": (torch.randn(RUNS, 1, 10, 3).expand(RUNS, HOPS, 10, 3),),
    }


def augmenter(settings: dict[str, Any]) -> Augmenter:
    return Augmenter(AugmentationConfig.read(settings, source="augmentation"), MODEL)


def test_by_default_nothing_changes_and_nothing_is_drawn() -> None:
    raw, masks = make_raw(), torch.ones(RUNS, HOPS, dtype=torch.bool)
    sections: dict[str, Any] = {name: {} for name in ("video", "depth", "image", "audio", "text")}
    state = torch.get_rng_state()
    for settings in ({}, sections | {"vectors": {"imu": {}}}):
        for name, tensors in raw.items():
            found = augmenter(settings).raw(name, tensors, masks)
            assert all(one.data_ptr() == other.data_ptr() for one, other in zip(found, tensors, strict=True))
            assert all(one.equal(other) for one, other in zip(found, tensors, strict=True))
        log_mel = (torch.zeros(RUNS * HOPS, 16, 50),)
        assert augmenter(settings).prepared("audio", log_mel, masks)[0].equal(log_mel[0])
    assert torch.get_rng_state().equal(state)


@pytest.mark.parametrize("name", ["video", "depth", "image", "audio", "text", "imu"])
def test_the_same_seed_gives_the_same_and_shapes_and_dtypes_stay(name: str) -> None:
    tensors, masks = make_raw()[name], torch.ones(RUNS, HOPS, dtype=torch.bool)
    masks[0, 3:] = False
    results = []
    for seed in (5, 5, 6):
        torch.manual_seed(seed)
        results.append(augmenter(EVERYTHING).raw(name, tensors, masks))
    for index, tensor in enumerate(tensors):
        assert [(r[index].shape, r[index].dtype) for r in results] == [(tensor.shape, tensor.dtype)] * 3
        assert results[0][index].equal(results[1][index])
        assert not results[0][index].equal(results[2][index])
        if name != "image":
            assert results[0][index][~masks].equal(tensor[~masks])


def test_a_picture_stays_one_a_run_beyond_the_clips_end_too() -> None:
    masks = torch.ones(RUNS, HOPS, dtype=torch.bool)
    masks[0, 3:] = False
    masks[1] = False
    (before,) = make_raw()["image"]
    (after,) = augmenter(EVERYTHING).raw("image", (before,), masks)
    assert after.equal(after[:, :1].expand_as(after))
    assert (after != before).flatten(1).any(dim=1).tolist() == [True, False, True, True]


@pytest.mark.parametrize("name", ["depth", "image", "text"])
def test_all_hops_of_a_run_change_alike(name: str) -> None:
    for tensor in augmenter(EVERYTHING).raw(name, make_raw()[name], torch.ones(RUNS, HOPS, dtype=torch.bool)):
        assert tensor.equal(tensor[:, :1].expand_as(tensor))


def test_prepared_sound_is_seen_as_runs() -> None:
    masks = torch.ones(RUNS, HOPS, dtype=torch.bool)
    masks[1, 2:] = False
    log_mel = torch.rand(RUNS * HOPS, 16, 50) + 1.0
    (found,) = augmenter(EVERYTHING).prepared("audio", (log_mel,), masks)
    assert found.shape == log_mel.shape
    assert found[~masks.flatten()].equal(log_mel[~masks.flatten()])
    assert not found[masks.flatten()].equal(log_mel[masks.flatten()])
    (frames,) = make_raw()["video"]
    assert augmenter(EVERYTHING).prepared("video", (frames,), masks)[0] is frames


def test_a_modality_that_the_model_lacks_cannot_be_augmented() -> None:
    with pytest.raises(SettingsError, match="of gps, image, which the model does not have"):
        Augmenter(AugmentationConfig.read({"image": {}, "vectors": {"gps": {}}}, source="augmentation"), TINY)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"audio": {"snr_db": [10, 0]}}, "from its low to its high end"),
        ({"audio": {"noise": ["brown"]}}, "'white', 'pink' or 'mix'"),
        ({"audio": {"stretch": [0, 1]}}, "greater than 0"),
        ({"video": {"crop_scale": [0, 1]}}, "range above 0"),
        ({"video": {"crop_scale": [0.9, 0.5]}}, "range above 0"),
        ({"image": {"drop_frames": 0.1}}, "unknown key 'image.drop_frames'"),
        ({"text": {"word_dropout": 1.5}}, "less than or equal to 1"),
    ],
)
def test_what_makes_no_sense_is_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        AugmentationConfig.read(settings, source="augmentation")
