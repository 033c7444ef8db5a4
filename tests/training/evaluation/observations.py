"""Clips that were never there, scored by a model that was never trained: the more modalities, the more often right."""

from __future__ import annotations

import numpy as np

from handler.segments import Segment, Task
from training.evaluation.measure import Measurer
from training.evaluation.observe import SNRS_DB, Flips, Observation, subsets_of
from training.manifest import LabelledSegment
from training.metrics.bootstrap import Bootstrap


def make_observations(
    num_clips: int,
    modalities: tuple[str, ...] = ("video", "audio"),
    num_labels: int = 4,
    task: Task = "single_label",
    num_windows: int = 5,
) -> list[Observation]:
    """Clips of some windows each, with scores for every subset and noise on the sound where there is one."""
    rng = np.random.default_rng(7)
    made = []
    for number in range(num_clips):
        labels = rng.integers(0, num_labels, size=(num_windows, 1 if task == "single_label" else 2))
        targets = np.zeros((num_windows, num_labels), dtype=np.bool_)
        np.put_along_axis(targets, labels, values=True, axis=1)

        def draw(
            strength: float, targets: np.ndarray[tuple[int, ...], np.dtype[np.bool_]] = targets
        ) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
            logits = rng.normal(size=targets.shape) + strength * targets
            if task == "multi_label":
                return np.asarray(1 / (1 + np.exp(1 - logits)))
            return np.asarray(np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True))

        scores = {names: draw(1.5 * len(names)) for names in subsets_of(modalities)}
        keys = [("audio",), modalities] if "audio" in modalities else []
        noisy = {(names, snr): draw(len(names) + snr / 10) for names in keys for snr in SNRS_DB}
        label = f"label {labels[0, 0]}"
        made.append(
            Observation(
                group=f"group {number // 2}",
                seconds=10.0,
                num_windows=num_windows,
                present=modalities,
                targets=targets,
                scores=scores,
                predicted=(Segment(0.0, 10.0, label, 0.9),),
                truth=(LabelledSegment(0.0, 10.0, label),),
                flips=Flips(2, 5, 3),
                noisy=noisy,
            )
        )
    return made


def make_measurer(observations: list[Observation], task: Task = "single_label", num_draws: int = 50) -> Measurer:
    """A measurer of them; the labels are called by their numbers."""
    return Measurer(
        observations,
        max((seen.present for seen in observations), key=len),
        tuple(f"label {number}" for number in range(observations[0].targets.shape[1])),
        task,
        0.5,
        Bootstrap([seen.group for seen in observations], num_draws=num_draws),
    )
