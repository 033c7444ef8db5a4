"""Augmentation of timed vectors: level, each axis's own level, noise."""

from __future__ import annotations

import torch
from torch import Tensor

from training.augment.config import VectorAugmentation
from training.augment.draws import chosen_runs, of_runs, uniform


def augment_vectors(vectors: Tensor, masks: Tensor, config: VectorAugmentation) -> Tensor:
    """Change levels and add noise; channels are never mixed.

    Args:
        vectors: ``(C, R, rows, channels)`` float32.
        masks: ``(C, R)`` bool; other hops stay as they are.
        config: what to do.

    Returns:
        ``(C, R, rows, channels)``.
    """
    if not (config.gain or config.axis_gain or config.noise):
        return vectors
    num_runs, channels = len(vectors), vectors.shape[-1]
    chosen = chosen_runs(num_runs, config.probability, vectors.device)
    changed = vectors
    if config.gain:
        changed = changed * of_runs(uniform(num_runs, config.gain, vectors), vectors)
    if config.axis_gain:
        factors = 1.0 + config.axis_gain * torch.randn(num_runs, 1, 1, channels, device=vectors.device)
        changed = changed * factors
    if config.noise:
        noise = torch.randn(vectors.shape, device=vectors.device)
        changed = changed + config.noise * _deviation(changed, masks) * noise
    return torch.where((masks & chosen[:, None])[..., None, None], changed.to(vectors.dtype), vectors)


def _deviation(vectors: Tensor, masks: Tensor) -> Tensor:
    """Each channel's standard deviation over the run's hops that are there: ``(C, 1, 1, channels)``."""
    count = (masks.sum(dim=1) * vectors.shape[2]).clamp(min=1).view(-1, 1, 1, 1)
    kept = vectors.masked_fill(~masks[..., None, None], 0.0)
    mean = kept.sum(dim=(1, 2), keepdim=True) / count
    squares = (vectors - mean).masked_fill(~masks[..., None, None], 0.0).square()
    return (squares.sum(dim=(1, 2), keepdim=True) / count).sqrt()
