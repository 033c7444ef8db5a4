from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.metrics.calibration import expected_calibration_error, reliability_bins


def test_calibration_error_by_hand() -> None:
    # Bins (0.6, 0.667], (0.867, 0.933] and (0.933, 1]: gaps 0.65, 0.9 - 0.5 and 0, of 1, 2 and 1 predictions.
    confidences = np.array([0.65, 0.9, 0.9, 1.0])
    correct = np.array([False, True, False, True])
    assert expected_calibration_error(confidences, correct) == pytest.approx((0.65 + 2 * 0.4 + 0.0) / 4, abs=1e-15)


def test_calibrated_is_zero_and_confidently_wrong_is_one() -> None:
    assert expected_calibration_error(np.full(4, 0.75), np.array([True, True, True, False])) == 0.0
    assert expected_calibration_error(np.ones(3), np.zeros(3, dtype=np.bool_)) == 1.0
    assert expected_calibration_error(np.zeros(3), np.zeros(3, dtype=np.bool_)) == 0.0


def test_a_bin_holds_its_upper_edge() -> None:
    # 0.2 ends the third of 15 bins and 0.1999 lies in it: their gaps (-0.8 and 0.1999) add up before they count.
    together = expected_calibration_error(np.array([0.2, 0.1999]), np.array([True, False]))
    apart = expected_calibration_error(np.array([0.2001, 0.1999]), np.array([True, False]))
    assert together == pytest.approx((0.8 - 0.1999) / 2, abs=1e-15)
    assert apart == pytest.approx((0.7999 + 0.1999) / 2, abs=1e-15)


@pytest.mark.parametrize(
    ("confidences", "correct", "message"),
    [
        ([0.5], [True, False], "one shape"),
        ([], [], "at least one"),
        ([1.01], [True], r"\[0, 1\]"),
        ([math.nan], [True], r"\[0, 1\]"),
    ],
)
def test_calibration_needs_sound_scores(confidences: list[float], correct: list[bool], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        expected_calibration_error(np.array(confidences), np.array(correct, dtype=np.bool_))


@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=40))
def test_calibration_equals_the_slow_reference(predictions: list[tuple[float, bool]]) -> None:
    expected = 0.0
    for number in range(15):
        low, high = number / 15, (number + 1) / 15
        members = [item for item in predictions if low < item[0] <= high or (number == 0 and item[0] == 0.0)]
        if members:
            confidence = sum(item[0] for item in members) / len(members)
            accuracy = sum(item[1] for item in members) / len(members)
            expected += len(members) / len(predictions) * abs(accuracy - confidence)
    confidences, correct = (np.array(column) for column in zip(*predictions, strict=True))
    assert expected_calibration_error(confidences, correct) == pytest.approx(expected, abs=1e-12)


def test_bins_by_hand() -> None:
    bins = reliability_bins(np.array([0.1, 0.2, 0.3, 0.95]), np.array([False, True, False, True]), num_bins=4)
    assert [(b.low, b.high, b.count) for b in bins] == [(0.0, 0.25, 2), (0.25, 0.5, 1), (0.5, 0.75, 0), (0.75, 1.0, 1)]
    assert [b.accuracy for b in bins] == [0.5, 0.0, None, 1.0]
    assert bins[0].confidence == pytest.approx(0.15)
    assert bins[2].confidence is None


@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=40))
def test_the_bins_add_up_to_the_error(predictions: list[tuple[float, bool]]) -> None:
    confidences, correct = (np.array(column) for column in zip(*predictions, strict=True))
    gaps = [
        b.count * abs(b.accuracy - b.confidence)
        for b in reliability_bins(confidences, correct)
        if b.accuracy is not None and b.confidence is not None
    ]
    assert sum(gaps) / len(correct) == pytest.approx(expected_calibration_error(confidences, correct), abs=1e-12)
