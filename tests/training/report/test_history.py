from __future__ import annotations

from pathlib import Path

import numpy as np

from training.report.history import read_curves


def test_curves_of_a_history_with_gaps(tmp_path: Path) -> None:
    (tmp_path / "metrics.csv").write_text(
        "epoch,stage,train_loss,train_loss_labels,train_accuracy,val_loss,val_accuracy,learning_rate,seconds\n"
        "1,single,3.0,2.0,0.2,,,0.1,5.0\n2,single,2.5,1.5,0.3,1.75,0.25,0.1,5.0\n3,all,2.0,1.0,0.5,1.25,0.5,0.1,5.0\n",
        encoding="utf-8",
    )
    curves = read_curves(tmp_path)
    assert curves is not None
    assert curves.epochs == (1, 2, 3)
    assert curves.stage_starts == [(1, "single"), (3, "all")]
    np.testing.assert_array_equal(curves.train_loss, [2.0, 1.5, 1.0])
    np.testing.assert_array_equal(curves.val_loss, [np.nan, 1.75, 1.25])
    np.testing.assert_array_equal(curves.val_accuracy, [np.nan, 0.25, 0.5])


def test_what_was_not_logged_is_no_curve(tmp_path: Path) -> None:
    assert read_curves(tmp_path) is None
    (tmp_path / "metrics.csv").write_text("epoch,train_loss\n1,3.0\n", encoding="utf-8")
    curves = read_curves(tmp_path)
    assert curves is not None
    assert curves.train_loss is not None
    assert curves.train_loss.tolist() == [3.0]
    assert (curves.val_loss, curves.train_accuracy, curves.stages) == (None, None, ("",))
