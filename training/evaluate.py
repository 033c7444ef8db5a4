"""Measuring a checkpoint on a manifest, through the same core that serves it."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import combinations
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from handler.clip import Clip, ModalityStatus
from handler.inference import ScoredWindows
from handler.options import RequestOptions, resolve_options
from handler.pipeline import ActivityPipeline
from models.config import Modality
from models.settings import SettingsError
from training.dataset import LabelledClip, check_truth, decode_entries
from training.manifest import LabelledSegment, read_manifest
from training.metrics import (
    boundary_error_seconds,
    edit_score,
    expected_calibration_error,
    segmental_f1,
    window_accuracy,
)

F1_OVERLAPS = (0.1, 0.25, 0.5)


@dataclass(frozen=True)
class SubsetAccuracy:
    """Window accuracy with some of the modalities."""

    modalities: tuple[Modality, ...]
    accuracy: float | None
    """Share of windows inside one activity whose best label is right, before smoothing, in [0, 1]; None
    where there is no such window."""
    ceiling: float | None
    """What these modalities can reach at most, by the data's construction; None where that is not known."""


@dataclass(frozen=True)
class Evaluation:
    """What a checkpoint reaches on a manifest; scores in [0, 1], times in seconds."""

    num_clips: int
    num_windows: int
    """Windows that lie inside one activity."""
    subsets: tuple[SubsetAccuracy, ...]
    f1: dict[str, float]
    """Segmental F1 by IoU threshold."""
    edit: float
    mean_boundary_error_seconds: float | None
    """None where no clip has two activities."""
    calibration_error: float | None
    """Expected calibration error of the windows' scores before smoothing, 15 bins; None without windows."""

    def to_json(self) -> dict[str, object]:
        """Plain values."""
        return asdict(self)


def evaluate(
    pipeline: ActivityPipeline,
    manifest: Path,
    *,
    ceilings: Callable[[Sequence[Modality]], float | None] | None = None,
    progress: Callable[[str, int, int], None] | None = None,
) -> Evaluation:
    """Measure a single-label checkpoint. A window is inside an activity when all that it sees is.

    Args:
        pipeline: the checkpoint's pipeline.
        manifest: the data.
        ceilings: gives for some modalities what they can reach at most (:func:`training.manifest.read_ceilings`).
        progress: called with the step's name, the clips done and the clips in all.

    Raises:
        SettingsError: when the checkpoint is a multi-label one, or does not have the manifest's labels.
        ManifestError: when the manifest cannot be read, or a clip does not decode.
    """
    if pipeline.config.head.task != "single_label":
        raise SettingsError("this measures how well one label at a time is told; the checkpoint's head is multi_label")
    report = progress or _silent
    entries = read_manifest(manifest)
    check_truth(entries, pipeline.config)
    cores = len(os.sched_getaffinity(0))
    clips = decode_entries(entries, pipeline.config, jobs=cores, progress=partial(report, "decode"))
    insides = [inside_windows(clip) for clip in clips]
    subsets = []
    for names in _subsets(pipeline.config.modalities):
        step = " + ".join(names)
        scored = _score_subset(pipeline, clips, names, partial(report, step))
        decisions = _decide_windows(scored, insides, pipeline.config.labels)
        ceiling = None if ceilings is None else ceilings(names)
        subsets.append(SubsetAccuracy(names, window_accuracy(decisions.predicted, decisions.truth), ceiling))
    # The last subset is all modalities: its segments are the ones that are measured.
    options = resolve_options(RequestOptions(), pipeline.config)
    predicted = [
        pipeline.decide(clip.clip, output, options).segments for clip, output in zip(clips, scored, strict=True)
    ]
    truths = [clip.entry.segments for clip in clips]
    return Evaluation(
        num_clips=len(clips),
        num_windows=len(decisions.truth),
        subsets=tuple(subsets),
        f1={f"{overlap:g}": segmental_f1(predicted, truths, overlap) for overlap in F1_OVERLAPS},
        edit=edit_score(predicted, truths),
        mean_boundary_error_seconds=boundary_error_seconds(predicted, truths),
        calibration_error=decisions.calibration_error,
    )


def _silent(step: str, done: int, total: int) -> None:
    """Report nothing."""


def _subsets(modalities: Sequence[Modality]) -> list[tuple[Modality, ...]]:
    """All non-empty subsets, small ones first."""
    return [subset for size in range(1, len(modalities) + 1) for subset in combinations(modalities, size)]


def _score_subset(
    pipeline: ActivityPipeline,
    clips: Sequence[LabelledClip],
    names: Sequence[Modality],
    report: Callable[[int, int], None],
) -> list[ScoredWindows]:
    """Score each clip as if only these modalities had been sent."""
    scored = []
    for number, labelled in enumerate(clips, start=1):
        scored.append(pipeline.scorer.score(keep_modalities(labelled.clip, names)))
        report(number, len(clips))
    return scored


@dataclass(frozen=True)
class _Decisions:
    """The windows inside one activity, of all clips."""

    predicted: NDArray[np.int64]
    """``(W,)``, index of the best label."""
    truth: NDArray[np.int64]
    """``(W,)``, index of the activity's label."""
    confidences: NDArray[np.float64]
    """``(W,)``, the best label's score."""

    @property
    def calibration_error(self) -> float | None:
        """In [0, 1]; None where there is no window."""
        right = self.predicted == self.truth
        return expected_calibration_error(self.confidences, right) if len(right) else None


def _decide_windows(
    scored: Sequence[ScoredWindows], insides: Sequence[Sequence[tuple[int, str]]], labels: Sequence[str]
) -> _Decisions:
    rows = [
        (output.scores[window], labels.index(label))
        for output, inside in zip(scored, insides, strict=True)
        for window, label in inside
    ]
    scores = np.array([row for row, _ in rows]).reshape(-1, len(labels))
    truth = np.array([index for _, index in rows], dtype=np.int64)
    return _Decisions(scores.argmax(axis=1), truth, scores.max(axis=1))


def inside_windows(labelled: LabelledClip) -> list[tuple[int, str]]:
    """The windows that lie wholly inside one activity, with its label."""
    schedule = labelled.clip.schedule
    spans = [schedule.window_span(window) for window in range(schedule.num_windows)]
    return [
        (window, segment.label)
        for window, span in enumerate(spans)
        for segment in labelled.entry.segments
        if _contains(segment, span.start_seconds, span.stop_seconds)
    ]


def _contains(segment: LabelledSegment, start_seconds: float, stop_seconds: float) -> bool:
    tolerance = 1e-6
    return segment.start_seconds - tolerance <= start_seconds and stop_seconds <= segment.stop_seconds + tolerance


def keep_modalities(clip: Clip, names: Sequence[Modality]) -> Clip:
    """The clip as if only these modalities had been sent, on the same schedule."""
    statuses = {
        name: status if name in names else ModalityStatus(used=False, code="not_sent", reason="left out")
        for name, status in clip.modalities.items()
    }
    return replace(clip, modalities=statuses, masks={name: mask for name, mask in clip.masks.items() if name in names})
