"""Sound at another rate: torchaudio's filter, and the same bits wherever the sound is cut."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torchaudio.transforms import Resample

from handler.resampling import ResamplerState, StreamResampler, resample

RATE = 16_000
USUAL = [8_000, 11_025, 12_000, 22_050, 24_000, 32_000, 44_100, 48_000, 96_000, 192_000]
ODD = [4_001, 16_001, 33_075, 44_101, 47_999, 191_999]
"""Rates that have little in common with 16 kHz."""


def noise(length: int, seed: int = 0) -> NDArray[np.float32]:
    return np.random.default_rng(seed).uniform(-1.0, 1.0, length).astype(np.float32)


def in_pieces(samples: NDArray[np.float32], rate: int, sample_rate: int, cuts: list[int]) -> NDArray[np.float32]:
    """The sound pushed in pieces, to a new resampler for each, as a stream that is kept between requests."""
    resampler = StreamResampler(rate, sample_rate)
    given = []
    for piece in np.split(samples, sorted(cuts)):
        given.append(resampler.push(piece))
        resampler = StreamResampler(rate, sample_rate, resampler.state)
    return np.concatenate([*given, resampler.finish()])


@pytest.mark.parametrize("rate", USUAL)
@pytest.mark.parametrize("length", [1, 7, 5_000])
def test_it_is_torchaudios_filter(rate: int, length: int) -> None:
    samples = noise(length)
    expected = Resample(rate, RATE)(torch.from_numpy(samples)).numpy()
    resampled = resample(samples, rate, RATE)
    assert resampled.dtype == np.float32
    assert resampled.shape == expected.shape
    assert np.abs(resampled - expected).max() < 1e-6


@pytest.mark.parametrize(("rate", "sample_rate"), [(44_100, 48_000), (RATE, 44_100), (RATE, 48_000), (8_000, 48_000)])
def test_it_is_torchaudios_filter_for_other_models(rate: int, sample_rate: int) -> None:
    samples = noise(20_000)
    expected = Resample(rate, sample_rate)(torch.from_numpy(samples)).numpy()
    assert np.abs(resample(samples, rate, sample_rate) - expected).max() < 1e-6


@pytest.mark.parametrize("rate", [*USUAL, *ODD])
def test_a_tone_keeps_its_length_and_level(rate: int) -> None:
    times = np.arange(rate // 2) / rate
    resampled = resample(np.asarray(0.5 * np.sin(2 * np.pi * 200 * times), dtype=np.float32), rate, RATE)
    assert len(resampled) == -(-(rate // 2) * RATE // rate)
    expected = 0.5 * np.sin(2 * np.pi * 200 * np.arange(len(resampled)) / RATE)
    assert np.abs(resampled - expected)[200:-200].max() < 1e-3


@pytest.mark.parametrize("rate", [48_000, 44_101])
def test_the_upper_band_is_taken_away(rate: int) -> None:
    samples = np.asarray(np.sin(2 * np.pi * 12_000 * np.arange(rate) / rate), dtype=np.float32)
    assert np.abs(resample(samples, rate, RATE)[200:-200]).max() < 0.01


def test_equal_rates_change_nothing() -> None:
    samples = noise(1_000)
    assert resample(samples, RATE, RATE) is samples
    assert np.array_equal(in_pieces(samples, RATE, RATE, [3, 500]), samples)


@given(
    rate=st.sampled_from([RATE, *USUAL, *ODD]),
    length=st.integers(0, 30_000),
    cuts=st.lists(st.integers(0, 30_000), max_size=6),
    seed=st.integers(0, 9),
)
@example(rate=44_100, length=30_000, cuts=list(range(0, 30_000, 1_024)), seed=0)
@example(rate=44_101, length=1_000, cuts=list(range(0, 1_000, 17)), seed=0)  # its filter is slow to build
@example(rate=8_000, length=40, cuts=list(range(40)), seed=0)
@settings(max_examples=60, deadline=None)
def test_pieces_are_the_whole(rate: int, length: int, cuts: list[int], seed: int) -> None:
    samples = noise(length, seed)
    whole = resample(samples, rate, RATE)
    assert len(whole) == -(-length * RATE // rate)
    assert np.array_equal(in_pieces(samples, rate, RATE, cuts), whole)


@pytest.mark.parametrize("rate", [*USUAL, *ODD])
def test_the_state_stays_small_and_little_is_held_back(rate: int) -> None:
    resampler = StreamResampler(rate, RATE)
    for _ in range(20):
        resampler.push(noise(rate // 20))
        state = resampler.state
        assert len(state.tail) < 14 * rate / min(rate, RATE) + 4
        assert state.num_given / RATE > state.num_pushed / rate - 0.003  # 3 ms at 4 kHz
    assert state.tail.base is None  # nothing else is held on to


def test_a_state_of_other_rates_is_refused() -> None:
    resampler = StreamResampler(48_000, RATE)
    resampler.push(noise(1_000))
    state = resampler.state
    assert StreamResampler(48_000, RATE, state).state == state
    message = r"a state of 1000 samples in, 327 out and 38 kept is none of 44100 to 16000 Hz"
    with pytest.raises(ValueError, match=message):
        StreamResampler(44_100, RATE, state)
    for foreign in (
        replace(state, num_given=0),
        replace(state, num_pushed=2**62),
        replace(state, tail=state.tail[1:]),
    ):
        with pytest.raises(ValueError, match="is none of 48000 to 16000 Hz"):
            StreamResampler(48_000, RATE, foreign)
    with pytest.raises(ValueError, match="is none of 16000 to 16000 Hz"):
        StreamResampler(RATE, RATE, state)


def test_a_state_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match="a state counts from 0, got -1 and 0 samples"):
        ResamplerState(-1, 0, np.zeros(0, dtype=np.float32))
    with pytest.raises(ValueError, match=r"the tail must be \(L,\) float32, got \(2,\) float64"):
        ResamplerState(0, 0, np.zeros(2))  # type: ignore[arg-type]


def test_it_needs_no_torch() -> None:
    code = (
        "import sys, numpy as np; from handler.resampling import resample;"
        "resample(np.ones(9, dtype=np.float32), 3, 2); sys.exit('torch' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[2])
