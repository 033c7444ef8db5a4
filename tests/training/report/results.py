"""A whole evaluation of clips that were never there."""

from __future__ import annotations

from dataclasses import replace

from handler.segments import Task
from tests.training.evaluation.observations import make_measurer, make_observations
from training.evaluation.agreement import measure_agreement
from training.evaluation.observe import subsets_of
from training.evaluation.results import Evaluation, LatencyResult, Percentiles
from training.evaluation.robustness import measure_robustness


def make_result(
    *,
    modalities: tuple[str, ...] = ("video", "audio"),
    num_labels: int = 4,
    num_clips: int = 12,
    task: Task = "single_label",
    long_names: bool = False,
) -> Evaluation:
    """Everything measured."""
    observations = make_observations(num_clips, modalities, num_labels, task)
    measurer = make_measurer(observations, task)
    if long_names:
        measurer = replace(measurer, labels=tuple(f"a_long_name_of_an_activity_{n:03d}" for n in range(num_labels)))
    return Evaluation(
        model="made <up> 1",
        task=task,
        labels=measurer.labels,
        num_clips=num_clips,
        num_groups=measurer.bootstrap.num_groups,
        num_windows=sum(len(seen.targets) for seen in observations),
        subsets=tuple(measurer.subset(names, lambda kept: len(kept) / 4) for names in subsets_of(modalities)),
        classes=measurer.classes(),
        confusion=measurer.confusion(),
        segments=measurer.segments(),
        consistency=measurer.consistency(),
        agreement=measure_agreement(measurer),
        calibration=measurer.calibration(1.4),
        robustness=measure_robustness(measurer),
        latency=LatencyResult(3, 10.0, Percentiles(0.1, 0.2), Percentiles(0.3, 0.4), 25.0, "cpu", "float32", 2),
    )
