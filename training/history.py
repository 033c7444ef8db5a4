"""What each epoch reached: ``metrics.csv`` in the training's folder, and the same for TensorBoard in ``logs``.

Columns of ``metrics.csv``, one row an epoch; an empty field is a part of the loss that its stage does not have:

- ``epoch``, from 1, and ``stage``, the curriculum's (``all`` where there is none);
- ``train_loss``, the mean over the epoch's steps of what is minimised, and its weighted parts: ``train_loss_labels``,
  ``train_loss_single`` (one modality alone), ``train_loss_<objective>``;
- ``train_accuracy``, in [0, 1], of the windows as they are shown in training, with dropout and augmentation;
- ``val_loss`` and ``val_accuracy``, of the windows of the validation runs, with all modalities and nothing changed;
- ``learning_rate``, of the epoch's last step, and ``seconds``, of the epoch with its validation.
"""

from __future__ import annotations

import csv
import io
import time
from pathlib import Path
from typing import Any

from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import TensorBoardLogger

from training.curriculum import Curriculum
from training.learner import Learner

HISTORY_FILE, LOG_FOLDER = "metrics.csv", "logs"
LAST_COLUMNS = ("train_accuracy", "val_loss", "val_accuracy", "learning_rate", "seconds")

Row = dict[str, str | int | float]


class History(Callback):
    """Writes a row each epoch; the rows are part of the training's state."""

    def __init__(self, folder: Path, curriculum: Curriculum, logger: TensorBoardLogger | None) -> None:
        self.path = folder / HISTORY_FILE
        self.curriculum = curriculum
        self.logger = logger
        self.rows: list[Row] = []
        self._began = 0.0
        self._stage = ""
        self._rate = 0.0

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin an epoch."""
        del trainer, pl_module
        self._began = time.perf_counter()
        self._stage = self.curriculum.name

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Any) -> None:
        """Note the step's learning rate, before the schedule goes on to the next one's."""
        del trainer, pl_module
        self._rate = float(optimizer.param_groups[0]["lr"])

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """End it."""
        assert isinstance(pl_module, Learner)  # noqa: S101 - made for it
        means = {f"train_{name}": round(value, 6) for name, value in pl_module.learned_means().items()}
        metrics = trainer.callback_metrics
        validated = {f"val_{name}": round(float(metrics[f"val_{name}"]), 6) for name in ("loss", "accuracy")}
        seconds = round(time.perf_counter() - self._began, 3)
        row: Row = {"epoch": trainer.current_epoch + 1, "stage": self._stage, **means, **validated}
        self.rows.append(row | {"learning_rate": self._rate, "seconds": seconds})
        if trainer.is_global_zero:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.path.write_text(_to_csv(self.rows), encoding="utf-8")
            if self.logger is not None:
                numbers = {name: value for name, value in self.rows[-1].items() if not isinstance(value, str)}
                self.logger.log_metrics(numbers, step=trainer.global_step)

    def state_dict(self) -> dict[str, Any]:
        """The rows."""
        return {"rows": self.rows}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on after them."""
        self.rows = state_dict["rows"]


def _to_csv(rows: list[Row]) -> str:
    columns = dict.fromkeys(name for row in rows for name in row if name not in LAST_COLUMNS)
    text = io.StringIO()
    writer = csv.DictWriter(text, [*columns, *LAST_COLUMNS], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def read_history(folder: Path) -> list[Row]:
    """The rows of a training's ``metrics.csv``; what is empty is left out.

    Raises:
        FileNotFoundError: when there is none.
    """
    with (folder / HISTORY_FILE).open(encoding="utf-8", newline="") as file:
        return [{name: _value(name, text) for name, text in row.items() if text} for row in csv.DictReader(file)]


def _value(name: str, text: str) -> str | int | float:
    if name == "stage":
        return text
    return int(text) if name == "epoch" else float(text)
