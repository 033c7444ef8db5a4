"""The curriculum: when a stage ends, which weights of the last one are kept, and when the training is over."""

from __future__ import annotations

from typing import Any

from lightning import Callback, LightningModule, Trainer
from torch import Tensor

from training.ema import WeightAverage
from training.learner import Learner
from training.recipe import EarlyStoppingConfig, Metric, Recipe, UntilConfig


class Plateau:
    """Says when a metric has not improved by more than ``min_delta`` for ``patience`` epochs."""

    def __init__(self, metric: Metric, patience: int, min_delta: float = 0.0) -> None:
        self.sign = -1.0 if metric == "val_loss" else 1.0
        self.patience = patience
        self.min_delta = min_delta
        self.best: float | None = None
        self.waited = 0

    def improved(self, value: float) -> bool:
        """Take in an epoch's value; whether it is the best so far. NaN never is."""
        better = self.best is None or self.sign * (value - self.best) > self.min_delta
        better = better and value == value  # noqa: PLR0124 - NaN is unlike itself
        self.best, self.waited = (value, 0) if better else (self.best, self.waited + 1)
        return better

    @property
    def over(self) -> bool:
        """Whether patience is at its end."""
        return self.waited >= self.patience


class Curriculum(Callback):
    """Leads a :class:`Learner` through the stages of its recipe; its place in them is part of the training's state."""

    def __init__(self, recipe: Recipe, average: WeightAverage | None) -> None:
        self.stages = recipe.stages
        self.early_stopping = recipe.training.early_stopping
        self.average = average
        self.index = 0
        self.epochs_done = 0
        self.step_begun = 0
        self.finished = False
        self.best_weights: dict[str, Tensor] = {}
        self._watch()

    def _watch(self) -> None:
        """Forget what the stage before has reached."""
        until = self.stages[self.index].until
        self._until = None if until is None or until.patience is None else Plateau(until.metric, until.patience)
        stopping = self.early_stopping if self.index == len(self.stages) - 1 else None
        self._stopping = None if stopping is None else _plateau(stopping)

    @property
    def name(self) -> str:
        """Of the stage that runs."""
        return self.stages[self.index].name

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin the stage, the first one or the one that the state is in."""
        assert isinstance(pl_module, Learner)  # noqa: S101 - made for it
        pl_module.begin_stage(self.stages[self.index], self.step_begun)
        trainer.should_stop = trainer.should_stop or self.finished

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Look at what the epoch reached, and go over to the next stage where this one is over."""
        assert isinstance(pl_module, Learner)  # noqa: S101 - as above
        self.epochs_done += 1
        if self._is_over(trainer, pl_module):
            self._go_on(trainer, pl_module)

    def _is_over(self, trainer: Trainer, learner: Learner) -> bool:
        metrics = {name: float(value) for name, value in trainer.callback_metrics.items()}
        stage = self.stages[self.index]
        over = self.epochs_done >= stage.epochs
        if stage.until is not None:
            value = metrics[stage.until.metric]
            over |= _reached(stage.until, value)
            if self._until is not None:
                self._until.improved(value)
                over |= self._until.over
        if self.early_stopping is not None and self._stopping is not None:
            if self._stopping.improved(metrics[self.early_stopping.metric]):
                weights = learner.state_dict() if self.average is None else self.average.average
                self.best_weights = {name: tensor.detach().clone() for name, tensor in weights.items()}
            over |= self._stopping.over
        return over

    def _go_on(self, trainer: Trainer, learner: Learner) -> None:
        if self.index == len(self.stages) - 1:
            self.finished = trainer.should_stop = True
            return
        self.index += 1
        self.epochs_done, self.step_begun = 0, trainer.global_step
        self._watch()
        learner.begin_stage(self.stages[self.index], self.step_begun)
        share = learner.learning_rate_at(self.step_begun)  # the scheduler has set that of the stage before
        for group in trainer.optimizers[0].param_groups:
            group["lr"] = share * group["initial_lr"]

    def state_dict(self) -> dict[str, Any]:
        """What a resumed training goes on with."""
        watched = {name: plateau for name, plateau in self._plateaus() if plateau is not None}
        return {
            "index": self.index,
            "epochs_done": self.epochs_done,
            "step_begun": self.step_begun,
            "finished": self.finished,
            "best_weights": self.best_weights,
            "watched": {name: {"best": plateau.best, "waited": plateau.waited} for name, plateau in watched.items()},
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on with it."""
        for name in ("index", "epochs_done", "step_begun", "finished", "best_weights"):
            setattr(self, name, state_dict[name])
        self._watch()
        for name, plateau in self._plateaus():
            if plateau is not None:
                plateau.best, plateau.waited = (state_dict["watched"][name][key] for key in ("best", "waited"))

    def _plateaus(self) -> tuple[tuple[str, Plateau | None], ...]:
        return (("until", self._until), ("stopping", self._stopping))


def _plateau(config: EarlyStoppingConfig) -> Plateau:
    return Plateau(config.metric, config.patience, config.min_delta)


def _reached(until: UntilConfig, value: float) -> bool:
    high = until.at_least is not None and value >= until.at_least
    return high or (until.at_most is not None and value <= until.at_most)
