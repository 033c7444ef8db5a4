"""Training from a recipe and a manifest to a checkpoint folder."""

from __future__ import annotations

import logging
import pickle
import signal
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import RichProgressBar
from torch.utils.data import DataLoader

from handler.inference import Scorer
from handler.runtime import choose_runtime
from handler.transform import Transforms
from models.checkpoint import CheckpointDescription, save_checkpoint
from models.model import build_model
from models.settings import SettingsError
from models.tokenizer import train_tokenizer
from training.calibrate import fit_temperature, score_held_out
from training.dataset import LabelledClip, RunDataset, check_truth, decode_entries, stack_runs
from training.learner import Learner
from training.manifest import ManifestEntry, read_manifest
from training.recipe import Recipe

RESUME_FILE = "last.ckpt"
RECIPE_KEY = "recipe"
EXPECTED_WARNINGS = (
    ".*does not have many workers.*",  # the data is in memory
    r"`isinstance\(treespec, LeafSpec\)` is deprecated",  # Lightning 2.6 on torch 2.11
)


@dataclass(frozen=True)
class TrainingResult:
    """What a training gave."""

    checkpoint: Path
    """The checkpoint's folder."""
    decode_seconds: float
    fit_seconds: float
    val_accuracy: float
    """Window accuracy on the validation split, all modalities, as it is served, in [0, 1]."""


class _Resumable(Callback):
    """Makes what is random a function of the recipe and the step, so that a resumed training goes on as it would have.

    The runs are drawn for each epoch and dropout is seeded for each step (Lightning restores no random state). After
    each epoch the state is written, in one file that a later one replaces.
    """

    def __init__(self, dataset: RunDataset, recipe: Recipe, state: Path) -> None:
        self.dataset = dataset
        self.recipe = recipe
        self.state = state

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        del pl_module
        self.dataset.set_epoch(trainer.current_epoch)

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: object, batch_idx: int) -> None:
        del pl_module, batch, batch_idx
        seed = np.random.SeedSequence((self.recipe.training.seed, trainer.global_step)).generate_state(1, np.uint64)
        torch.manual_seed(int(seed[0]))

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        del pl_module
        trainer.save_checkpoint(self.state)

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, object]) -> None:
        del trainer, pl_module
        checkpoint[RECIPE_KEY] = self.recipe.model_dump_json()


class _EpochReport(Callback):
    """Passes on what each epoch reached."""

    def __init__(self, on_epoch: Callable[[int, int, float], None]) -> None:
        self.on_epoch = on_epoch

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        del pl_module
        accuracy = float(trainer.callback_metrics["val_accuracy"])
        self.on_epoch(trainer.current_epoch + 1, trainer.max_epochs or 0, accuracy)


def train(
    recipe: Recipe,
    manifest: Path,
    output: Path,
    *,
    command: str,
    resume: bool = False,
    progress: Callable[[int, int], None] | None = None,
    show_progress: bool = True,
    on_epoch: Callable[[int, int, float], None] | None = None,
) -> TrainingResult:
    """Train a model and write its checkpoint.

    Args:
        recipe: model and training settings.
        manifest: the data; entries of split ``train`` are learned from, those of ``val`` calibrate the result.
        output: the checkpoint's folder. ``last.ckpt`` in it, written after each epoch, is what ``resume`` goes on
            from.
        command: what was typed, for the checkpoint's record.
        resume: go on from ``last.ckpt``, where there is one.
        progress: called with clips decoded and clips in all.
        show_progress: show Lightning's progress bar.
        on_epoch: called after each epoch with its number, from 1, the epochs in all, and the window accuracy on runs
            of the validation split.

    Raises:
        SettingsError: when a split is empty or has no labelled window, the model cannot learn what the manifest says
            (:func:`training.dataset.check_truth`), or ``last.ckpt`` is not of this recipe.
        ManifestError: when the manifest cannot be read, or a clip does not decode.
        KeyboardInterrupt: when it was stopped; ``last.ckpt`` is that of the last whole epoch.
    """
    training = recipe.training
    entries = read_manifest(manifest)
    check_truth(entries, recipe.model)
    learned, held = _splits(entries)
    resume_from = _find_state(output, recipe) if resume else None
    threads = choose_runtime().threads

    started = time.perf_counter()
    clips = decode_entries([*learned, *held], recipe.model, jobs=threads, progress=progress)
    decode_seconds = time.perf_counter() - started
    learned_clips, held_clips = clips[: len(learned)], clips[len(learned) :]
    tokenizer = None
    if recipe.model.text is not None:
        tokenizer = train_tokenizer(_texts(learned_clips), recipe.model.text.vocab_size)
    transforms = Transforms(recipe.model, tokenizer)

    dataset = _dataset(learned_clips, transforms, recipe, "to learn from")
    validation = _dataset(held_clips, transforms, recipe, "of split 'val'")
    loader = _loader(dataset, recipe)
    torch.manual_seed(training.seed)
    model = build_model(recipe.model)
    learner = Learner(model, transforms, training, steps=training.epochs * len(loader))
    torch.set_num_threads(threads)
    started = time.perf_counter()
    with _quiet_lightning(), _stoppable():
        trainer = _trainer(recipe, output, dataset, show_progress)
        if on_epoch is not None:
            trainer.callbacks.append(_EpochReport(on_epoch))  # type: ignore[attr-defined]  # Lightning sets it late
        trainer.fit(learner, loader, _loader(validation, recipe), ckpt_path=resume_from, weights_only=True)
    fit_seconds = time.perf_counter() - started

    windows = score_held_out(Scorer(model, transforms, choose_runtime()), held_clips)
    temperature, accuracy = fit_temperature(windows), windows.accuracy
    description = CheckpointDescription(
        name=recipe.name,
        version=recipe.version,
        config=recipe.model,
        temperature=temperature,
        training={"command": command, "settings": training.model_dump(mode="json"), "clips": len(learned)},
        metrics={"val_accuracy": round(accuracy, 4)},
    )
    save_checkpoint(output, description, model, tokenizer)
    return TrainingResult(output, decode_seconds, fit_seconds, accuracy)


