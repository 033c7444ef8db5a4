"""The judged windows of all clips in one table, and the measures that are taken of several such tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from handler.segments import Task
from training.evaluation.observe import Observation, decide
from training.metrics.bootstrap import Bootstrap, Estimate, sum_by_clip
from training.metrics.classification import LabelCounts, mean_average_precision

WEIGHTS_PER_STEP = 2_000_000  # of draws times windows: what average precision holds in memory at a time, 16 MB


@dataclass(frozen=True)
class Units:
    """Judged windows: U of them, of C clips."""

    scores: NDArray[np.float64]
    """``(U, K)`` in [0, 1]."""
    targets: NDArray[np.bool_]
    """``(U, K)``."""
    clips: NDArray[np.int64]
    """``(U,)``: the clip, in [0, C)."""
    num_clips: int

    def __len__(self) -> int:
        return len(self.clips)

    def sum_by_clip(self, values: NDArray[np.generic]) -> NDArray[np.float64]:
        """Add up ``(U, ...)`` by clip: ``(C, ...)``."""
        return sum_by_clip(values, self.clips, self.num_clips)

    def share(self, true: NDArray[np.bool_], bootstrap: Bootstrap) -> Estimate | None:
        """The share of ``(U,)`` or ``(U, K)`` decisions that is true."""
        flat = true[:, None] if true.ndim == 1 else true
        return bootstrap.ratio(self.sum_by_clip(flat.sum(axis=1)), self.sum_by_clip(np.full(len(self), flat.shape[1])))


def collect(observations: Sequence[Observation], scores: Sequence[NDArray[np.float64] | None]) -> Units:
    """Put the windows of all clips into one table.

    Args:
        observations: C clips.
        scores: of each its ``(J, K)``, or None where the clip is left out.
    """
    kept = [
        (number, seen.targets, rows)
        for number, (seen, rows) in enumerate(zip(observations, scores, strict=True))
        if rows is not None
    ]
    num_labels = observations[0].targets.shape[1]
    lengths = np.array([len(targets) for _, targets, _ in kept], dtype=np.int64)
    return Units(
        np.concatenate([np.zeros((0, num_labels)), *(rows for _, _, rows in kept)]),
        np.concatenate([np.zeros((0, num_labels), dtype=np.bool_), *(targets for _, targets, _ in kept)]),
        np.repeat(np.array([number for number, _, _ in kept], dtype=np.int64), lengths),
        len(observations),
    )


def count_labels(units: Units, task: Task, threshold: float) -> LabelCounts:
    """Decisions of each clip by label, each ``(C, K)``."""
    given = decide(units.scores, task, threshold)
    return LabelCounts(*(units.sum_by_clip(marks) for marks in (given & units.targets, given, units.targets)))


def right_decisions(units: Units, task: Task, threshold: float) -> NDArray[np.bool_]:
    """Which decisions are right: one a window ``(U,)``, or with ``multi_label`` one a window and label ``(U, K)``."""
    if task == "multi_label":
        return np.asarray(decide(units.scores, task, threshold) == units.targets)
    return np.asarray(units.scores.argmax(axis=1) == units.targets.argmax(axis=1))


def estimate_map(units: Units, bootstrap: Bootstrap) -> Estimate | None:
    """Mean average precision; a few draws at a time, since each needs the whole table."""
    step = max(1, WEIGHTS_PER_STEP // max(1, len(units)))

    def measure(weights: NDArray[np.float64]) -> NDArray[np.float64]:
        parts = [weights[first : first + step, units.clips] for first in range(0, len(weights), step)]
        return np.concatenate([mean_average_precision(units.scores, units.targets, part) for part in parts])

    return bootstrap.of_weights(measure) if len(units) else None


def estimate_headline(units: Units, task: Task, bootstrap: Bootstrap) -> Estimate | None:
    """Accuracy, or with ``multi_label`` mean average precision."""
    if task == "multi_label":
        return estimate_map(units, bootstrap)
    return units.share(right_decisions(units, task, 0.0), bootstrap)
