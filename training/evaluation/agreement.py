"""Whether single modalities say the same, and what the fusion makes of it where they do not."""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from models.config import Modality
from training.evaluation.measure import Measurer
from training.evaluation.observe import Observation
from training.evaluation.results import AgreementResult, PairAgreement
from training.metrics.bootstrap import Estimate

Marks = NDArray[np.bool_]


def measure_agreement(measurer: Measurer) -> AgreementResult | None:
    """Agreement of the single modalities, on the clips that have at least two; None where there is no such clip."""
    clips = [_Decisions(seen, measurer) for seen in measurer.observations]
    if not any(len(clip.truth) for clip in clips):
        return None

    def share(marks: Callable[[_Decisions], Marks], among: Callable[[_Decisions], Marks]) -> Estimate | None:
        """Of the decisions ``among``, those that ``marks`` has."""
        hits = np.array([float((marks(clip) & among(clip)).sum()) for clip in clips])
        return measurer.bootstrap.ratio(hits, np.array([float(among(clip).sum()) for clip in clips]))

    def pair(first: Modality, second: Modality) -> PairAgreement:
        same = share(lambda clip: clip.same(first, second), lambda clip: clip.has(first) & clip.has(second))
        return PairAgreement((first, second), same)

    repaired = {
        name: sum(int((clip.right(name) & clip.disagreed).sum()) for clip in clips) for name in measurer.modalities
    }
    best = max(repaired, key=lambda name: repaired[name])
    return AgreementResult(
        pairs=tuple(pair(*names) for names in combinations(measurer.modalities, 2)),
        all_agree=share(lambda clip: ~clip.disagreed, lambda clip: clip.everywhere),
        right_where_agreed=share(lambda clip: clip.fused_right, lambda clip: ~clip.disagreed),
        right_where_disagreed=share(lambda clip: clip.fused_right, lambda clip: clip.disagreed),
        best_single=best,
        best_single_right_where_disagreed=share(lambda clip: clip.right(best), lambda clip: clip.disagreed),
    )


class _Decisions:
    """One clip's decisions, S of them: one a window, or with ``multi_label`` one a window and label.

    None at all where the clip has less than two modalities.
    """

    def __init__(self, seen: Observation, measurer: Measurer) -> None:
        self._single = measurer.task == "single_label"
        self._threshold = measurer.threshold
        self._given: dict[Modality, NDArray[np.int64]] = {}
        targets, fused = seen.targets[:0], seen.targets[:0].astype(np.float64)
        if len(seen.present) > 1:
            targets, fused = seen.targets, seen.scores[seen.present]
            self._given = {name: self._decide(seen.scores[(name,)]) for name in seen.present}
        self.truth = self._decide(targets.astype(np.float64))
        self.everywhere: Marks = np.ones(self.truth.shape, dtype=np.bool_)
        self.fused_right: Marks = self._decide(fused) == self.truth
        self.disagreed: Marks = ~self.everywhere
        for first, second in combinations(self._given.values(), 2):
            self.disagreed |= first != second

    def _decide(self, scores: NDArray[np.float64]) -> NDArray[np.int64]:
        if self._single:
            return np.asarray(scores.argmax(axis=1), dtype=np.int64)
        return np.asarray((scores >= self._threshold).ravel(), dtype=np.int64)

    def has(self, name: Modality) -> Marks:
        """Everywhere or nowhere: whether the clip has the modality."""
        return self.everywhere & (name in self._given)

    def same(self, first: Modality, second: Modality) -> Marks:
        """Where two modalities, each alone, say the same; nowhere when the clip lacks one."""
        if first not in self._given or second not in self._given:
            return ~self.everywhere
        return np.asarray(self._given[first] == self._given[second])

    def right(self, name: Modality) -> Marks:
        """Where one modality alone is right; nowhere when the clip lacks it."""
        return np.asarray(self._given[name] == self.truth) if name in self._given else ~self.everywhere
