"""Measures over clips that lack modalities, and temperatures undone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from handler.segments import Task
from tests.training.evaluation.observations import make_measurer, make_observations
from training.evaluation.measure import change_temperature
from training.metrics.calibration import expected_calibration_error
from training.metrics.classification import mean_average_precision


def test_a_subset_is_judged_on_the_clips_that_have_any_of_it() -> None:
    both, lone = make_observations(2)
    lone = replace(lone, present=("audio",), scores={("audio",): lone.scores["audio",]})
    measurer = make_measurer([both, lone])
    assert [measurer.subset(names, None).num_windows for names in [("video",), ("audio",), ("video", "audio")]] == [
        5,
        10,
        10,
    ]
    scores = measurer.units(("video", "audio")).scores
    np.testing.assert_array_equal(scores, np.concatenate([both.scores["video", "audio"], lone.scores["audio",]]))


def test_measures_are_those_of_all_windows() -> None:
    observations = make_observations(20, num_labels=7)
    result = make_measurer(observations).subset(("video",), lambda names: len(names) / 10)
    scores = np.concatenate([seen.scores["video",] for seen in observations])
    targets = np.concatenate([seen.targets for seen in observations])
    truth = targets.argmax(axis=1)
    hits = scores.argmax(axis=1) == truth
    recalls = [hits[truth == label].mean() for label in range(7)]
    top5 = [label in np.argsort(-row)[:5] for row, label in zip(scores, truth, strict=True)]
    found = [each.value for each in (result.accuracy, result.balanced_accuracy, result.top5_accuracy) if each]
    assert found == pytest.approx([hits.mean(), np.mean(recalls), np.mean(top5)])
    assert (result.ceiling, result.mean_average_precision) == (0.1, None)


def test_a_large_table_is_measured_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    measurer = make_measurer(make_observations(9, task="multi_label"), "multi_label")
    whole = measurer.subset(("audio",), None).mean_average_precision
    monkeypatch.setattr("training.evaluation.units.WEIGHTS_PER_STEP", 100)
    assert measurer.subset(("audio",), None).mean_average_precision == whole
    units = measurer.units(("audio",))
    assert whole is not None
    assert whole.value == pytest.approx(mean_average_precision(units.scores, units.targets)[0])


@pytest.mark.parametrize("task", ["single_label", "multi_label"])
def test_a_temperature_is_undone(task: Task) -> None:
    logits = np.random.default_rng(2).normal(0.0, 3.0, size=(50, 4))

    def scores(temperature: float) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
        powers = np.exp(logits / temperature)
        return np.asarray(
            powers / powers.sum(axis=1, keepdims=True) if task == "single_label" else powers / (1 + powers)
        )

    np.testing.assert_allclose(change_temperature(scores(1.7), task, 1.7, 1.0), scores(1.0), atol=1e-12)
    assert change_temperature(scores(1.7), task, 1.7, 1.7) is not None
    extreme = np.array([[1.0, 0.0]])
    assert np.isfinite(change_temperature(extreme, task, 3.0, 1.0)).all()


@pytest.mark.parametrize("task", ["single_label", "multi_label"])
def test_the_calibration_is_that_of_all_windows(task: Task) -> None:
    observations = make_observations(15, task=task)
    result = make_measurer(observations, task).calibration(1.0)
    scores = np.concatenate([seen.scores["video", "audio"] for seen in observations])
    targets = np.concatenate([seen.targets for seen in observations])
    if task == "single_label":
        expected = expected_calibration_error(scores.max(axis=1), scores.argmax(axis=1) == targets.argmax(axis=1))
    else:
        expected = expected_calibration_error(scores.ravel(), targets.ravel())
    assert result is not None
    assert result.error_after.value == pytest.approx(expected)
    assert result.error_before == result.error_after
    assert sum(each.count for each in result.bins_after) == (75 if task == "single_label" else 300)


def test_clips_of_one_window_have_no_course_of_time() -> None:
    measurer = make_measurer(make_observations(3, num_windows=1))
    assert (measurer.segments(), measurer.consistency()) == (None, None)


def test_changes_a_minute() -> None:
    result = make_measurer(make_observations(3)).consistency()
    assert result is not None
    rates = [each.value for each in (result.truth, result.before_smoothing, result.after_smoothing) if each]
    assert rates == pytest.approx([12.0, 30.0, 18.0])  # 2, 5 and 3 in 10 s


def test_a_clip_is_told_by_the_mean_of_its_windows() -> None:
    """Two windows of three are wrong by little, one is right by much; the other clip is wrong."""
    first, second = make_observations(2, ("audio",), num_labels=2, num_windows=3)
    targets = np.array([[True, False]] * 3)
    scores = np.array([[0.4, 0.6], [0.4, 0.6], [0.9, 0.1]])
    right = replace(first, targets=targets, scores={("audio",): scores})
    wrong = replace(second, targets=targets, scores={("audio",): 1.0 - scores})
    result = make_measurer([right, wrong]).subset(("audio",), None)
    assert result.clip_accuracy is not None
    assert result.accuracy is not None
    assert (result.clip_accuracy.value, result.accuracy.value) == (0.5, 0.5)
    alone = make_measurer([right]).subset(("audio",), None)
    assert alone.clip_accuracy is not None
    assert alone.accuracy is not None
    assert alone.clip_accuracy.value == 1.0
    assert alone.accuracy.value == pytest.approx(1 / 3)
    two = replace(right, truth=(*right.truth, replace(right.truth[0], label="another")))
    assert make_measurer([two]).subset(("audio",), None).clip_accuracy is None
