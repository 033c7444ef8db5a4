from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tests.training.clips import TINY
from training.dataset import LabelledClip
from training.evaluation.noise import add_noise

HOP = TINY.hop_samples


@pytest.mark.parametrize("snr_db", [20.0, 0.0, -10.0])
def test_the_ratio_is_the_one_asked_for(tiny_clips: list[LabelledClip], snr_db: float) -> None:
    clip = tiny_clips[0].clip
    noisy = add_noise(clip, snr_db, hop_samples=HOP, seed=1)
    assert clip.samples is not None
    assert noisy.samples is not None
    noise = (noisy.samples - clip.samples)[clip.masks["audio"]]
    signal = clip.samples[clip.masks["audio"]]
    found = 10 * np.log10(np.mean(signal.astype(np.float64) ** 2) / np.mean(noise.astype(np.float64) ** 2))
    assert found == pytest.approx(snr_db, abs=0.1)
    assert noisy.samples.dtype == np.float32


def test_hops_that_share_samples_share_noise(tiny_clips: list[LabelledClip]) -> None:
    clip = tiny_clips[0].clip
    assert clip.samples is not None
    silent = replace(clip, samples=np.ones_like(clip.samples))
    samples = add_noise(silent, 0.0, hop_samples=HOP, seed=1).samples
    assert samples is not None
    np.testing.assert_array_equal(samples[:-1, HOP:], samples[1:, : samples.shape[1] - HOP])
    assert np.abs(samples[0, :HOP] - samples[1, :HOP]).max() > 0.1


def test_noise_is_a_function_of_its_seed(tiny_clips: list[LabelledClip]) -> None:
    clip = tiny_clips[0].clip
    first, again, other = (add_noise(clip, 0.0, hop_samples=HOP, seed=seed).samples for seed in (1, 1, 2))
    assert first is not None
    assert other is not None
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 1e-3


def test_silence_stays_and_no_sound_is_an_error(tiny_clips: list[LabelledClip]) -> None:
    clip = tiny_clips[0].clip
    assert clip.samples is not None
    silent = replace(clip, samples=np.zeros_like(clip.samples))
    np.testing.assert_array_equal(add_noise(silent, 0.0, hop_samples=HOP, seed=1).samples, silent.samples)
    with pytest.raises(ValueError, match="only a clip with sound"):
        add_noise(replace(clip, masks={}), 0.0, hop_samples=HOP, seed=1)
