"""Levels and noise of timed vectors."""

from __future__ import annotations

import pytest
import torch

from training.augment.config import VectorAugmentation
from training.augment.vectors import augment_vectors

SCALES = torch.tensor([1.0, 10.0, 0.1])


def make_runs(num_runs: int = 200) -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    masks = torch.ones(num_runs, 4, dtype=torch.bool)
    masks[1::2, 3:] = False
    return (torch.randn(num_runs, 4, 25, 3) + 5.0) * SCALES, masks


def test_a_gain_is_one_factor_for_the_whole_run() -> None:
    vectors, masks = make_runs()
    factors = augment_vectors(vectors, masks, VectorAugmentation(gain=(0.5, 2.0)))[:, :3] / vectors[:, :3]
    assert torch.allclose(factors, factors[:, :1, :1, :1])
    assert 0.5 <= factors.min() < 0.6
    assert 1.9 < factors.max() <= 2.0001


def test_each_axis_has_a_factor_of_its_own_and_axes_are_not_mixed() -> None:
    vectors, masks = make_runs()
    factors = augment_vectors(vectors, masks, VectorAugmentation(axis_gain=0.1))[:, :3] / vectors[:, :3]
    assert torch.allclose(factors, factors[:, :1, :1], atol=1e-4)
    by_axis = factors[:, 0, 0]
    assert by_axis.std(dim=0).tolist() == pytest.approx([0.1] * 3, abs=0.02)
    assert by_axis.mean(dim=0).tolist() == pytest.approx([1.0] * 3, abs=0.03)
    assert torch.corrcoef(by_axis.T)[0, 1].abs() < 0.2


def test_noise_is_a_share_of_the_channels_own_deviation() -> None:
    vectors, masks = make_runs()
    vectors[0, :, :, 1] = 3.0  # still
    added = augment_vectors(vectors, masks, VectorAugmentation(noise=0.2)) - vectors
    assert (added[2:, :3].std(dim=(0, 1, 2)) / SCALES).tolist() == pytest.approx([0.2] * 3, abs=0.01)
    assert not added[0, :, :, 1].any()


def test_absent_hops_stay() -> None:
    vectors, masks = make_runs()
    vectors[~masks] = 1e9
    config = VectorAugmentation(gain=(0.5, 0.9), axis_gain=0.1, noise=0.1, probability=0.5)
    found = augment_vectors(vectors, masks, config)
    assert found[~masks].equal(vectors[~masks])
    assert found.dtype == torch.float32
    changed = (found != vectors).flatten(1).any(dim=1)
    assert 70 < int(changed.sum()) < 130
    assert found[changed][masks[changed]].abs().max() < 1e3  # the absent ones' values are in no deviation
