"""The losses of the main task: pure functions over the windows that count."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def cross_entropy(logits: Tensor, targets: Tensor, counted: Tensor, *, label_smoothing: float = 0.0) -> Tensor:
    """Cross-entropy with one label at a time, or with shares of several.

    Args:
        logits: ``(..., K)`` float.
        targets: ``(..., K)`` float, at least 0: the labels' shares, divided here by their sum.
        counted: ``(...)`` bool; what stands in other windows is not looked at.
        label_smoothing: share in [0, 1] that is spread evenly over all labels (arXiv 1512.00567).

    Returns:
        Scalar float32: the mean over the counted windows, and 0 where there is none.
    """
    logits = _counted_logits(logits, counted)
    total = targets.sum(dim=-1, keepdim=True)
    shares = targets / total.masked_fill(total == 0, 1.0)
    losses = functional.cross_entropy(
        logits.flatten(0, -2),
        shares.to(logits.dtype).flatten(0, -2),
        label_smoothing=label_smoothing,
        reduction="none",
    )
    return masked_mean(losses.view(counted.shape), counted)


def binary_cross_entropy(logits: Tensor, targets: Tensor, counted: Tensor, *, label_smoothing: float = 0.0) -> Tensor:
    """Binary cross-entropy of every label on its own.

    Args:
        logits: ``(..., K)`` float.
        targets: ``(..., K)`` float in [0, 1].
        counted: ``(...)`` bool; what stands in other windows is not looked at.
        label_smoothing: share in [0, 1] by which each target moves towards 1/2.

    Returns:
        Scalar float32: the mean over labels and counted windows, and 0 where there is none.
    """
    logits = _counted_logits(logits, counted)
    smoothed = (targets * (1.0 - label_smoothing) + 0.5 * label_smoothing).to(logits.dtype)
    losses = functional.binary_cross_entropy_with_logits(logits, smoothed, reduction="none")
    return masked_mean(losses.mean(dim=-1), counted)


def _counted_logits(logits: Tensor, counted: Tensor) -> Tensor:
    """At least float32, and 0 where nothing counts, lest a NaN there reach the gradients."""
    precise = logits if logits.dtype == torch.float64 else logits.float()
    return precise.masked_fill(~counted[..., None], 0.0)


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """The mean of ``values`` where ``mask``, of the same shape, is True; 0, with gradients of 0, where none is."""
    return values.masked_fill(~mask, 0.0).sum() / mask.sum().clamp(min=1)
