"""What a model says of each clip, beside the truth: all that the measures need, and no clip any more."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from handler.inference import EncodedClip
from handler.options import RequestOptions, ResolvedOptions, resolve_options
from handler.pipeline import ActivityPipeline
from handler.segments import Segment, Task
from handler.smoothing import ActivitySmoothing
from models.config import Modality, ModelConfig
from training.dataset import LabelledClip, window_targets
from training.evaluation.noise import add_noise
from training.manifest import LabelledSegment

Subset = tuple[Modality, ...]

SNRS_DB = (20.0, 10.0, 5.0, 0.0, -5.0, -10.0)


@dataclass(frozen=True)
class Flips:
    """Changes of the label from one window to the next, in one clip."""

    truth: int
    before_smoothing: int
    after_smoothing: int


@dataclass(frozen=True)
class Observation:
    """One clip: J judged windows, K labels."""

    group: str
    """What is drawn together with it in a bootstrap."""
    seconds: float
    """Its length."""
    num_windows: int
    """All windows, judged or not."""
    present: tuple[Modality, ...]
    """The modalities that it has, in the order of the model's."""
    targets: NDArray[np.bool_]
    """``(J, K)`` bool."""
    scores: dict[Subset, NDArray[np.float64]]
    """``(J, K)`` in [0, 1], before smoothing, for each subset of ``present``."""
    predicted: tuple[Segment, ...]
    truth: tuple[LabelledSegment, ...]
    flips: Flips
    noisy: dict[tuple[Subset, float], NDArray[np.float64]] = field(default_factory=dict)
    """``(J, K)`` with noise on the sound, by what was used beside it and the ratio in dB; empty where none was added
    or the clip has no sound."""


def subsets_of(modalities: Sequence[Modality]) -> list[Subset]:
    """All non-empty subsets, small ones first."""
    return [subset for size in range(1, len(modalities) + 1) for subset in combinations(modalities, size)]


def observe(pipeline: ActivityPipeline, clips: Iterable[LabelledClip], *, noise: bool = False) -> Iterator[Observation]:
    """Score clips, one at a time, with every subset of their modalities; hops are encoded once for all of them.

    Args:
        pipeline: the checkpoint's.
        clips: decoded clips and their truth.
        noise: score them with noise on the sound too.
    """
    options = default_options(pipeline.config)
    for number, labelled in enumerate(clips):
        yield _observe_clip(pipeline, labelled, number, options, noise=noise)


def default_options(config: ModelConfig) -> ResolvedOptions:
    """Those of a request that asks for nothing; without "none of these", which no manifest has."""
    if config.zero_shot is not None:
        config = config.model_copy(update={"zero_shot": config.zero_shot.model_copy(update={"none_label": None})})
    return resolve_options(RequestOptions(), config)


def _observe_clip(
    pipeline: ActivityPipeline, labelled: LabelledClip, number: int, options: ResolvedOptions, *, noise: bool
) -> Observation:
    clip, config = labelled.clip, pipeline.config
    encoded = pipeline.scorer.encode(clip)
    present = tuple(name for name in config.modalities if name in clip.masks)
    rows, targets = judged_windows(labelled, config)
    by_subset = {names: pipeline.scorer.fuse(encoded, names) for names in subsets_of(present)}
    everything = by_subset[present]
    noisy = {}
    if noise and "audio" in present:
        noisy = {key: scores[rows] for key, scores in _score_noisy(pipeline, encoded, present, number).items()}
    return Observation(
        group=f"clip {number}" if labelled.entry.group is None else f"group {labelled.entry.group}",
        seconds=clip.schedule.span.duration_seconds,
        num_windows=clip.schedule.num_windows,
        present=present,
        targets=targets,
        scores={names: scored.scores[rows] for names, scored in by_subset.items()},
        predicted=pipeline.decide(clip, everything, options).segments,
        truth=labelled.entry.segments,
        flips=_count_flips(labelled, everything.scores, options, config),
        noisy=noisy,
    )


def _score_noisy(
    pipeline: ActivityPipeline, encoded: EncodedClip, present: Subset, number: int
) -> dict[tuple[Subset, float], NDArray[np.float64]]:
    """Scores ``(W, K)`` with noise at each ratio, of sound alone and of all; only the sound is encoded again."""
    scores = {}
    for snr_db in SNRS_DB:
        clip = add_noise(encoded.clip, snr_db, hop_samples=pipeline.config.hop_samples, seed=number)
        tokens = pipeline.scorer.encode(clip, ("audio",)).tokens
        noisy = EncodedClip(clip, {**encoded.tokens, **tokens})
        for names in dict.fromkeys([("audio",), present]):
            scores[names, snr_db] = pipeline.scorer.fuse(noisy, names).scores
    return scores


def judged_windows(labelled: LabelledClip, config: ModelConfig) -> tuple[list[int], NDArray[np.bool_]]:
    """The windows that are judged, and what is true of them.

    With ``single_label`` a window is judged when all that it sees is one activity; across a change there is no one
    right label. With ``multi_label`` every window is, by the labels at its centre.

    Returns:
        J window indexes, and ``(J, K)`` bool.
    """
    if config.head.task == "multi_label":
        targets = window_targets(labelled.entry.segments, labelled.clip.schedule, config.labels) > 0
        return list(range(len(targets))), targets
    inside = inside_windows(labelled)
    truth = np.array([config.labels.index(label) for _, label in inside], dtype=np.int64)
    return [window for window, _ in inside], np.asarray(truth[:, None] == np.arange(len(config.labels)))


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


def _count_flips(
    labelled: LabelledClip, scores: NDArray[np.float64], options: ResolvedOptions, config: ModelConfig
) -> Flips:
    truth = window_targets(labelled.entry.segments, labelled.clip.schedule, config.labels) > 0
    smoothed = ActivitySmoothing(options.smoothing_windows, options.lookahead_windows)(scores)
    before, after = (decide(values, config.head.task, options.threshold) for values in (scores, smoothed))
    return Flips(*(count_changes(decided, config.head.task) for decided in (truth, before, after)))


def decide(scores: NDArray[np.float64], task: Task, threshold: float) -> NDArray[np.bool_]:
    """Which labels the scores ``(W, K)`` give to each window: ``(W, K)`` bool.

    The best one, or with ``multi_label`` all that reach ``threshold``.
    """
    if task == "multi_label":
        return np.asarray(scores >= threshold)
    return np.asarray(scores.argmax(axis=1)[:, None] == np.arange(scores.shape[1]))


def count_changes(decided: NDArray[np.bool_], task: Task) -> int:
    """Changes between neighbouring windows ``(W, K)``: of the one label, or with ``multi_label`` of each label."""
    changed = decided[1:] != decided[:-1]
    return int(changed.sum() if task == "multi_label" else changed.any(axis=1).sum())
