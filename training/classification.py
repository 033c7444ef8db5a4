"""The main objective: the labels of the windows, by cross-entropy or, with many labels at once, by binary one."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from handler.segments import Task


def counted_windows(targets: Tensor, inside: Tensor, task: Task) -> Tensor:
    """Which windows count: ``(C, W)`` bool.

    Args:
        targets: ``(C, W, K)`` float in [0, 1].
        inside: ``(C, W)`` bool, which windows the clip has.
        task: with ``multi_label`` each window of the clip counts, since no label is a truth too; with
            ``single_label`` those that have one.
    """
    return inside if task == "multi_label" else targets.any(dim=-1)


def window_losses(logits: Tensor, targets: Tensor, task: Task, label_smoothing: float = 0.0) -> Tensor:
    """The loss of each window, in nats: ``(C, W)`` float.

    Args:
        logits: ``(C, W, K)`` float.
        targets: ``(C, W, K)`` float in [0, 1]. With ``single_label`` they are probabilities; a window whose
            targets sum to less than 1 counts that much less.
        task: softmax or sigmoid.
        label_smoothing: share of a ``single_label`` target that is spread evenly over all labels.
    """
    if task == "multi_label":
        losses = functional.binary_cross_entropy_with_logits(logits.float(), targets, reduction="none")
        return losses.mean(dim=-1)
    mass = targets.sum(dim=-1, keepdim=True)
    smoothed = targets * (1.0 - label_smoothing) + mass * (label_smoothing / targets.shape[-1])
    return -(smoothed * logits.float().log_softmax(dim=-1)).sum(dim=-1)


def right_windows(logits: Tensor, targets: Tensor, task: Task) -> Tensor:
    """How right each window is, ``(C, W)`` float in [0, 1]: with ``multi_label`` the share of right decisions at 0.5."""
    if task == "multi_label":
        return ((logits > 0) == (targets > 0.5)).float().mean(dim=-1)
    return (logits.argmax(dim=-1) == targets.argmax(dim=-1)).float()


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Mean over what ``mask`` keeps, and 0 where that is nothing: a mean over nothing would be NaN."""
    return torch.where(mask, values, 0.0).sum() / mask.sum().clamp(min=1)
