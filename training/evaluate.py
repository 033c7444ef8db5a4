"""Measuring a checkpoint on a manifest, through the same core that serves it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from handler.pipeline import ActivityPipeline
from models.config import Modality, ModelConfig
from models.settings import SettingsError
from training.dataset import LabelledClip, check_truth, decode_entries
from training.evaluation.agreement import measure_agreement
from training.evaluation.latency import measure_latency
from training.evaluation.measure import Measurer
from training.evaluation.observe import Observation, observe, subsets_of
from training.evaluation.results import Evaluation
from training.evaluation.robustness import measure_robustness
from training.manifest import ManifestEntry, Split, read_manifest
from training.metrics.bootstrap import NUM_DRAWS, Bootstrap

CLIPS_AT_A_TIME = 16
"""Decoded clips are large (of a minute of the demo's hops 10 MB): only so many are in memory."""

Ceilings = Callable[[Sequence[Modality]], float | None]
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Wanted:
    """What of an evaluation is wanted beside the rest, which costs no more than scoring the clips."""

    robustness: bool = False
    """Missing modalities, and noise on the sound, for which the sound is encoded again at each ratio."""
    latency: bool = False
    """Decode and score up to 50 clips again, one at a time."""
    num_draws: int = NUM_DRAWS
    """Of the bootstrap."""


def evaluate(
    pipeline: ActivityPipeline,
    manifest: Path,
    *,
    split: Split | None = None,
    wanted: Wanted | None = None,
    ceilings: Ceilings | None = None,
    progress: Progress | None = None,
) -> Evaluation:
    """Measure a checkpoint on a manifest's clips.

    Args:
        pipeline: the checkpoint's pipeline.
        manifest: the data.
        split: of its entries these only; by default all.
        wanted: what costs more.
        ceilings: gives for some modalities what they can reach at most (:func:`training.manifest.read_ceilings`).
        progress: called with the step's name, the clips done and the clips in all.

    Raises:
        SettingsError: when the checkpoint does not have the manifest's labels, or the split is empty.
        ManifestError: when the manifest cannot be read, or a clip does not decode.
    """
    wanted = wanted or Wanted()
    entries = read_split(manifest, split)
    check_truth(entries, pipeline.config)
    clips = decode_some(entries, pipeline.config, progress)
    result = evaluate_clips(pipeline, clips, wanted=wanted, ceilings=ceilings)
    if not wanted.latency:
        return result
    report = progress or _silent
    latency = measure_latency(pipeline, entries, progress=lambda done, total: report("Measuring times", done, total))
    return replace(result, latency=latency)


def evaluate_clips(
    pipeline: ActivityPipeline,
    clips: Iterable[LabelledClip],
    *,
    wanted: Wanted | None = None,
    ceilings: Ceilings | None = None,
) -> Evaluation:
    """Measure a checkpoint on decoded clips, at least one; ``wanted.latency`` needs files and is left out.

    Args:
        pipeline: the checkpoint's pipeline.
        clips: each is let go when it is scored.
        wanted: what costs more.
        ceilings: as :func:`evaluate` takes it.
    """
    wanted = wanted or Wanted()
    observations = list(observe(pipeline, clips, noise=wanted.robustness))
    return measure(pipeline, observations, wanted, ceilings)


def measure(
    pipeline: ActivityPipeline, observations: Sequence[Observation], wanted: Wanted, ceilings: Ceilings | None
) -> Evaluation:
    """Measure what a model said of at least one clip."""
    config = pipeline.config
    bootstrap = Bootstrap([seen.group for seen in observations], num_draws=wanted.num_draws)
    measurer = Measurer(
        observations, config.modalities, config.labels, config.head.task, config.decision.threshold, bootstrap
    )
    description = pipeline.description
    return Evaluation(
        model=f"{description.name} {description.version}",
        task=config.head.task,
        labels=config.labels,
        num_clips=len(observations),
        num_groups=bootstrap.num_groups,
        num_windows=sum(len(seen.targets) for seen in observations),
        subsets=tuple(measurer.subset(names, ceilings) for names in subsets_of(config.modalities)),
        classes=measurer.classes(),
        confusion=measurer.confusion(),
        segments=measurer.segments(),
        consistency=measurer.consistency(),
        agreement=measure_agreement(measurer),
        calibration=measurer.calibration(description.temperature),
        robustness=measure_robustness(measurer) if wanted.robustness else None,
    )


def read_split(manifest: Path, split: Split | None) -> list[ManifestEntry]:
    """The entries of a split; of all where it is None.

    Raises:
        SettingsError: the split is empty.
        ManifestError: the manifest cannot be read.
    """
    entries = read_manifest(manifest)
    chosen = [entry for entry in entries if split is None or (entry.split or "train") == split]
    if not chosen:
        found = ", ".join(sorted({entry.split or "train" for entry in entries}))
        raise SettingsError(f"the manifest has no clip of split {split!r}; it has {found}.")
    return chosen


def decode_some(
    entries: Sequence[ManifestEntry], config: ModelConfig, progress: Progress | None
) -> Iterator[LabelledClip]:
    """Decode a few clips at a time; progress counts those that were taken."""
    cores = len(os.sched_getaffinity(0))
    done = 0
    for first in range(0, len(entries), CLIPS_AT_A_TIME):
        for clip in decode_entries(entries[first : first + CLIPS_AT_A_TIME], config, jobs=cores):
            yield clip
            done += 1
            if progress is not None:
                progress("Scoring", done, len(entries))


def _silent(step: str, done: int, total: int) -> None:
    """Report nothing."""
