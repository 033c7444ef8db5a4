"""The history: a row an epoch, with a column for each part of the loss."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from training.history import HISTORY_FILE, Row, _to_csv, read_history
from training.tally import Tally


def test_rows_of_different_stages_have_one_table(tmp_path: Path) -> None:
    rows: list[Row] = [
        {"epoch": 1, "stage": "singles", "train_loss": 2.0, "val_loss": 1.5, "learning_rate": 1e-3, "seconds": 0.5},
        {"epoch": 2, "stage": "all", "train_loss": 3.0, "train_loss_single": 1.0, "train_accuracy": 0.25},
    ]
    text = _to_csv(rows)
    assert text.splitlines()[0] == (
        "epoch,stage,train_loss,train_loss_single,train_accuracy,val_loss,val_accuracy,learning_rate,seconds"
    )
    (tmp_path / HISTORY_FILE).write_text(text, encoding="utf-8")
    assert read_history(tmp_path) == rows


def test_a_tally_is_the_mean_over_everything_in_all_processes() -> None:
    tally = Tally()
    tally.add("loss", torch.tensor(2.0), 3)
    tally.add("loss", torch.tensor(6.0), torch.tensor(1))
    tally.add("nothing", torch.tensor(0.0), 0)
    other = torch.tensor([[10.0, 2.0], [0.0, 0.0]], dtype=torch.float64)  # sum and count of a second process
    means = tally.means(lambda entries: torch.stack((entries, other)))
    assert means == {"loss": pytest.approx((2 * 3 + 6 + 10) / 6), "nothing": 0.0}
    assert tally.means(lambda entries: entries) == {}
