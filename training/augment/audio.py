"""Augmentation of sound before its spectrogram, on each run's one waveform."""

from __future__ import annotations

import torch
from torch import Tensor

from models.encoder_config import AudioConfig
from training.augment.config import AudioAugmentation
from training.augment.draws import chosen_runs, uniform
from training.augment.hops import cut_hops, join_hops, stretches
from training.augment.noise import add_at_snr, draw_noise, mix_of_others


def augment_samples(
    samples: Tensor, masks: Tensor, config: AudioAugmentation, audio: AudioConfig, *, hop_samples: int
) -> Tensor:
    """Turn in time, add noise, change the level, turn the sign.

    Args:
        samples: ``(C, R, P)`` float32, hops that overlap.
        masks: ``(C, R)`` bool; other hops stay as they are, and are not heard.
        config: what to do.
        audio: how sound is cut.
        hop_samples: samples from one hop to the next.

    Returns:
        ``(C, R, P)``; where two hops overlap they still agree.
    """
    if not (config.noise or config.gain_db or config.polarity or config.shift_seconds):
        return samples
    num_runs, context = len(samples), audio.context_samples
    chosen = chosen_runs(num_runs, config.probability, samples.device)
    joined = join_hops(samples, masks, context=context)
    if config.shift_seconds:
        most = round(config.shift_seconds * audio.sample_rate)
        joined = _turn(joined, masks, uniform(num_runs, (-most, most), samples), hop_samples, context)
    if config.noise:
        counted = join_hops(masks[..., None].expand_as(samples), masks, context=context)
        joined = _add_noise(joined, counted, config)
    if config.gain_db:
        gain = 10.0 ** (uniform(num_runs, config.gain_db, samples) / 20.0)
        joined = joined * gain[:, None].to(joined.dtype)
    if config.polarity:
        negative = torch.rand(num_runs, device=samples.device) < 0.5
        joined = torch.where(negative[:, None], -joined, joined)
    cut = cut_hops(joined, hop_samples=hop_samples, context=context)
    return torch.where((masks & chosen[:, None])[..., None], cut, samples)


def _turn(joined: Tensor, masks: Tensor, shifts: Tensor, hop_samples: int, context: int) -> Tensor:
    """Move each run's sound by ``shifts`` samples, what leaves at one end coming in at the other.

    A run with gaps stays: its pieces would come to lie on hops that are masked.
    """
    turned = joined.clone()
    for run, (first, count, whole) in enumerate(zip(*(part.tolist() for part in stretches(masks)), strict=True)):
        if whole:  # piece by piece: one index for all runs would take ten times as long
            inside = slice(first * hop_samples, (first + count) * hop_samples + context)
            turned[run, inside] = joined[run, inside].roll(round(float(shifts[run])))
    return turned


def _add_noise(joined: Tensor, counted: Tensor, config: AudioAugmentation) -> Tensor:
    """Noise of a kind and at a ratio drawn for each run."""
    num_runs = len(joined)
    noise = torch.zeros_like(joined)
    drawn = torch.randint(len(config.noise), (num_runs,), device=joined.device)
    for index, kind in enumerate(config.noise):
        of_kind = mix_of_others(joined, counted, config.mix_runs) if kind == "mix" else draw_noise(joined, kind)
        noise = torch.where((drawn == index)[:, None], of_kind, noise)
    snr_db = uniform(num_runs, config.snr_db, joined)
    noisy = chosen_runs(num_runs, config.noise_probability, joined.device)
    return torch.where(noisy[:, None], add_at_snr(joined, noise, snr_db, counted), joined)
