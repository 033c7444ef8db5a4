"""Temperature scaling (Guo et al. 2017, arXiv 1706.04599): one divisor of the logits, fitted on held-out windows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from handler.inference import Scorer
from handler.segments import Task
from training.dataset import LabelledClip, window_targets

CANDIDATES = np.geomspace(0.25, 8.0, 201).round(4)
"""Temperatures in steps of 1.7 %, which is finer than the estimate's own error; 1 is one of them."""
SCORE_FLOOR = 1e-15  # of a score and of its complement, before the logarithm


@dataclass(frozen=True)
class HeldOutWindows:
    """All windows of held-out clips."""

    logits: NDArray[np.float64]
    """``(W, K)`` float64, up to a constant of each window for ``single_label``."""
    targets: NDArray[np.float32]
    """``(W, K)`` float32 of 0 and 1."""
    task: Task

    @property
    def num_labelled(self) -> int:
        """Windows with a label."""
        return int(self.targets.any(axis=1).sum())

    @property
    def accuracy(self) -> float:
        """In [0, 1]: the share of labelled windows whose best label is right.

        With ``multi_label`` the share of decisions that are, one for each window and label, at a score of 0.5.
        """
        if self.task == "multi_label":
            return float(np.mean((self.logits > 0) == (self.targets > 0)))
        labelled = self.targets.any(axis=1)
        return float(np.mean((self.logits.argmax(axis=1) == self.targets.argmax(axis=1))[labelled]))

    def negative_log_likelihood(self, temperature: float) -> float:
        """Mean over the labelled windows, or with ``multi_label`` over all windows and labels, in nats."""
        logits = self.logits / temperature
        if self.task == "multi_label":
            return float((np.logaddexp(0.0, logits) - logits * self.targets).mean())
        labelled = self.targets.any(axis=1)
        logits = logits - logits.max(axis=1, keepdims=True)
        losses = np.log(np.exp(logits).sum(axis=1)) - (logits * self.targets).sum(axis=1)
        return float(losses[labelled].mean())


def score_held_out(scorer: Scorer, clips: Sequence[LabelledClip]) -> HeldOutWindows:
    """Score the windows of at least one clip as they are served, whatever the scorer's temperature."""
    config = scorer.transforms.config
    scores = np.concatenate([scorer.score(clip.clip).scores for clip in clips])
    targets = [window_targets(clip.entry.segments, clip.clip.schedule, config.labels) for clip in clips]
    logits = np.log(np.maximum(scores, SCORE_FLOOR))
    if config.head.task == "multi_label":
        logits -= np.log(np.maximum(1.0 - scores, SCORE_FLOOR))
    return HeldOutWindows(logits * scorer.temperature, np.concatenate(targets), config.head.task)


def fit_temperature(windows: HeldOutWindows) -> float:
    """The candidate with the least negative log-likelihood.

    Raises:
        ValueError: when no window has a label.
    """
    if not windows.num_labelled:
        raise ValueError("a temperature needs at least one window with a label")
    losses = [windows.negative_log_likelihood(temperature) for temperature in CANDIDATES]
    return float(CANDIDATES[int(np.argmin(losses))])
