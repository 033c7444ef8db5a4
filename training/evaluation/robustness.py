"""What is left when a modality is missing by chance, or noise is on the sound."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from models.config import Modality
from training.evaluation.measure import Measurer
from training.evaluation.observe import SNRS_DB, Observation, Subset
from training.evaluation.results import MissingResult, NoiseResult, RobustnessResult
from training.evaluation.units import collect, estimate_headline
from training.metrics.bootstrap import Bootstrap, Estimate

PROBABILITIES = (0.1, 0.3, 0.5, 0.7, 0.9)
EACH = "each"
"""Stands for all modalities, each by its own draw."""
SOUND: Subset = ("audio",)
MAP_DRAWS = 100  # of an interval of mean average precision, which costs a pass over all windows for each draw


def measure_robustness(measurer: Measurer, *, seed: int = 0) -> RobustnessResult:
    """The headline measure under missing modalities, and under noise where the observations have it.

    A clip lacks a modality when its draw, one a clip and modality, is below the probability: what is missing at a low
    one is missing at a higher one too. Whoever would be left with nothing keeps the modality of the highest draw.
    """
    num_modalities = len(measurer.modalities)
    draws = np.random.default_rng(seed).uniform(size=(len(measurer.observations), num_modalities))
    missing = []
    if num_modalities > 1:
        missing = [
            MissingResult(name, probability, _score_missing(measurer, draws, name, probability))
            for name in (*measurer.modalities, EACH)
            for probability in PROBABILITIES
        ]
    return RobustnessResult(tuple(missing), tuple(_noise(measurer)))


def _score_missing(
    measurer: Measurer, draws: NDArray[np.float64], name: Modality, probability: float
) -> Estimate | None:
    scores = [
        seen.scores[_kept(seen, dict(zip(measurer.modalities, row, strict=True)), name, probability)]
        for seen, row in zip(measurer.observations, draws.tolist(), strict=True)
    ]
    return _estimate(measurer, scores)


def _kept(seen: Observation, draws: dict[Modality, float], name: Modality, probability: float) -> Subset:
    """What a clip is left with."""
    kept = tuple(other for other in seen.present if draws[other] >= probability or (name not in (EACH, other)))
    return kept or tuple(sorted(seen.present, key=lambda other: draws[other])[-1:])


def _noise(measurer: Measurer) -> list[NoiseResult]:
    """Sound alone, on the clips that have sound; then all that a clip has, on all clips."""
    seen = measurer.observations
    if not any(clip.noisy for clip in seen):
        return []
    results = []
    for snr_db in SNRS_DB:
        alone = [clip.noisy.get((SOUND, snr_db)) for clip in seen]
        results.append(NoiseResult(snr_db, SOUND, _estimate(measurer, alone)))
    if measurer.modalities != SOUND:
        for snr_db in SNRS_DB:
            scores = [clip.noisy.get((clip.present, snr_db), clip.scores[clip.present]) for clip in seen]
            results.append(NoiseResult(snr_db, measurer.modalities, _estimate(measurer, scores)))
    return results


def _estimate(measurer: Measurer, scores: Sequence[NDArray[np.float64] | None]) -> Estimate | None:
    bootstrap = measurer.bootstrap
    if measurer.task == "multi_label":
        bootstrap = Bootstrap([seen.group for seen in measurer.observations], num_draws=MAP_DRAWS)
    return estimate_headline(collect(measurer.observations, scores), measurer.task, bootstrap)
