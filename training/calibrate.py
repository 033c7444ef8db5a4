"""Temperature scaling (Guo et al. 2017, arXiv 1706.04599): one divisor of the logits, fitted on held-out windows."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from handler.inference import Scorer
from training.dataset import LabelledClip, window_targets

CANDIDATES = np.geomspace(0.25, 8.0, 201)
SCORE_FLOOR = 1e-12  # of a score, before its logarithm


def fit_temperature(scorer: Scorer, clips: Sequence[LabelledClip]) -> float:
    """The temperature with the least negative log-likelihood over the labelled windows of ``clips``.

    The candidates lie between 1/4 and 8 in steps of 1.7 %, which is finer than the estimate's own error.
    """
    config = scorer.transforms.config
    scores, targets = [], []
    for clip in clips:
        scores.append(scorer.score(clip.clip).scores)
        targets.append(window_targets(clip.entry.segments, clip.clip.schedule, config.labels))
    all_scores, all_targets = np.concatenate(scores), np.concatenate(targets)
    labelled = all_targets.any(axis=1)
    if config.head.task == "multi_label":
        losses = [_sigmoid_loss(all_scores, all_targets, t) for t in CANDIDATES]
    else:
        losses = [_softmax_loss(all_scores[labelled], all_targets[labelled], t) for t in CANDIDATES]
    return float(round(CANDIDATES[int(np.argmin(losses))], 4))


def _softmax_loss(scores: NDArray[np.float64], targets: NDArray[np.float32], temperature: float) -> float:
    logits = np.log(np.maximum(scores, SCORE_FLOOR)) / temperature
    log_scores = logits - np.log(np.exp(logits - logits.max(axis=1, keepdims=True)).sum(axis=1, keepdims=True))
    log_scores -= logits.max(axis=1, keepdims=True)
    return float(-(log_scores * targets).sum(axis=1).mean())


def _sigmoid_loss(scores: NDArray[np.float64], targets: NDArray[np.float32], temperature: float) -> float:
    clipped = np.clip(scores, SCORE_FLOOR, 1 - SCORE_FLOOR)
    logits = np.log(clipped / (1 - clipped)) / temperature
    return float((np.logaddexp(0.0, logits) - logits * targets).mean())
