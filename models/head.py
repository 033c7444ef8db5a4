"""The classifier over the fused embedding, and its scores."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from models.config import HeadConfig


class ClassificationHead(nn.Sequential):
    """Normalise, one hidden layer, logits; or, with ``hidden: null``, one linear layer alone.

    Input ``(B, input_width)`` float, output logits ``(B, K)`` float.
    """

    def __init__(self, config: HeadConfig, *, input_width: int, num_labels: int, dropout: float) -> None:
        if config.hidden is None:
            super().__init__(nn.Linear(input_width, num_labels))
            return
        super().__init__(
            nn.LayerNorm(input_width),
            nn.Linear(input_width, config.hidden),
            nn.GELU(),
            nn.Dropout(dropout),
            nn.Linear(config.hidden, num_labels),
        )


def score_logits(logits: Tensor, task: Literal["single_label", "multi_label"], temperature: float) -> Tensor:
    """Scores in [0, 1], computed in float64 so that they do not depend on the device's way to round.

    Args:
        logits: ``(B, K)`` float.
        task: softmax for ``single_label``, sigmoid for ``multi_label``.
        temperature: what the logits are divided by (calibration: Guo et al. 2017, arXiv 1706.04599).

    Returns:
        ``(B, K)`` float64.
    """
    scaled = logits.double() / temperature
    return scaled.softmax(dim=-1) if task == "single_label" else torch.sigmoid(scaled)
