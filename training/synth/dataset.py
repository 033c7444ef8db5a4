"""A folder of rendered clips with its list: what every kind of dataset shares."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from training.manifest import DatasetRecord, ManifestEntry, Split, write_dataset_record, write_manifest

MANIFEST_NAME = "manifest.jsonl"
CLIPS_NAME = "clips"
"""The folder of the clips' files."""

Task = Callable[[], ManifestEntry]
"""Renders one clip and writes its files; it can be pickled."""
Progress = Callable[[int, int], None]
"""Called with how many clips are done and how many there are."""


@dataclass(frozen=True)
class RenderSettings:
    """What every kind of dataset is asked for.

    Raises:
        ValueError: when one of them is out of range.
    """

    num_clips: int
    """At least 1; a larger dataset of the same seed begins with the same clips."""
    seed: int
    """Not negative; another seed gives a held-out dataset."""
    val_fraction: float = 0.0
    """Share of the clips whose split is ``val``, drawn by clip."""
    jobs: int = 1
    """Processes."""

    def __post_init__(self) -> None:
        if self.num_clips < 1 or self.seed < 0 or self.jobs < 1 or not 0 <= self.val_fraction <= 1:
            raise ValueError(
                f"needs num_clips >= 1, seed >= 0, jobs >= 1 and val_fraction in [0, 1], "
                f"got {self.num_clips}, {self.seed}, {self.jobs} and {self.val_fraction}"
            )


def write_dataset(
    out: Path,
    tasks: Sequence[Task],
    settings: RenderSettings,
    ceilings: Mapping[str, float],
    progress: Progress | None = None,
) -> Path:
    """Run the tasks and list what they rendered in a manifest, written last, with a ``dataset.json`` beside it.

    Args:
        out: a folder, made when it is not there; an earlier render's manifest is removed first, and files of the same
            names are replaced.
        tasks: one a clip.
        settings: as the tasks were made from.
        ceilings: the highest accuracy that each subset of the modalities allows.
        progress: called after each clip.

    Returns:
        The manifest's path.
    """
    (out / CLIPS_NAME).mkdir(parents=True, exist_ok=True)
    manifest = out / MANIFEST_NAME
    manifest.unlink(missing_ok=True)  # an interrupted render must not look like a whole one
    entries: dict[int, ManifestEntry] = {}
    for index, entry in _run(tasks, settings.jobs):
        entries[index] = entry
        if progress is not None:
            progress(len(entries), len(tasks))
    record = DatasetRecord(
        generator="activity synth", seed=settings.seed, clips=settings.num_clips, ceilings=dict(ceilings)
    )
    write_dataset_record(manifest, record)
    splits = _draw_splits(settings)
    write_manifest(manifest, [replace(entries[index], split=split) for index, split in enumerate(splits)])
    return manifest


def _run(tasks: Sequence[Task], jobs: int) -> Iterator[tuple[int, ManifestEntry]]:
    """Render in this process, or in ``jobs`` fresh ones; in the order of completion."""
    if jobs == 1:
        yield from ((index, task()) for index, task in enumerate(tasks))
        return
    pool = ProcessPoolExecutor(jobs, mp_context=multiprocessing.get_context("spawn"))
    try:
        futures = {pool.submit(task): index for index, task in enumerate(tasks)}
        for future in as_completed(futures):
            yield futures[future], future.result()
    finally:
        pool.shutdown(cancel_futures=True)  # after an error or an interrupt, what has not begun never will


def _draw_splits(settings: RenderSettings) -> list[Split]:
    order = np.random.default_rng([settings.seed, 104]).permutation(settings.num_clips)
    held = set(order[: round(settings.val_fraction * settings.num_clips)].tolist())
    return ["val" if index in held else "train" for index in range(settings.num_clips)]
