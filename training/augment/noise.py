"""Noise whose power is an exact ratio below, or above, that of the sound it is added to."""

from __future__ import annotations

import torch
from torch import Tensor

from training.augment.config import NoiseKind


def draw_noise(samples: Tensor, kind: NoiseKind, generator: torch.Generator | None = None) -> Tensor:
    """White or pink noise of the shape of ``samples`` ``(..., L)``, of no particular power."""
    white = torch.randn(samples.shape, generator=generator, device=samples.device, dtype=samples.dtype)
    if kind == "white":
        return white
    spectrum = torch.fft.rfft(white)
    frequencies = torch.arange(spectrum.shape[-1], device=samples.device, dtype=samples.dtype)
    shape = frequencies.clamp(min=1.0).rsqrt() * (frequencies > 0)  # power falls as 1/f; no constant part
    pink: Tensor = torch.fft.irfft(spectrum * shape, n=samples.shape[-1])
    return pink


def add_at_snr(samples: Tensor, noise: Tensor, snr_db: float | Tensor, counted: Tensor) -> Tensor:
    """Scale ``noise`` to the ratio and add it.

    Args:
        samples: ``(..., L)`` float.
        noise: ``(..., L)`` float.
        snr_db: one, or ``(...)``.
        counted: ``(..., L)`` bool: the samples by which both powers are measured.

    Returns:
        ``(..., L)``; rows of which either power is 0 stay as they are.
    """
    signal, drawn = power(samples, counted), power(noise, counted)
    ratio = 10.0 ** (torch.as_tensor(snr_db, dtype=torch.float64, device=samples.device) / 10.0)
    usable = (signal > 0) & (drawn > 0)
    factor = torch.where(usable, signal / torch.where(usable, drawn * ratio, 1.0), 0.0).sqrt()
    return samples + (factor[..., None] * noise).to(samples.dtype)


def power(samples: Tensor, counted: Tensor) -> Tensor:
    """Mean square of the counted samples: ``(..., L)`` to ``(...)`` float64; 0 where none is counted."""
    squares = samples.double().square().masked_fill(~counted, 0.0)
    return squares.sum(dim=-1) / counted.sum(dim=-1).clamp(min=1)


def mix_of_others(samples: Tensor, counted: Tensor, num_others: int) -> Tensor:
    """For each run a babble: the sum of other runs drawn from the batch, all of them equally loud.

    Args:
        samples: ``(C, L)`` float.
        counted: ``(C, L)`` bool, by which the loudness is measured.
        num_others: how many to mix; fewer where fewer have sound.

    Returns:
        ``(C, L)`` float; zeros where no other run has sound.
    """
    loudness = power(samples, counted).sqrt()
    num_runs = len(samples)
    itself = torch.eye(num_runs, dtype=torch.bool, device=samples.device)
    allowed = (loudness > 0)[None] & ~itself
    draws = torch.rand(num_runs, num_runs, device=samples.device).masked_fill(~allowed, -1.0)
    drawn = draws.topk(min(num_others, num_runs), dim=1).indices
    taken = torch.zeros_like(allowed).scatter_(1, drawn, value=True) & allowed
    weights = taken / torch.where(loudness > 0, loudness, 1.0)
    return weights.to(samples.dtype) @ samples
