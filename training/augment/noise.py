"""Noise whose power is an exact ratio below, or above, that of the sound it is added to."""

from __future__ import annotations

import torch
from torch import Tensor

from training.augment.config import NoiseKind
from training.augment.hops import cut_hops, join_hops


def noise_at_snr(
    samples: Tensor, snr_db: float | Tensor, generator: torch.Generator | None = None, *, kind: NoiseKind = "white"
) -> Tensor:
    """Add noise at a signal-to-noise ratio, which the noise as drawn has exactly, not only in the mean.

    Args:
        samples: ``(..., L)`` float; a row of silence stays one.
        snr_db: ratio of the powers in dB, one or ``(...)``.
        generator: where to draw from; torch's global generator by default.
        kind: ``white`` or ``pink``; ``mix`` is for batches of runs, and has :func:`mix_of_others`.

    Returns:
        Noisy samples of the same shape and dtype; not clipped, which would change the ratio.
    """
    if kind == "mix":
        raise ValueError("kind must be white or pink: a mix needs the other runs of a batch")
    noise = draw_noise(samples, kind, generator)
    return add_at_snr(samples, noise, snr_db, torch.ones_like(samples, dtype=torch.bool))


def noisy_hops(
    hops: Tensor,
    snr_db: float,
    generator: torch.Generator | None = None,
    *,
    context: int,
    kind: NoiseKind = "white",
) -> Tensor:
    """:func:`noise_at_snr` for a clip that is cut into hops ``(N, P)``, which share ``context`` samples."""
    everything = torch.ones(1, len(hops), dtype=torch.bool, device=hops.device)
    joined = join_hops(hops[None], everything, context=context)
    noisy = noise_at_snr(joined, snr_db, generator, kind=kind)
    return cut_hops(noisy, hop_samples=hops.shape[1] - context, context=context)[0].clone()


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
