"""The loop around a :class:`training.learner.Learner`: Lightning's, kept quiet, resumable, on one or more processes."""

from __future__ import annotations

import logging
import os
import shutil
import signal
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import RichProgressBar
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.strategies import DDPStrategy
from torch import distributed
from torch.utils.data import DataLoader

from models.settings import SettingsError
from training.curriculum import Curriculum
from training.dataset import RunDataset, stack_runs
from training.ema import WeightAverage
from training.history import LOG_FOLDER, History
from training.learner import Learner
from training.recipe import Recipe

RESUME_FILE = "last.ckpt"
STATE_KEY = "recipe"
EXPECTED_WARNINGS = (
    ".*does not have many workers.*",  # the data is in memory
    r"`isinstance\(treespec, LeafSpec\)` is deprecated",  # Lightning 2.6 on torch 2.11
    r".*module\(s\) in eval mode at the start of training.*",  # frozen encoders are
    ".*find_unused_parameters=True was specified.*",  # with modality dropout and frozen encoders some steps have none
)


@dataclass(frozen=True)
class Ranks:
    """The processes of a training, as ``torchrun`` says in the environment."""

    rank: int
    world: int
    local_world: int

    @classmethod
    def of_environment(cls) -> Ranks:
        """One process where nothing is said."""
        rank, world, local = (os.environ.get(name) for name in ("RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE"))
        return cls(int(rank or 0), int(world or 1), int(local or world or 1))


class _Resumable(Callback):
    """Makes what is random a function of the recipe and the step, so that a resumed training goes on as it would have.

    The runs are drawn for each epoch and all other draws are seeded for each batch (Lightning restores no random
    state), differently in each process. After each epoch the state is written, in one file that a later one replaces.
    """

    def __init__(self, dataset: RunDataset, seed: int, rank: int, state: Path, key: str) -> None:
        self.dataset = dataset
        self.entropy = (seed,) if rank == 0 else (seed, rank)
        self.state = state
        self.key = key

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        del pl_module
        self.dataset.set_epoch(trainer.current_epoch)

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: object, batch_idx: int) -> None:
        del pl_module, batch
        number = trainer.current_epoch * int(trainer.num_training_batches) + batch_idx
        seed = np.random.SeedSequence((*self.entropy, number)).generate_state(1, np.uint64)
        torch.manual_seed(int(seed[0]))

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        del pl_module
        draft = self.state.with_name(f".{self.state.name}.tmp")  # a process killed while it writes keeps the last one
        trainer.save_checkpoint(draft)
        if trainer.is_global_zero:
            draft.replace(self.state)

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        del trainer, pl_module
        checkpoint[STATE_KEY] = self.key


class _EpochReport(Callback):
    """Passes on what each epoch reached."""

    def __init__(self, on_epoch: Callable[[int, int, float], None]) -> None:
        self.on_epoch = on_epoch

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        del pl_module
        if trainer.is_global_zero:
            accuracy = float(trainer.callback_metrics["val_accuracy"])
            self.on_epoch(trainer.current_epoch + 1, trainer.max_epochs or 0, accuracy)


@dataclass(frozen=True)
class Loop:
    """One training's loop."""

    recipe: Recipe
    folder: Path
    """Where state, history and logs are written."""
    key: str
    """What a state must have been made with for a resumed training to go on from it."""
    show_progress: bool = False
    on_epoch: Callable[[int, int, float], None] | None = None
    """Called after each epoch with its number, from 1, the epochs in all, and ``val_accuracy``."""

    def fit(self, learner: Learner, dataset: RunDataset, validation: RunDataset, *, state: Path | None) -> None:
        """Train, then give the learner the weights that count: the stage's best, the average, or the last.

        Args:
            learner: what is trained.
            dataset: the runs to learn from.
            validation: the runs to validate on.
            state: a ``last.ckpt`` to go on from.

        Raises:
            KeyboardInterrupt: when it was stopped; ``last.ckpt`` is that of the last whole epoch.
            SettingsError: when ``state`` does not fit what was learned from the clips.
        """
        ranks = Ranks.of_environment()
        if state is None and ranks.rank == 0:
            shutil.rmtree(self.folder / LOG_FOLDER, ignore_errors=True)
        decay = self.recipe.training.ema_decay
        average = None if decay is None else WeightAverage(decay)
        curriculum = Curriculum(self.recipe, average)
        logger = TensorBoardLogger(save_dir=self.folder, name=LOG_FOLDER, version="") if ranks.rank == 0 else None
        callbacks: list[Callback] = [] if average is None else [average]
        callbacks += [curriculum, History(self.folder, curriculum, logger)]
        callbacks.append(
            _Resumable(dataset, self.recipe.training.seed, ranks.rank, self.folder / RESUME_FILE, self.key)
        )
        if self.on_epoch is not None:
            callbacks.append(_EpochReport(self.on_epoch))
        try:
            with _quiet_lightning(), _stoppable():
                trainer = self._trainer(callbacks, ranks)
                loader, held = (build_loader(runs, self.recipe) for runs in (dataset, validation))
                trainer.fit(learner, loader, held, ckpt_path=state, weights_only=True)
        except RuntimeError as exc:
            if state is None or "loading state_dict" not in str(exc):
                raise
            raise SettingsError(
                f"{state} is the state of a training with other clips: what was learned from them has other sizes. "
                "Give that manifest, another folder for the output, or train without --resume."
            ) from exc
        finally:
            if logger is not None:
                logger.experiment.close()
            if distributed.is_initialized():
                distributed.destroy_process_group()
        weights = curriculum.best_weights or (None if average is None else average.average)
        if weights:
            learner.load_state_dict(weights)

    def _trainer(self, callbacks: list[Callback], ranks: Ranks) -> Trainer:
        training = self.recipe.training
        on_gpu = torch.cuda.is_available() and torch.cuda.device_count() >= ranks.local_world
        half = training.precision == "bfloat16" or (training.precision == "auto" and on_gpu)
        backend = "nccl" if on_gpu else "gloo"
        together = (
            DDPStrategy(find_unused_parameters=True, process_group_backend=backend) if ranks.world > 1 else "auto"
        )
        show_progress = self.show_progress and ranks.rank == 0
        return Trainer(
            accelerator="gpu" if on_gpu else "cpu",
            devices=ranks.local_world,
            num_nodes=ranks.world // ranks.local_world,
            strategy=together,
            precision="bf16-mixed" if half else "32-true",
            max_epochs=sum(stage.epochs for stage in self.recipe.stages),
            accumulate_grad_batches=training.accumulate_batches,
            gradient_clip_val=training.gradient_clip,
            callbacks=[*callbacks, RichProgressBar()] if show_progress else callbacks,
            logger=False,
            enable_checkpointing=False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
            enable_progress_bar=show_progress,
            default_root_dir=self.folder,
        )


def build_loader(dataset: RunDataset, recipe: Recipe) -> DataLoader[object]:
    """Batches of runs, in the dataset's order, which is random."""
    return DataLoader(dataset, batch_size=recipe.training.clips_per_batch, collate_fn=stack_runs)


def count_steps(dataset: RunDataset, recipe: Recipe, ranks: Ranks) -> int:
    """Optimizer steps in an epoch."""
    runs = -(-len(dataset) // ranks.world)  # of each process; the last ones are given twice
    batches = -(-runs // recipe.training.clips_per_batch)
    return -(-batches // recipe.training.accumulate_batches)


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
