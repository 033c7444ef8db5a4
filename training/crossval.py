"""Cross-validation: a training for each fold, each in a process of its own with one thread."""

from __future__ import annotations

import multiprocessing
import os
import statistics
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, wait
from dataclasses import asdict, dataclass
from pathlib import Path
from queue import Empty, Queue

import numpy as np

from handler.inference import Scorer
from handler.runtime import THREADS_VARIABLE, choose_runtime
from handler.transform import Transforms
from models.checkpoint import load_checkpoint
from models.settings import SettingsError
from training.calibrate import score_held_out
from training.dataset import check_truth, decode_entries
from training.manifest import ManifestEntry
from training.recipe import Recipe
from training.train import Watch, train

POLL_SECONDS = 0.2


@dataclass(frozen=True)
class FoldResult:
    """What one fold reached; accuracies in [0, 1]."""

    fold: int
    train_clips: int
    val_clips: int
    test_clips: int
    val_accuracy: float
    """Of the windows of the validation clips."""
    window_accuracy: float | None
    """Of the test clips' labelled windows; None where the test clips were left alone."""
    clip_accuracy: float | None
    """Of the test clips, by the mean of their windows' scores; None too where a clip has more than one label."""
    seconds: float


@dataclass(frozen=True)
class CrossValidation:
    """What all folds reached."""

    folds: tuple[FoldResult, ...]

    @property
    def measure(self) -> str:
        """The figure that counts: ``clip_accuracy`` where there is one, else that of the windows."""
        for name in ("clip_accuracy", "window_accuracy"):
            if all(getattr(fold, name) is not None for fold in self.folds):
                return name
        return "val_accuracy"

    @property
    def values(self) -> list[float]:
        """It, by fold."""
        return [float(getattr(fold, self.measure)) for fold in self.folds]

    @property
    def mean(self) -> float:
        """Over the folds."""
        return statistics.fmean(self.values)

    @property
    def spread(self) -> float:
        """Standard deviation between the folds, of a sample."""
        return statistics.stdev(self.values)

    def to_json(self) -> dict[str, object]:
        """Plain values."""
        summary = {"measure": self.measure, "mean": round(self.mean, 4), "spread": round(self.spread, 4)}
        return {**summary, "folds": [asdict(fold) for fold in self.folds]}


def cross_validate(
    recipe: Recipe,
    folds: dict[int, list[ManifestEntry]],
    output: Path,
    *,
    command: str,
    jobs: int,
    with_test: bool = True,
    progress: Callable[[int, int], None] | None = None,
    on_fold: Callable[[FoldResult], None] | None = None,
) -> CrossValidation:
    """Train and measure each fold.

    Args:
        recipe: model and training settings, the same for all.
        folds: by number, all clips with their split (:func:`training.splits.deal_folds`).
        output: folder of the folds' checkpoints, ``fold-<number>``.
        command: what was typed, for the checkpoints' records.
        jobs: folds at a time.
        with_test: measure the test clips; without, recipes can be compared without looking at them.
        progress: called with the epochs done and those of all folds.
        on_fold: called with each fold's result when it is there.

    Raises:
        SettingsError: as :func:`training.train.train` does.
        ManifestError: the same.
    """
    check_truth([entry for entries in folds.values() for entry in entries], recipe.model)
    epochs = sum(stage.epochs for stage in recipe.stages)
    context = multiprocessing.get_context("spawn")
    done = dict.fromkeys(folds, 0)
    environment = {name: os.environ.get(name) for name in ("OMP_NUM_THREADS", THREADS_VARIABLE)}
    os.environ.update(dict.fromkeys(environment, "1"))  # what the processes begin with
    try:
        with context.Manager() as manager, ProcessPoolExecutor(jobs, mp_context=context) as pool:
            reached: Queue[tuple[int, int]] = manager.Queue()
            pending = {
                pool.submit(
                    _run_fold, recipe, fold, entries, output / f"fold-{fold}", command, with_test, reached
                ): fold
                for fold, entries in folds.items()
            }
            results: list[FoldResult] = []
            try:
                while pending:
                    finished, _ = wait(pending, timeout=POLL_SECONDS, return_when="FIRST_COMPLETED")
                    _take_reports(reached, done)
                    for future in finished:
                        done[pending.pop(future)] = epochs
                        results.append(_announced(future, on_fold))
                    if progress is not None:
                        progress(sum(done.values()), epochs * len(folds))
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise
    finally:
        for name, value in environment.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})
    return CrossValidation(tuple(sorted(results, key=lambda result: result.fold)))


def _announced(future: Future[FoldResult], on_fold: Callable[[FoldResult], None] | None) -> FoldResult:
    result = future.result()
    if on_fold is not None:
        on_fold(result)
    return result


def _take_reports(reached: Queue[tuple[int, int]], done: dict[int, int]) -> None:
    while True:
        try:
            fold, epoch = reached.get_nowait()
        except Empty:
            return
        done[fold] = epoch


def _run_fold(
    recipe: Recipe,
    fold: int,
    entries: Sequence[ManifestEntry],
    output: Path,
    command: str,
    with_test: bool,
    reached: Queue[tuple[int, int]],
) -> FoldResult:
    began = time.perf_counter()
    watch = Watch(on_epoch=lambda epoch, _, __: reached.put((fold, epoch)))
    result = train(recipe, entries, output, command=command, watch=watch)
    test = [entry for entry in entries if entry.split == "test"]
    windows, clips = measure_test(output, test) if with_test else (None, None)
    learned, held = (sum(entry.split == split for entry in entries) for split in ("train", "val"))
    seconds = round(time.perf_counter() - began, 1)
    return FoldResult(fold, learned, held, len(test), round(result.val_accuracy, 4), windows, clips, seconds)


def measure_test(checkpoint: Path, entries: Sequence[ManifestEntry]) -> tuple[float, float | None]:
    """Window and clip accuracy of a checkpoint on held-out clips, as it serves them.

    Raises:
        SettingsError: when no window of them has a label.
    """
    loaded = load_checkpoint(checkpoint)
    config = loaded.description.config
    transforms = Transforms(config, loaded.tokenizer)
    scorer = Scorer(loaded.model, transforms, choose_runtime(), temperature=loaded.description.temperature)
    clips = decode_entries(entries, config, jobs=1)
    windows = score_held_out(scorer, clips)
    if not windows.num_labelled:
        raise SettingsError(f"no window of the {len(clips)} test clips has a label")
    if config.head.task != "single_label" or any(len(clip.entry.labels) != 1 for clip in clips):
        return round(windows.accuracy, 4), None
    best = [int(np.argmax(scorer.score(clip.clip).scores.mean(axis=0))) for clip in clips]
    right = [config.labels[index] == clip.entry.labels[0] for index, clip in zip(best, clips, strict=True)]
    return round(windows.accuracy, 4), round(float(np.mean(right)), 4)
