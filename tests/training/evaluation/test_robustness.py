"""Missing modalities: nested draws, nobody left with nothing, and in the limits what the subsets reach."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from handler.segments import Task
from tests.training.evaluation.observations import make_measurer, make_observations
from training.evaluation import robustness
from training.evaluation.measure import Measurer
from training.evaluation.results import MissingResult
from training.evaluation.robustness import EACH, PROBABILITIES, measure_robustness


def scores_of(missing: tuple[MissingResult, ...], name: str) -> list[float]:
    return [each.score.value for each in missing if each.modality == name and each.score is not None]


@pytest.mark.parametrize("task", ["single_label", "multi_label"])
def test_the_more_is_missing_the_worse(task: Task) -> None:
    measurer = make_measurer(make_observations(120, ("video", "audio"), 6, task), task)
    result = measure_robustness(measurer)
    for name in ("video", "audio", EACH):
        curve = scores_of(result.missing, name)
        assert len(curve) == len(PROBABILITIES)
        assert curve == sorted(curve, reverse=True)
    assert scores_of(result.missing, EACH)[-1] < scores_of(result.missing, "video")[-1] + 0.05
    assert measure_robustness(measurer) == result


def test_limits_are_what_the_subsets_reach(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(robustness, "PROBABILITIES", (0.0, 1.0))
    measurer = make_measurer(make_observations(30))
    missing = measure_robustness(measurer).missing

    def accuracy(*names: str) -> float:
        found = measurer.subset(names, None).accuracy
        assert found is not None
        return found.value

    assert scores_of(missing, "video") == [accuracy("video", "audio"), accuracy("audio")]
    assert scores_of(missing, "audio") == [accuracy("video", "audio"), accuracy("video")]
    last = scores_of(missing, EACH)[-1]  # one of the two is left, by chance
    assert min(accuracy("audio"), accuracy("video")) - 0.1 < last < accuracy("video", "audio")


def test_noise_is_measured_on_clips_with_sound() -> None:
    """Sound alone where there is sound; all that a clip has everywhere, also where no noise can be added."""
    heard, silent = make_observations(2)
    video = silent.scores["video",]
    silent = replace(silent, present=("video",), scores={("video",): video}, noisy={})
    wrong = replace(heard, noisy={key: np.roll(heard.targets, 1, axis=1).astype(np.float64) for key in heard.noisy})
    right = replace(silent, scores={("video",): silent.targets.astype(np.float64)})
    measurer = make_measurer([wrong, right])
    noise = measure_robustness(measurer).noise
    values = {(each.modalities, each.snr_db): each.score.value for each in noise if each.score is not None}
    assert values[("audio",), 0.0] == 0.0
    assert values[("video", "audio"), 0.0] == 0.5


def test_one_modality_cannot_be_missing() -> None:
    measurer: Measurer = make_measurer(make_observations(4, ("audio",)))
    result = measure_robustness(measurer)
    assert result.missing == ()
    assert {each.modalities for each in result.noise} == {("audio",)}
    assert measure_robustness(make_measurer(make_observations(4, ("video",)))).noise == ()
