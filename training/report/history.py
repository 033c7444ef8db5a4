"""The curves of a training, from the history that it leaves beside its checkpoint."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from training.history import HISTORY_FILE, Row, read_history

TRAINING_LOSSES = ("train_loss_labels", "train_loss")
"""Of these the first one that is there: the loss of the labels is what the validation's can be compared with."""


@dataclass(frozen=True)
class Curves:
    """E epochs; each curve is ``(E,)`` float64, NaN where an epoch has no value, or None where none has."""

    epochs: tuple[int, ...]
    stages: tuple[str, ...]
    """Of the curriculum, one an epoch."""
    train_loss: NDArray[np.float64] | None
    val_loss: NDArray[np.float64] | None
    train_accuracy: NDArray[np.float64] | None
    val_accuracy: NDArray[np.float64] | None

    @property
    def stage_starts(self) -> list[tuple[int, str]]:
        """The first epoch of each stage, and its name."""
        before = (None, *self.stages)
        pairs = zip(self.epochs, self.stages, before, strict=False)
        return [(epoch, stage) for epoch, stage, earlier in pairs if stage != earlier]


def read_curves(checkpoint: Path) -> Curves | None:
    """The curves of the training that made a checkpoint; None where its folder has no history."""
    if not (checkpoint / HISTORY_FILE).is_file():
        return None
    rows = read_history(checkpoint)
    return Curves(
        epochs=tuple(int(row["epoch"]) for row in rows),
        stages=tuple(str(row.get("stage", "")) for row in rows),
        train_loss=_curve(rows, *TRAINING_LOSSES),
        val_loss=_curve(rows, "val_loss"),
        train_accuracy=_curve(rows, "train_accuracy"),
        val_accuracy=_curve(rows, "val_accuracy"),
    )


def _curve(rows: Sequence[Row], *names: str) -> NDArray[np.float64] | None:
    """The first of these columns that has a value."""
    for name in names:
        if any(name in row for row in rows):
            return np.array([float(row.get(name, "nan")) for row in rows])
    return None
