"""Augmentation of sound: what changes, by how much, and what is left alone."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from models.encoder_config import AudioConfig
from training.augment.audio import augment_samples
from training.augment.config import AudioAugmentation
from training.augment.hops import cut_hops, join_hops

AUDIO = AudioConfig(sample_rate=1000, n_fft=40, hop_length=10)
CONTEXT, HOP, HOPS = 30, 100, 5


def make_runs(num_runs: int = 6) -> tuple[Tensor, Tensor, Tensor]:
    """Waveforms, their hops as a dataset gives them, and masks: the last hops of the odd runs are beyond their clip."""
    torch.manual_seed(0)
    waveforms = torch.randn(num_runs, HOPS * HOP + CONTEXT, dtype=torch.float64)
    hops = cut_hops(waveforms, hop_samples=HOP, context=CONTEXT).clone()
    masks = torch.ones(num_runs, HOPS, dtype=torch.bool)
    masks[1::2, 3:] = False
    hops[1::2, 3:] = hops[1::2, 2:3]  # the last hop again
    return waveforms, hops, masks


def augment(hops: Tensor, masks: Tensor, **settings: Any) -> Tensor:
    config = AudioAugmentation.model_validate(settings)
    return augment_samples(hops, masks, config, AUDIO, hop_samples=HOP)


def joined(hops: Tensor, masks: Tensor) -> list[Tensor]:
    """Each run's waveform, as far as it goes."""
    lengths = (masks.sum(dim=1) * HOP + CONTEXT).tolist()
    return [row[:length] for row, length in zip(join_hops(hops, masks, context=CONTEXT), lengths, strict=True)]


@pytest.mark.parametrize("kind", ["white", "pink", "mix"])
def test_noise_has_the_drawn_ratio_and_agrees_where_hops_overlap(kind: str) -> None:
    _, hops, masks = make_runs()
    noisy = augment(hops, masks, noise=[kind], snr_db=[-3.0, -3.0])
    for row, (before, after) in enumerate(zip(joined(hops, masks), joined(noisy, masks), strict=True)):
        ratio = 10 * torch.log10(before.square().sum() / (after - before).square().sum())
        assert ratio.item() == pytest.approx(-3.0, abs=1e-4)
        assert noisy[row, :2, HOP:].equal(noisy[row, 1:3, :CONTEXT])
    assert noisy[~masks].equal(hops[~masks])


def test_ratios_and_kinds_are_drawn_by_run() -> None:
    _, hops, masks = make_runs(40)
    noisy = augment(hops, masks, noise=["white", "pink"], snr_db=[0.0, 20.0])
    ratios = torch.tensor(
        [
            10 * torch.log10(before.square().sum() / (after - before).square().sum()).item()
            for before, after in zip(joined(hops, masks), joined(noisy, masks), strict=True)
        ]
    )
    assert 0.0 <= ratios.min() < 5.0
    assert 15.0 < ratios.max() <= 20.0
    lags = [
        ((after - before)[1:] * (after - before)[:-1]).sum() / (after - before).square().sum()
        for before, after in zip(joined(hops, masks), joined(noisy, masks), strict=True)
    ]
    assert 10 < sum(bool(lag > 0.3) for lag in lags) < 30  # pink noise resembles itself one sample on


def test_silence_is_left_silent() -> None:
    _, hops, masks = make_runs()
    hops[2] = 0.0
    assert not augment(hops, masks, noise=["white"])[2].any()


def test_gain_is_a_factor_in_its_range_and_the_sign_turns_in_half_of_the_runs() -> None:
    _, hops, masks = make_runs(60)
    factors = augment(hops, masks, gain_db=[-6.0, 6.0], polarity=True)[:, 0] / hops[:, 0]
    assert torch.allclose(factors, factors[:, :1])
    levels = 20 * torch.log10(factors[:, 0].abs())
    assert -6.0 <= levels.min() < -4.0
    assert 4.0 < levels.max() <= 6.0
    assert 15 < int((factors[:, 0] < 0).sum()) < 45


def test_a_shift_turns_what_is_there_by_one_number_of_samples() -> None:
    _, hops, masks = make_runs(30)
    masks[4, 2] = False  # a gap
    shifted = augment(hops, masks, shift_seconds=0.05)
    shifts = []
    for row, (before, after) in enumerate(zip(joined(hops, masks), joined(shifted, masks), strict=True)):
        if row != 4:
            (shift,) = [s for s in range(-50, 51) if after.equal(before.roll(s))]
            shifts.append(shift)
    assert min(shifts) < -30
    assert max(shifts) > 30
    assert shifted[4].equal(hops[4])
    assert shifted[~masks].equal(hops[~masks])


def test_a_run_is_changed_with_its_probability_and_noise_with_its_own() -> None:
    _, hops, masks = make_runs(200)
    for settings in ({"probability": 0.3}, {"noise_probability": 0.3}):
        noisy = augment(hops, masks, noise=["white"], **settings)
        assert 40 < int((noisy != hops).flatten(1).any(dim=1).sum()) < 80


def test_dtype_and_input_are_kept() -> None:
    _, hops, masks = make_runs()
    single = hops.float()
    before = single.clone()
    found = augment(single, masks, noise=["white", "pink", "mix"], gain_db=[1, 2], polarity=True, shift_seconds=0.01)
    assert found.dtype == torch.float32
    assert found.shape == single.shape
    assert single.equal(before)
