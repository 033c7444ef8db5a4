"""Noise at an exact ratio, its colours, and the babble of others."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Literal

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from training.augment.noise import add_at_snr, draw_noise, mix_of_others


def measured_db(signal: torch.Tensor, noisy: torch.Tensor) -> torch.Tensor:
    return 10 * torch.log10(signal.square().sum(dim=-1) / (noisy - signal).square().sum(dim=-1))


def everything(samples: torch.Tensor) -> torch.Tensor:
    return torch.ones_like(samples, dtype=torch.bool)


@given(st.floats(-30.0, 60.0), st.sampled_from(["white", "pink"]), st.integers(2, 400), st.integers(0, 99))
def test_the_ratio_is_exact(snr_db: float, kind: Literal["white", "pink"], length: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    signal = torch.randn(3, length, generator=generator, dtype=torch.float64) * 0.1
    noisy = add_at_snr(signal, draw_noise(signal, kind, generator), snr_db, everything(signal))
    assert measured_db(signal, noisy).tolist() == pytest.approx([snr_db] * 3, abs=1e-4)


def test_each_row_has_a_ratio_of_its_own_and_silence_stays() -> None:
    torch.manual_seed(0)
    signal = torch.randn(3, 100, dtype=torch.float64)
    signal[1] = 0.0
    noisy = add_at_snr(signal, draw_noise(signal, "white"), torch.tensor([0.0, 10.0, -10.0]), everything(signal))
    assert measured_db(signal, noisy)[[0, 2]].tolist() == pytest.approx([0.0, -10.0], abs=1e-4)
    assert noisy[1].equal(signal[1])


def test_powers_are_measured_where_it_counts() -> None:
    torch.manual_seed(0)
    signal, noise = torch.randn(2, 2, 100, dtype=torch.float64)
    counted = torch.arange(100).expand(2, 100) < 60
    added = add_at_snr(signal, noise, 5.0, counted)
    assert measured_db(signal[:, :60], added[:, :60]).tolist() == pytest.approx([5.0] * 2, abs=1e-4)
    assert add_at_snr(signal, noise, 5.0, torch.zeros_like(counted)).equal(signal)


def test_a_generator_gives_the_same_noise_again() -> None:
    samples = torch.ones(1000)
    one, other = (draw_noise(samples, "pink", torch.Generator().manual_seed(4)) for _ in range(2))
    assert one.equal(other)
    assert one.dtype == torch.float32
    assert not one.equal(draw_noise(samples, "pink", torch.Generator().manual_seed(5)))


@pytest.mark.parametrize(("kind", "slope_db"), [("white", 0.0), ("pink", -3.01)])
def test_pink_noise_loses_three_decibels_an_octave(kind: Literal["white", "pink"], slope_db: float) -> None:
    torch.manual_seed(0)
    spectrum = torch.fft.rfft(draw_noise(torch.zeros(64, 4096, dtype=torch.float64), kind)).abs().square().mean(dim=0)
    octaves = [10 * math.log10(spectrum[2**k : 2 ** (k + 1)].mean()) for k in range(3, 11)]
    slopes = [high - low for low, high in pairwise(octaves)]
    assert sum(slopes) / len(slopes) == pytest.approx(slope_db, abs=0.15)


def test_a_mix_is_of_others_that_have_sound_each_as_loud() -> None:
    torch.manual_seed(0)
    index = torch.arange(5)
    samples = torch.zeros(5, 50, dtype=torch.float64)
    samples[index, index * 10] = torch.tensor([1.0, 20.0, 0.0, 3.0, 0.5], dtype=torch.float64)  # told apart by place
    counted = torch.ones_like(samples, dtype=torch.bool)
    drawn = torch.zeros(5, 5, dtype=torch.bool)
    for _ in range(40):
        parts = mix_of_others(samples, counted, 2)[:, ::10]
        assert ((parts == 0) | ((parts - math.sqrt(50.0)).abs() < 1e-9)).all()
        assert (parts > 0).sum(dim=1).tolist() == [2] * 5
        drawn |= parts > 0
    assert drawn.int().tolist() == [[0, 1, 0, 1, 1], [1, 0, 0, 1, 1], [1, 1, 0, 1, 1], [1, 1, 0, 0, 1], [1, 1, 0, 1, 0]]
    assert not mix_of_others(samples[:1], counted[:1], 2).any()
