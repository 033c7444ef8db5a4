"""From what a model said of each clip to how good that is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from handler.segments import Task
from models.config import Modality
from training.evaluation.observe import Observation, Subset
from training.evaluation.results import (
    CalibrationResult,
    ClassResult,
    ConsistencyResult,
    SegmentResult,
    SubsetResult,
)
from training.evaluation.units import Units, collect, count_labels, estimate_map, right_decisions
from training.metrics.bootstrap import Bootstrap, Estimate, divide
from training.metrics.calibration import NUM_BINS, assign_bins, expected_calibration_error, reliability_bins
from training.metrics.classification import (
    LabelCounts,
    average_precision,
    balanced_accuracy,
    confusion_matrix,
    top_k_hits,
)
from training.metrics.segments import MatchCounts, clip_boundary_errors, clip_edit_score, match_segments

F1_OVERLAPS = (0.1, 0.25, 0.5)
SCORE_FLOOR = 1e-15  # of a score and of its complement, before the logarithm
TOP_K = 5


@dataclass(frozen=True)
class Measurer:
    """Measures one model's observations, at least one."""

    observations: Sequence[Observation]
    modalities: tuple[Modality, ...]
    labels: tuple[str, ...]
    task: Task
    threshold: float
    """Of a ``multi_label`` decision."""
    bootstrap: Bootstrap

    def units(self, names: Subset) -> Units:
        """The judged windows of the clips that have at least one of these modalities, scored with what they have."""
        left = [tuple(name for name in seen.present if name in names) for seen in self.observations]
        scores = [seen.scores.get(kept) for seen, kept in zip(self.observations, left, strict=True)]
        return collect(self.observations, scores)

    def subset(self, names: Subset, ceilings: Callable[[Sequence[Modality]], float | None] | None) -> SubsetResult:
        """What these modalities reach."""
        units = self.units(names)
        truth = units.targets.argmax(axis=1)
        single = self.task == "single_label"
        counts = np.stack(_parts(count_labels(units, self.task, self.threshold)), axis=1)
        top5 = None
        if single and len(self.labels) > TOP_K:
            top5 = units.share(top_k_hits(units.scores, truth, TOP_K), self.bootstrap)
        return SubsetResult(
            modalities=names,
            num_windows=len(units),
            accuracy=units.share(right_decisions(units, self.task, self.threshold), self.bootstrap),
            top5_accuracy=top5,
            balanced_accuracy=self.bootstrap.of_sums(counts, lambda sums: balanced_accuracy(_counts(sums))),
            mean_average_precision=None if single else estimate_map(units, self.bootstrap),
            clip_accuracy=self._clip_accuracy(units) if single else None,
            ceiling=None if ceilings is None else ceilings(names),
        )

    def _clip_accuracy(self, units: Units) -> Estimate | None:
        if any(len({segment.label for segment in seen.truth}) > 1 for seen in self.observations):
            return None
        judged = np.unique(units.clips)
        scores = units.sum_by_clip(units.scores)[judged]  # the best mean is the best sum
        right = scores.argmax(axis=1) == units.sum_by_clip(units.targets)[judged].argmax(axis=1)
        hits = np.zeros((2, units.num_clips))
        hits[:, judged] = right, np.ones(len(judged))
        return self.bootstrap.ratio(*hits)

    def classes(self) -> tuple[ClassResult, ...]:
        """Each label, with all modalities."""
        units = self.units(self.modalities)
        counts = count_labels(units, self.task, self.threshold)
        return tuple(self._class(label, column, units, counts) for column, label in enumerate(self.labels))

    def _class(self, label: str, column: int, units: Units, counts: LabelCounts) -> ClassResult:
        hits, given, support = (part[:, column] for part in _parts(counts))
        precision = None
        if self.task == "multi_label" and len(units):
            weights = self.bootstrap.of_weights
            scores, targets = units.scores[:, column], units.targets[:, column]
            precision = weights(lambda drawn: average_precision(scores, targets, drawn[:, units.clips]))
        return ClassResult(
            label=label,
            support=int(support.sum()),
            precision=self.bootstrap.ratio(hits, given),
            recall=self.bootstrap.ratio(hits, support),
            f1=self.bootstrap.ratio(2 * hits, given + support),
            average_precision=precision,
        )

    def confusion(self) -> tuple[tuple[int, ...], ...] | None:
        """With all modalities; None with ``multi_label``."""
        if self.task == "multi_label":
            return None
        units = self.units(self.modalities)
        cells = confusion_matrix(units.scores.argmax(axis=1), units.targets.argmax(axis=1), len(self.labels))
        return tuple(tuple(row) for row in cells.tolist())

    @property
    def _has_order(self) -> bool:
        """Whether any clip has a second window, and so a course of time."""
        return any(seen.num_windows > 1 for seen in self.observations)

    def segments(self) -> SegmentResult | None:
        """The answered segments."""
        if not self._has_order:
            return None
        pairs = [(seen.predicted, seen.truth) for seen in self.observations]
        errors = [clip_boundary_errors(*pair) for pair in pairs]
        edits = np.array([clip_edit_score(*pair) for pair in pairs])
        return SegmentResult(
            f1={f"{overlap:g}": self._segmental_f1(overlap) for overlap in F1_OVERLAPS},
            edit=self.bootstrap.ratio(edits, np.ones(len(edits))),
            mean_boundary_error_seconds=self.bootstrap.ratio(
                np.array([error.sum() for error in errors]), np.array([float(len(error)) for error in errors])
            ),
        )

    def _segmental_f1(self, overlap: float) -> Estimate | None:
        counts = [match_segments(seen.predicted, seen.truth, overlap) for seen in self.observations]
        return self.bootstrap.ratio(
            np.array([2.0 * count.true_positives for count in counts]), np.array([_f1_total(count) for count in counts])
        )

    def consistency(self) -> ConsistencyResult | None:
        """Changes of the label a minute."""
        minutes = np.array([seen.seconds / 60 for seen in self.observations])
        if not self._has_order or not minutes.any():
            return None

        def rate(counts: list[int]) -> Estimate | None:
            return self.bootstrap.ratio(np.array(counts, dtype=np.float64), minutes)

        return ConsistencyResult(
            truth=rate([seen.flips.truth for seen in self.observations]),
            before_smoothing=rate([seen.flips.before_smoothing for seen in self.observations]),
            after_smoothing=rate([seen.flips.after_smoothing for seen in self.observations]),
        )

    def calibration(self, temperature: float) -> CalibrationResult | None:
        """Of the best label's score, or with ``multi_label`` of every label's."""
        units = self.units(self.modalities)
        if not len(units):
            return None
        before = self._confidences(change_temperature(units.scores, self.task, temperature, 1.0), units.targets)
        after = self._confidences(units.scores, units.targets)
        return CalibrationResult(
            temperature=temperature,
            error_before=self._calibration_error(units, *before),
            error_after=self._calibration_error(units, *after),
            bins_before=reliability_bins(*before),
            bins_after=reliability_bins(*after),
        )

    def _confidences(
        self, scores: NDArray[np.float64], targets: NDArray[np.bool_]
    ) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        if self.task == "multi_label":
            return scores.ravel(), targets.ravel()
        return scores.max(axis=1), np.asarray(scores.argmax(axis=1) == targets.argmax(axis=1))

    def _calibration_error(
        self, units: Units, confidences: NDArray[np.float64], correct: NDArray[np.bool_]
    ) -> Estimate:
        places = assign_bins(confidences, correct)
        clips = np.repeat(units.clips, len(confidences) // len(units))
        sums = np.zeros((units.num_clips, NUM_BINS, 2))
        np.add.at(sums, (clips, places), np.stack((confidences - correct, np.ones(len(correct))), axis=1))
        found = self.bootstrap.of_sums(
            sums, lambda drawn: divide(np.abs(drawn[..., 0]).sum(axis=1), drawn[..., 1].sum(axis=1))
        )
        value = expected_calibration_error(confidences, correct)
        return Estimate(value, value, value) if found is None else found


def change_temperature(scores: NDArray[np.float64], task: Task, old: float, new: float) -> NDArray[np.float64]:
    """The scores ``(U, K)`` that a model would give at another temperature; equal to them where it is the same."""
    if old == new:
        return scores
    logits = np.log(np.maximum(scores, SCORE_FLOOR))
    if task == "multi_label":
        logits = (logits - np.log(np.maximum(1.0 - scores, SCORE_FLOOR))) * (old / new)
        return np.asarray(1.0 / (1.0 + np.exp(-logits)))
    logits = logits * (old / new)
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))


def _f1_total(count: MatchCounts) -> float:
    """The denominator of a segmental F1."""
    return 2.0 * count.true_positives + count.false_positives + count.false_negatives


def _parts(counts: LabelCounts) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    return counts.true_positives, counts.predicted, counts.support


def _counts(sums: NDArray[np.float64]) -> LabelCounts:
    """``(D, 3, K)`` totals as counts."""
    return LabelCounts(sums[:, 0], sums[:, 1], sums[:, 2])
