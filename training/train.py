"""Training from a recipe and a manifest to a checkpoint folder."""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from lightning import Callback, LightningModule, Trainer, seed_everything
from lightning.pytorch.callbacks import ModelCheckpoint, RichProgressBar
from torch.utils.data import DataLoader

from handler.inference import Scorer
from handler.runtime import choose_runtime
from handler.transform import Transforms
from models.checkpoint import CheckpointDescription, save_checkpoint
from models.model import build_model
from models.settings import SettingsError
from models.tokenizer import train_tokenizer
from training.calibrate import fit_temperature
from training.dataset import RunDataset, decode_entries, stack_runs
from training.learner import Learner
from training.manifest import ManifestEntry, read_manifest
from training.recipe import Recipe

RESUME_FILE = "last.ckpt"


@dataclass(frozen=True)
class TrainingResult:
    """What a training gave."""

    checkpoint: Path
    """The checkpoint's folder."""
    decode_seconds: float
    fit_seconds: float
    val_accuracy: float
    """Window accuracy on the validation split, all modalities, in [0, 1]."""


class _NextEpoch(Callback):
    """Draws the runs of each epoch before it begins."""

    def __init__(self, dataset: RunDataset) -> None:
        self.dataset = dataset

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        del pl_module
        self.dataset.set_epoch(trainer.current_epoch)


def train(
    recipe: Recipe,
    manifest: Path,
    output: Path,
    *,
    command: str,
    resume: bool = False,
    progress: Callable[[int, int], None] | None = None,
    show_progress: bool = True,
) -> TrainingResult:
    """Train a model and write its checkpoint.

    Args:
        recipe: model and training settings.
        manifest: the data; entries of split ``train`` are learned from, those of ``val`` calibrate the result.
        output: the checkpoint's folder. ``last.ckpt`` in it, written after each epoch, is what ``resume`` goes on
            from.
        command: what was typed, for the checkpoint's record.
        resume: go on from ``last.ckpt``.
        progress: called with clips decoded and clips in all.
        show_progress: show Lightning's progress bar.

    Raises:
        SettingsError: when a split is empty or a label is not the model's.
    """
    training = recipe.training
    entries = read_manifest(manifest)
    learned, held = _splits(entries, recipe)
    seed_everything(training.seed, workers=True, verbose=False)
    tokenizer = None
    if recipe.model.text is not None:
        tokenizer = train_tokenizer(_texts(learned), recipe.model.text.vocab_size)
    transforms = Transforms(recipe.model, tokenizer)
    cores = len(os.sched_getaffinity(0))

    started = time.perf_counter()
    clips = decode_entries([*learned, *held], recipe.model, jobs=cores, progress=progress)
    decode_seconds = time.perf_counter() - started
    learned_clips, held_clips = clips[: len(learned)], clips[len(learned) :]

    dataset = RunDataset(learned_clips, transforms, hops_per_run=training.hops_per_run, seed=training.seed)
    loader = _loader(dataset, training.clips_per_batch)
    validation = RunDataset(held_clips, transforms, hops_per_run=training.hops_per_run, seed=training.seed)
    model = build_model(recipe.model)
    learner = Learner(model, transforms, training, steps=training.epochs * len(loader))
    torch.set_num_threads(cores)
    started = time.perf_counter()
    trainer = _trainer(recipe, output, dataset, show_progress)
    resume_from = output / RESUME_FILE if resume and (output / RESUME_FILE).exists() else None
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*does not have many workers.*")  # the data is in memory
        trainer.fit(learner, loader, _loader(validation, training.clips_per_batch), ckpt_path=resume_from)
    fit_seconds = time.perf_counter() - started

    scorer = Scorer(model, transforms, choose_runtime())
    temperature = fit_temperature(scorer, held_clips)
    accuracy = float(trainer.callback_metrics["val_accuracy"])
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


def _splits(entries: Sequence[ManifestEntry], recipe: Recipe) -> tuple[list[ManifestEntry], list[ManifestEntry]]:
    unknown = {s.label for entry in entries for s in entry.segments} - set(recipe.model.labels)
    if unknown:
        raise SettingsError(
            f"the manifest has labels that the recipe's model does not have: {', '.join(sorted(unknown))}. "
            f"Known labels: {', '.join(recipe.model.labels)}."
        )
    learned = [entry for entry in entries if entry.split != "val"]
    held = [entry for entry in entries if entry.split == "val"]
    if not learned or not held:
        raise SettingsError(
            f"the manifest has {len(learned)} entries to learn from and {len(held)} of split 'val'; both are needed. "
            "Render with `activity synth --val-fraction 0.1`, or set the split of some entries."
        )
    return learned, held


def _texts(entries: Sequence[ManifestEntry]) -> list[str]:
    """The words of the training split; cue markup does not matter to a vocabulary."""
    return [entry.text.read_text(encoding="utf-8") for entry in entries if entry.text is not None]


def _loader(dataset: RunDataset, batch_size: int) -> DataLoader[object]:
    return DataLoader(dataset, batch_size=batch_size, collate_fn=stack_runs)


def _trainer(recipe: Recipe, output: Path, dataset: RunDataset, show_progress: bool) -> Trainer:
    callbacks: list[Callback] = [
        _NextEpoch(dataset),
        ModelCheckpoint(dirpath=output, filename="epoch", save_last=True, save_top_k=0, every_n_epochs=1),
    ]
    if show_progress:
        callbacks.append(RichProgressBar())
    return Trainer(
        max_epochs=recipe.training.epochs,
        gradient_clip_val=recipe.training.gradient_clip,
        callbacks=callbacks,
        logger=False,
        enable_model_summary=False,
        enable_progress_bar=show_progress,
        default_root_dir=output,
    )
