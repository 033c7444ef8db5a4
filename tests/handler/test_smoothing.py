from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from handler.smoothing import ActivitySmoothing

scores_arrays = st.tuples(st.integers(1, 30), st.integers(1, 4)).flatmap(
    lambda shape: arrays(np.float64, shape, elements=st.floats(0, 1))
)
smoothings = st.integers(1, 12).flatmap(
    lambda num_windows: st.builds(ActivitySmoothing, st.just(num_windows), st.integers(0, num_windows - 1))
)


def slow_mean(scores: NDArray[np.float64], num_windows: int, lookahead: int) -> list[list[float]]:
    rows = []
    for index in range(len(scores)):
        near = [k for k in range(index - (num_windows - 1 - lookahead), index + lookahead + 1) if 0 <= k < len(scores)]
        rows.append([sum(float(scores[k, label]) for k in near) / len(near) for label in range(scores.shape[1])])
    return rows


def test_default_is_five_windows_centred() -> None:
    impulse = np.zeros((9, 1))
    impulse[4] = 1.0
    assert ActivitySmoothing()(impulse).ravel().tolist() == [0, 0, 0.2, 0.2, 0.2, 0.2, 0.2, 0, 0]


def test_edges_are_averaged_over_what_is_there() -> None:
    ramp = np.arange(1.0, 7.0)[:, None]
    assert ActivitySmoothing()(ramp).ravel().tolist() == [2.0, 2.5, 3.0, 4.0, 4.5, 5.0]
    assert ActivitySmoothing(5, 0)(ramp).ravel().tolist() == [1.0, 1.5, 2.0, 2.5, 3.0, 4.0]
    assert ActivitySmoothing(5, 4)(ramp).ravel().tolist() == [3.0, 4.0, 4.5, 5.0, 5.5, 6.0]


def test_one_window_changes_nothing() -> None:
    scores = np.array([[0.1, 0.9], [0.7, 0.3]])
    assert (ActivitySmoothing(1, 0)(scores) == scores).all()


@given(scores_arrays, smoothings)
def test_equals_the_slow_mean(scores: NDArray[np.float64], smoothing: ActivitySmoothing) -> None:
    before = scores.copy()
    smoothed = smoothing(scores)
    assert smoothed.dtype == np.float64
    np.testing.assert_allclose(smoothed, slow_mean(scores, smoothing.num_windows, smoothing.lookahead), atol=1e-12)
    assert (scores == before).all()


@given(st.floats(0, 1), st.integers(1, 30), smoothings)
def test_constant_in_constant_out(value: float, num_scores: int, smoothing: ActivitySmoothing) -> None:
    smoothed = smoothing(np.full((num_scores, 2), value))
    np.testing.assert_allclose(smoothed, value, rtol=1e-14, atol=0)


@given(scores_arrays, smoothings, st.data())
def test_what_lies_beyond_the_lookahead_changes_nothing(
    scores: NDArray[np.float64], smoothing: ActivitySmoothing, data: st.DataObject
) -> None:
    cut = data.draw(st.integers(0, len(scores)))
    changed = scores.copy()
    changed[cut:] = 1 - scores[cut:]
    final = max(0, cut - smoothing.lookahead)
    assert (smoothing(changed)[:final] == smoothing(scores)[:final]).all()


@given(scores_arrays, smoothings, st.data())
def test_a_window_depends_on_its_neighbours_only_to_the_last_bit(
    scores: NDArray[np.float64], smoothing: ActivitySmoothing, data: st.DataObject
) -> None:
    """A stream that forgets what it no longer needs gives what the whole file gives."""
    start = data.draw(st.integers(0, len(scores)))
    memory = smoothing.num_windows - 1 - smoothing.lookahead
    tail = smoothing(scores[start:])
    warm = memory if start else 0
    assert (tail[warm:] == smoothing(scores)[start + warm :]).all()


@given(scores_arrays, smoothings)
def test_softmax_rows_stay_normalised(logits: NDArray[np.float64], smoothing: ActivitySmoothing) -> None:
    scores = np.exp(20 * logits)
    scores /= scores.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(smoothing(scores).sum(axis=1), 1.0, atol=1e-12)


@pytest.mark.parametrize(("num_windows", "lookahead"), [(0, 0), (5, 5), (5, -1)])
def test_impossible_spans_are_refused(num_windows: int, lookahead: int) -> None:
    with pytest.raises(ValueError, match="must be"):
        ActivitySmoothing(num_windows, lookahead)


def test_scores_have_two_axes() -> None:
    with pytest.raises(ValueError, match=r"\(W, K\), got \(5,\)"):
        ActivitySmoothing()(np.zeros(5))
