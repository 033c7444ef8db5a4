"""The main objective, the labels of the windows: which windows count, what they cost, which are right."""

from __future__ import annotations

from torch import Tensor

from handler.segments import Task
from training.losses import binary_cross_entropy, cross_entropy


def counted_windows(targets: Tensor, inside: Tensor, task: Task) -> Tensor:
    """Which windows count: ``(C, W)`` bool.

    Args:
        targets: ``(C, W, K)`` float in [0, 1].
        inside: ``(C, W)`` bool, which windows the clip has.
        task: with ``multi_label`` each window of the clip counts, since no label is a truth too; with
            ``single_label`` those that have one.
    """
    return inside if task == "multi_label" else targets.any(dim=-1)


def label_loss(logits: Tensor, targets: Tensor, counted: Tensor, task: Task, label_smoothing: float) -> Tensor:
    """The mean loss of the windows that count, in nats, 0 where none does; shapes as in :mod:`training.losses`."""
    loss = binary_cross_entropy if task == "multi_label" else cross_entropy
    return loss(logits, targets, counted, label_smoothing=label_smoothing)


def right_windows(logits: Tensor, targets: Tensor, task: Task) -> Tensor:
    """How right each window is: ``(C, W)`` float in [0, 1], with ``multi_label`` the share of right decisions at 0.5.

    The truth of mixed targets is the label that has the most of them, or each that has more than half.
    """
    if task == "multi_label":
        return ((logits > 0) == (targets > 0.5)).float().mean(dim=-1)
    return (logits.argmax(dim=-1) == targets.argmax(dim=-1)).float()
