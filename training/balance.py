"""Gradient balance between modalities: OGM-GE (Peng et al., CVPR 2022, arXiv 2203.15332).

A modality that is ahead takes the loss down for all, and the others stop learning. The encoders of those that are
ahead are therefore held back:

- the score ``s_m`` of a modality is the model's mean probability of the truth with that modality alone;
- its discrepancy ratio is ``s_m`` over the mean of the other modalities' scores (the paper's, for two of them);
- where that is above 1, the gradients of its encoder are multiplied by ``1 - tanh(alpha * ratio)``;
- noise of the gradients' own standard deviation brings back what SGD's noise does for generalisation (the "GE").
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from handler.segments import Task
from models.config import Modality


def truth_scores(logits: Tensor, targets: Tensor, counted: Tensor, task: Task) -> Tensor:
    """The mean probability of the truth over the windows that count: a scalar in [0, 1].

    Args:
        logits: ``(C, W, K)`` float.
        targets: ``(C, W, K)`` float in [0, 1].
        counted: ``(C, W)`` bool.
        task: with ``multi_label`` each true label of a window counts alike.
    """
    scores = logits.float().sigmoid() if task == "multi_label" else logits.float().softmax(dim=-1)
    weights = targets * counted[..., None]
    return (scores * weights).sum() / weights.sum().clamp(min=1e-12)


def balance_coefficients(scores: Tensor, alpha: float) -> Tensor:
    """What each encoder's gradients are multiplied by.

    Args:
        scores: ``(M,)`` float in [0, 1], M at least 2.
        alpha: above 0.

    Returns:
        ``(M,)`` float in (0, 1].
    """
    others = (scores.sum() - scores) / (len(scores) - 1)
    ratios = scores / others.clamp(min=1e-12)
    return torch.where(ratios > 1.0, 1.0 - torch.tanh(alpha * ratios), 1.0)


def balance_gradients(
    encoders: Mapping[Modality, nn.Module], coefficients: Tensor, noise: float, generator: torch.Generator
) -> None:
    """Change the encoders' gradients in place.

    Args:
        encoders: in the order of ``coefficients``; parameters without a gradient are left alone.
        coefficients: ``(M,)`` float.
        noise: standard deviation of the noise, as a share of the gradient's before it is damped. A gradient of a
            single number has none.
        generator: of the noise, on the CPU, so that all processes of a training draw the same.
    """
    for encoder, coefficient in zip(encoders.values(), coefficients.tolist(), strict=True):
        for parameter in encoder.parameters():
            gradient = parameter.grad
            if gradient is None:
                continue
            spread = gradient.std() if noise > 0 and gradient.numel() > 1 else None
            gradient.mul_(coefficient)
            if spread is not None:
                drawn = torch.randn(gradient.shape, generator=generator, dtype=gradient.dtype)
                gradient.add_(drawn.to(gradient.device) * (noise * spread))
