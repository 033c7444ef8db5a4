"""How often the right label is given: accuracy, precision, recall, F1 and average precision.

The definitions are scikit-learn's (``balanced_accuracy_score``, ``precision_recall_fscore_support``,
``average_precision_score``), so that numbers can be set beside published ones.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.metrics.bootstrap import divide


@dataclass(frozen=True)
class LabelCounts:
    """Right and wrong decisions by label; each ``(..., K)`` float64, the leading axes clips or draws."""

    true_positives: NDArray[np.float64]
    predicted: NDArray[np.float64]
    """How often the label was given."""
    support: NDArray[np.float64]
    """How often it is true."""

    @property
    def precision(self) -> NDArray[np.float64]:
        """In [0, 1]; 0 where the label was never given."""
        return np.nan_to_num(divide(self.true_positives, self.predicted))

    @property
    def recall(self) -> NDArray[np.float64]:
        """In [0, 1]; NaN where the label is never true."""
        return divide(self.true_positives, self.support)

    @property
    def f1(self) -> NDArray[np.float64]:
        """In [0, 1]; NaN where the label is never true and never given."""
        return divide(2 * self.true_positives, self.predicted + self.support)


def top_k_hits(scores: NDArray[np.floating], truth: NDArray[np.integer], k: int) -> NDArray[np.bool_]:
    """Whether the true label is among the best ``k``: ``(U,)`` bool. Of equal scores the earlier label is better.

    Args:
        scores: ``(U, K)``.
        truth: ``(U,)`` label indexes.
        k: at least 1.

    Raises:
        ValueError: when the lengths differ or ``k`` is below 1.
    """
    if len(scores) != len(truth) or k < 1:
        raise ValueError(f"{len(scores)} rows of scores, {len(truth)} labels and k = {k} do not fit")
    own = np.take_along_axis(scores, truth[:, None], axis=1)
    earlier = np.arange(scores.shape[1]) < truth[:, None]
    better = (scores > own) | ((scores == own) & earlier)
    return np.asarray(better.sum(axis=1) < k)


def confusion_matrix(predicted: NDArray[np.integer], truth: NDArray[np.integer], num_labels: int) -> NDArray[np.int64]:
    """How often label ``i`` was taken for label ``j``: ``(K, K)`` int64, rows the truth, columns the prediction."""
    cells = np.bincount(truth * num_labels + predicted, minlength=num_labels * num_labels)
    return np.asarray(cells.reshape(num_labels, num_labels), dtype=np.int64)


def balanced_accuracy(counts: LabelCounts) -> NDArray[np.float64]:
    """Mean recall over the labels that are true at all: ``(...,)``; NaN where none is."""
    recall = counts.recall
    known = ~np.isnan(recall)
    return divide(np.nansum(recall, axis=-1), known.sum(axis=-1).astype(np.float64))


def average_precision(
    scores: NDArray[np.floating], targets: NDArray[np.bool_], weights: NDArray[np.float64] | None = None
) -> NDArray[np.float64]:
    """Area under the precision-recall curve of one label, as a sum of steps: ``sum_n (R_n - R_(n-1)) P_n``.

    Each different score is one threshold, so the order of equal scores does not matter.

    Args:
        scores: ``(U,)``.
        targets: ``(U,)`` bool.
        weights: ``(D, U)``, how much each unit counts in each of D draws; by default once.

    Returns:
        ``(D,)`` in [0, 1], D = 1 without weights; NaN where no unit that counts is a true one.
    """
    if weights is None:
        weights = np.ones((1, len(scores)))
    order = np.argsort(-scores, kind="stable")
    ends = np.append(np.flatnonzero(np.diff(scores[order])), len(scores) - 1) if len(scores) else np.zeros(0, np.int64)
    counted = weights[:, order]
    total = np.cumsum(counted, axis=1)[:, ends]
    hits = np.cumsum(counted * targets[order], axis=1)[:, ends]
    if not len(ends):
        return np.full(len(weights), np.nan)
    precision = np.nan_to_num(divide(hits, total))
    steps = np.diff(hits, axis=1, prepend=0.0)
    return divide((steps * precision).sum(axis=1), hits[:, -1])


def mean_average_precision(
    scores: NDArray[np.floating], targets: NDArray[np.bool_], weights: NDArray[np.float64] | None = None
) -> NDArray[np.float64]:
    """Mean :func:`average_precision` over the labels that have a true unit.

    Args:
        scores: ``(U, K)``.
        targets: ``(U, K)`` bool.
        weights: ``(D, U)`` as there.

    Returns:
        ``(D,)``; NaN where no label has one.
    """
    columns = [average_precision(scores[:, k], targets[:, k], weights) for k in range(scores.shape[1])]
    by_label = np.stack(columns, axis=1)
    known = ~np.isnan(by_label)
    return divide(np.nansum(by_label, axis=1), known.sum(axis=1).astype(np.float64))