def _splits(entries: Sequence[ManifestEntry]) -> tuple[list[ManifestEntry], list[ManifestEntry]]:
    learned = [entry for entry in entries if entry.split != "val"]
    held = [entry for entry in entries if entry.split == "val"]
    if not learned or not held:
        raise SettingsError(
            f"the manifest has {len(learned)} entries to learn from and {len(held)} of split 'val'; both are needed. "
            "Render with `activity synth --val-fraction 0.1`, or set the split of some entries."
        )
    return learned, held


def _find_state(output: Path, recipe: Recipe) -> Path | None:
    """The state to go on from; None where there is none."""
    path = output / RESUME_FILE
    if not path.exists():
        return None
    try:
        written_by = torch.load(path, map_location="cpu", weights_only=True, mmap=True).get(RECIPE_KEY)
    except (RuntimeError, pickle.UnpicklingError, AttributeError) as exc:
        raise SettingsError(f"{path} is no state of a training: {exc}. Remove it, or train without --resume.") from exc
    if written_by != recipe.model_dump_json():
        raise SettingsError(
            f"{path} is the state of a training with another recipe. Give that recipe, another folder for the output, "
            "or train without --resume."
        )
    return path


def _texts(clips: Sequence[LabelledClip]) -> list[str]:
    """The words that the model will see, each clip's once."""
    return [text for clip in clips for text in dict.fromkeys(clip.clip.texts or ())]


def _dataset(clips: Sequence[LabelledClip], transforms: Transforms, recipe: Recipe, which: str) -> RunDataset:
    dataset = RunDataset(clips, transforms, hops_per_run=recipe.training.hops_per_run, seed=recipe.training.seed)
    if not any(targets.any() for targets in dataset.targets):
        raise SettingsError(
            f"no window of the {len(clips)} clips {which} has a label at its centre: give segments that are longer "
            "than the model's stride."
        )
    return dataset


def _loader(dataset: RunDataset, recipe: Recipe) -> DataLoader[object]:
    return DataLoader(dataset, batch_size=recipe.training.clips_per_batch, collate_fn=stack_runs)


@contextmanager
def _quiet_lightning() -> Iterator[None]:
    """Keep from the user what Lightning says of accelerators, of its makers' products and of what is as it should be.

    A logger's own level is what it asks first, so each of Lightning's packages is set, and set back.
    """
    loggers = [logging.getLogger(name) for name in ("lightning", "lightning.fabric", "lightning.pytorch")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.WARNING)
    try:
        with warnings.catch_warnings():
            for message in EXPECTED_WARNINGS:
                warnings.filterwarnings("ignore", message=message)
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


@contextmanager
def _stoppable() -> Iterator[None]:
    """Let Ctrl-C be a KeyboardInterrupt: Lightning makes it an exit, and leaves later ones ignored."""
    handler = signal.getsignal(signal.SIGINT)
    try:
        yield
    except SystemExit as exc:
        signal.signal(signal.SIGINT, handler)
        raise KeyboardInterrupt from exc


def _trainer(recipe: Recipe, output: Path, dataset: RunDataset, show_progress: bool) -> Trainer:
    callbacks: list[Callback] = [_Resumable(dataset, recipe, output / RESUME_FILE)]
    if show_progress:
        callbacks.append(RichProgressBar())
    return Trainer(
        max_epochs=recipe.training.epochs,
        gradient_clip_val=recipe.training.gradient_clip,
        callbacks=callbacks,
        logger=False,
        enable_checkpointing=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        enable_progress_bar=show_progress,
        default_root_dir=output,
    )
