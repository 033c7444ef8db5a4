"""On four windows worked out by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from tests.training.evaluation.observations import make_measurer, make_observations
from training.evaluation.agreement import measure_agreement
from training.evaluation.observe import Observation
from training.metrics.bootstrap import Estimate


def one_hot(labels: list[int]) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    return np.eye(3)[labels]


def value(estimate: Estimate | None) -> float | None:
    return None if estimate is None else estimate.value


def by_hand() -> Observation:
    (seen,) = make_observations(1, num_labels=3, num_windows=4)
    scores = {
        ("video",): one_hot([0, 1, 2, 0]),
        ("audio",): one_hot([0, 2, 1, 0]),
        ("video", "audio"): one_hot([0, 1, 0, 1]),
    }
    return replace(seen, targets=one_hot([0, 1, 0, 0]) > 0, scores=scores)


def test_agreement_by_hand() -> None:
    result = measure_agreement(make_measurer([by_hand()]))
    assert result is not None
    assert [(pair.modalities, value(pair.agreement)) for pair in result.pairs] == [(("video", "audio"), 0.5)]
    assert value(result.all_agree) == 0.5
    assert value(result.right_where_agreed) == 0.5  # windows 0 and 3, of which the fusion spoils the second
    assert value(result.right_where_disagreed) == 1.0  # window 1 repaired as video says, window 2 against both
    assert result.best_single == "video"
    assert value(result.best_single_right_where_disagreed) == 0.5


def test_clips_of_one_modality_do_not_count() -> None:
    lone = replace(by_hand(), present=("audio",), scores={("audio",): one_hot([1, 1, 1, 1])})
    both, alone = measure_agreement(make_measurer([by_hand(), lone])), measure_agreement(make_measurer([by_hand()]))
    assert both is not None
    assert alone is not None
    assert value(both.all_agree) == value(alone.all_agree)
    assert value(both.best_single_right_where_disagreed) == 0.5
    assert measure_agreement(make_measurer([lone])) is None


def test_several_labels_are_decided_one_by_one() -> None:
    (seen,) = make_observations(1, num_labels=2, num_windows=2, task="multi_label")
    video, audio = np.array([[0.9, 0.9], [0.1, 0.1]]), np.array([[0.9, 0.1], [0.1, 0.1]])
    scores = {("video",): video, ("audio",): audio, ("video", "audio"): video}
    measurer = make_measurer([replace(seen, scores=scores, targets=video > 0.5)], "multi_label")
    result = measure_agreement(measurer)
    assert result is not None
    assert value(result.all_agree) == 0.75
    assert (value(result.right_where_disagreed), result.best_single) == (1.0, "video")
