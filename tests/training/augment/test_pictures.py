"""Augmentation of frames: exact mirrors, crops and colours by their definitions, time within the hop."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from training.augment.config import ImageAugmentation, VideoAugmentation
from training.augment.pictures import augment_pictures

RUNS, HOPS, FRAMES, SIZE = 12, 3, 4, 8


def make_frames(channels: int = 3, num_runs: int = RUNS) -> tuple[Tensor, Tensor]:
    torch.manual_seed(0)
    masks = torch.ones(num_runs, HOPS, dtype=torch.bool)
    masks[1::2, 2:] = False
    shape = (num_runs, HOPS, FRAMES, channels, SIZE, SIZE)
    return torch.randint(0, 256, shape, dtype=torch.uint8), masks


def augment(frames: Tensor, masks: Tensor, **settings: Any) -> Tensor:
    return augment_pictures(frames, masks, VideoAugmentation.model_validate(settings))


def changed_runs(one: Tensor, other: Tensor) -> Tensor:
    return (one != other).flatten(1).any(dim=1)


def test_a_flip_is_an_exact_mirror_of_whole_runs() -> None:
    frames, masks = make_frames(num_runs=60)
    found = augment(frames, masks, flip=True)
    mirrored = changed_runs(found, frames)
    assert 15 < int(mirrored.sum()) < 45
    expected = torch.where((mirrored[:, None] & masks)[..., None, None, None, None], frames.flip(-1), frames)
    assert found.equal(expected)


@pytest.mark.parametrize("channels", [1, 3])
def test_everything_at_once_leaves_absent_hops_shapes_and_dtype(channels: int) -> None:
    frames, masks = make_frames(channels)
    before = frames.clone()
    everything = {
        "crop_scale": [0.3, 0.9],
        "flip": True,
        "brightness": 1.0,
        "contrast": 1.0,
        "saturation": 1.0,
        "shift_frames": 2,
        "drop_frames": 0.5,
    }
    found = augment(frames, masks, **everything)
    assert found.dtype == torch.uint8
    assert found.shape == frames.shape
    assert found[~masks].equal(frames[~masks])
    assert changed_runs(found, frames).all()
    assert frames.equal(before)


def test_a_crop_of_everything_is_the_picture_itself() -> None:
    frames, masks = make_frames()
    assert augment(frames, masks, crop_scale=[1.0, 1.0]).equal(frames)


def resize_reference(box: NDArray[np.float64], size: int, left: float, top: float, side: float) -> NDArray[np.float64]:
    """Bilinear, pixels' centres at halves, the border held; pixel by pixel."""
    result = np.zeros((size, size))
    for row in range(size):
        for column in range(size):
            y = np.clip(top + (row + 0.5) * side / size - 0.5, 0, size - 1)
            x = np.clip(left + (column + 0.5) * side / size - 0.5, 0, size - 1)
            y0, x0 = int(y), int(x)
            y1, x1 = min(y0 + 1, size - 1), min(x0 + 1, size - 1)
            above = box[y0, x0] * (1 - (x - x0)) + box[y0, x1] * (x - x0)
            below = box[y1, x0] * (1 - (x - x0)) + box[y1, x1] * (x - x0)
            result[row, column] = above * (1 - (y - y0)) + below * (y - y0)
    return result


def test_a_crop_is_one_box_of_the_run_resized() -> None:
    frames, masks = make_frames(1, num_runs=3)
    torch.manual_seed(4)
    found = augment(frames, masks, crop_scale=[0.36, 0.36])
    torch.manual_seed(4)
    torch.rand(3)  # the areas, which are all the same
    offsets = torch.rand(2, 3).double().numpy()
    side = 0.6 * SIZE
    for run in range(3):
        left, top = offsets[:, run] * (SIZE - side)
        for hop, frame in ((0, 0), (1, 3)):
            picture = frames[run, hop, frame, 0].double().numpy()
            expected = resize_reference(picture, SIZE, left, top, side)
            assert np.abs(found[run, hop, frame, 0].numpy() - expected).max() <= 0.51


def test_colours_change_by_their_definitions() -> None:
    frames, masks = make_frames()
    weights = torch.tensor([0.299, 0.587, 0.114]).double()[:, None, None]
    for name in ("brightness", "contrast", "saturation"):
        torch.manual_seed(9)
        found = augment(frames, masks, **{name: 0.5})
        torch.manual_seed(9)
        factors = torch.rand(RUNS).double() + 0.5
        for run in range(RUNS):
            seen = frames[run][masks[run]].double()
            grey = (seen * weights).sum(dim=2, keepdim=True)
            centre = {"brightness": torch.zeros(1), "contrast": grey.mean(), "saturation": grey}[name]
            expected = (centre + (seen - centre) * factors[run]).clamp(0, 255)
            assert (found[run][masks[run]].double() - expected).abs().max() <= 0.51


def test_frames_shift_within_their_hops_alike_in_a_run() -> None:
    frames, masks = make_frames(num_runs=40)
    found = augment(frames, torch.ones_like(masks), shift_frames=1)
    seen = set()
    for before, after in zip(frames, found, strict=True):
        moved = {
            -1: before[:, [0, 0, 1, 2]],
            0: before,
            1: before[:, [1, 2, 3, 3]],
        }
        (shift,) = [shift for shift, expected in moved.items() if after.equal(expected)]
        seen.add(shift)
    assert seen == {-1, 0, 1}


def test_a_lost_frame_is_the_one_before_it_and_the_first_is_never_lost() -> None:
    frames, masks = make_frames(num_runs=40)
    found = augment(frames, torch.ones_like(masks), drop_frames=0.4)
    assert found[:, :, 0].equal(frames[:, :, 0])
    num_lost = 0
    for frame in range(1, FRAMES):
        kept = (found[:, :, frame] == frames[:, :, frame]).flatten(2).all(dim=2)
        held = (found[:, :, frame] == found[:, :, frame - 1]).flatten(2).all(dim=2)
        assert (kept | held).all()
        num_lost += int((~kept).sum())
    assert num_lost / (40 * HOPS * 3) == pytest.approx(0.4, abs=0.08)


def test_a_picture_has_no_time() -> None:
    frames, masks = make_frames()
    config = ImageAugmentation(brightness=0.5, probability=0.5)
    found = augment_pictures(frames[:, :, :1], masks, config)
    assert found.shape == (RUNS, HOPS, 1, 3, SIZE, SIZE)
    assert 2 < int(changed_runs(found, frames[:, :, :1]).sum()) < 10
