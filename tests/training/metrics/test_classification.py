"""Against literal values (scikit-learn's documented examples where it has one) and slow references."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from training.metrics.classification import (
    LabelCounts,
    average_precision,
    balanced_accuracy,
    confusion_matrix,
    mean_average_precision,
    top_k_hits,
)


def counts_of(predicted: list[int], truth: list[int], num_labels: int) -> LabelCounts:
    cells = confusion_matrix(np.array(predicted, dtype=np.int64), np.array(truth, dtype=np.int64), num_labels)
    return LabelCounts(*(part.astype(np.float64) for part in (np.diag(cells), cells.sum(axis=0), cells.sum(axis=1))))


def test_confusion_has_the_truth_in_its_rows() -> None:
    cells = confusion_matrix(np.array([1, 1, 0, 2]), np.array([0, 1, 0, 1]), 3)
    assert cells.tolist() == [[1, 1, 0], [0, 1, 1], [0, 0, 0]]


def test_balanced_accuracy_as_scikit_learn_documents_it() -> None:
    # balanced_accuracy_score([0, 1, 0, 0, 1, 0], [0, 1, 0, 0, 0, 1]) is 0.625
    assert balanced_accuracy(counts_of([0, 1, 0, 0, 0, 1], [0, 1, 0, 0, 1, 0], 2)) == 0.625
    assert balanced_accuracy(counts_of([0, 1, 0, 0, 0, 1], [0, 1, 0, 0, 1, 0], 5)) == 0.625  # labels that never occur
    assert np.isnan(balanced_accuracy(counts_of([], [], 3)))


def test_precision_recall_and_f1_by_label() -> None:
    counts = counts_of([0, 2, 1, 0, 0, 1], [0, 1, 2, 0, 1, 2], 4)
    # precision_recall_fscore_support of the same gives 2/3, 0, 0; 1, 0, 0; 0.8, 0, 0.
    np.testing.assert_allclose(counts.precision, [2 / 3, 0, 0, 0])
    np.testing.assert_allclose(counts.recall, [1, 0, 0, np.nan])
    np.testing.assert_allclose(counts.f1, [0.8, 0, 0, np.nan])


def test_top_k_by_hand() -> None:
    scores = np.array([[0.5, 0.2, 0.2], [0.3, 0.4, 0.2], [0.2, 0.4, 0.3], [0.7, 0.2, 0.1]])
    truth = np.array([0, 1, 2, 2])
    # top_k_accuracy_score's documented example: 0.75 at k = 2.
    assert top_k_hits(scores, truth, 2).tolist() == [True, True, True, False]
    assert top_k_hits(scores, truth, 1).tolist() == [True, True, False, False]
    assert top_k_hits(scores, truth, 9).all()
    with pytest.raises(ValueError, match="do not fit"):
        top_k_hits(scores, truth, 0)


@given(st.lists(st.lists(st.integers(0, 3), min_size=4, max_size=4), min_size=1, max_size=20), st.integers(1, 4))
def test_top_k_is_what_sorting_gives(rows: list[list[int]], k: int) -> None:
    """Equal scores in the order of the labels, so that the best one is the one of argmax."""
    scores = np.array(rows, dtype=np.float64)
    truth = np.arange(len(rows)) % 4
    expected = [label in np.argsort(-row, kind="stable")[:k] for row, label in zip(scores, truth, strict=True)]
    assert top_k_hits(scores, truth, k).tolist() == expected
    assert top_k_hits(scores, truth, 1).tolist() == (scores.argmax(axis=1) == truth).tolist()


# --- average precision --------------------------------------------------------------------------------------------


def slow_average_precision(scores: list[float], targets: list[bool]) -> float:
    """Every different score as a threshold, from the highest down."""
    area, recall_before = 0.0, 0.0
    for threshold in sorted(set(scores), reverse=True):
        given_marks = [target for score, target in zip(scores, targets, strict=True) if score >= threshold]
        recall = sum(given_marks) / sum(targets)
        area += (recall - recall_before) * sum(given_marks) / len(given_marks)
        recall_before = recall
    return area


def test_average_precision_as_scikit_learn_documents_it() -> None:
    # average_precision_score([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8]) is 0.8333...
    targets = np.array([False, False, True, True])
    assert average_precision(np.array([0.1, 0.4, 0.35, 0.8]), targets) == pytest.approx([0.5 + 0.5 * 2 / 3], abs=1e-15)
    # Equal scores are one threshold: in no order of the four does anything change.
    assert average_precision(np.array([0.3, 0.3, 0.3, 0.3]), targets).tolist() == [0.5]
    assert average_precision(np.array([0.1, 0.2, 0.9, 0.8]), targets).tolist() == [1.0]


def test_without_a_true_unit_there_is_no_average_precision() -> None:
    assert np.isnan(average_precision(np.array([0.5, 0.2]), np.array([False, False]))).all()
    assert np.isnan(average_precision(np.zeros(0), np.zeros(0, dtype=np.bool_))).all()


@given(st.lists(st.tuples(st.integers(0, 6), st.booleans()), min_size=1, max_size=30))
def test_average_precision_equals_the_slow_reference(units: list[tuple[int, bool]]) -> None:
    scores, targets = [score / 6 for score, _ in units], [target for _, target in units]
    found = average_precision(np.array(scores), np.array(targets))
    if any(targets):
        assert found == pytest.approx([slow_average_precision(scores, targets)], abs=1e-12)
    else:
        assert np.isnan(found).all()


@given(st.lists(st.tuples(st.integers(0, 6), st.booleans(), st.integers(0, 3)), min_size=1, max_size=20))
def test_a_weight_is_a_repetition(units: list[tuple[int, bool, int]]) -> None:
    repeated = [unit for unit in units for _ in range(unit[2])]
    columns: tuple[NDArray[np.int64], ...] = tuple(np.array(column) for column in zip(*units, strict=True))
    found = average_precision(columns[0] / 6, columns[1].astype(np.bool_), columns[2][None].astype(np.float64))
    if any(target for _, target, _ in repeated):
        expected = slow_average_precision([score / 6 for score, _, _ in repeated], [unit[1] for unit in repeated])
        assert found == pytest.approx([expected], abs=1e-12)
    else:
        assert np.isnan(found).all()


def test_the_mean_is_over_the_labels_that_occur() -> None:
    scores = np.array([[0.9, 0.1, 0.5], [0.2, 0.8, 0.5], [0.3, 0.9, 0.5]])
    targets = np.array([[True, False, False], [False, True, False], [False, False, False]])
    assert mean_average_precision(scores, targets) == pytest.approx([(1.0 + 0.5) / 2])
    twice = mean_average_precision(scores, targets, np.array([[1.0, 1.0, 1.0], [0.0, 1.0, 0.0]]))
    assert twice == pytest.approx([0.75, 1.0])
