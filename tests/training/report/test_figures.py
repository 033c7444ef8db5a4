"""What is drawn is what was measured, and it fits."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from tests.training.report.results import make_result
from training.report.figures import (
    draw_ablation,
    draw_classes,
    draw_confusion,
    draw_curves,
    draw_reliability,
    draw_robustness,
)
from training.report.history import Curves
from training.report.style import shorten


def bars(figure: Figure) -> list[float]:
    return [patch.get_width() for patch in figure.axes[0].patches]  # type: ignore[attr-defined]


def check_nothing_is_cut(figure: Figure) -> None:
    """Every text lies inside the figure, and no two names of an axis lie on one another."""
    canvas: Any = FigureCanvasAgg(figure)
    canvas.draw()
    renderer = canvas.get_renderer()
    width, height = figure.get_size_inches() * figure.dpi
    for axes in figure.axes:
        box = axes.get_tightbbox(renderer)
        assert box is not None
        assert -1 <= box.x0 <= box.x1 <= width + 1
        assert -1 <= box.y0 <= box.y1 <= height + 1
        names = [label.get_window_extent(renderer) for label in axes.get_yticklabels() if label.get_text()]
        names.sort(key=lambda extent: extent.y0)
        assert all(above.y0 >= below.y1 - 2.0 for below, above in pairwise(names))


def test_bars_are_the_measures() -> None:
    result = make_result(modalities=("video", "audio", "text"))
    assert bars(draw_ablation(result)) == [subset.accuracy.value for subset in result.subsets if subset.accuracy]
    assert bars(draw_classes(result)) == [each.f1.value for each in result.classes if each.f1]


def test_the_confusion_matrix_shows_shares_by_row_and_counts() -> None:
    result = make_result()
    axes = draw_confusion(result).axes[0]
    cells = np.array(result.confusion)
    np.testing.assert_allclose(axes.images[0].get_array(), cells / cells.sum(axis=1, keepdims=True))  # type: ignore[arg-type]
    assert sorted(int(text.get_text()) for text in axes.texts) == sorted(cells[cells > 0].tolist())


def test_reliability_has_a_bar_for_each_bin_that_holds_something() -> None:
    calibration = make_result().calibration
    assert calibration is not None
    before, after = draw_reliability(calibration).axes[:2]
    for axes, bins in ((before, calibration.bins_before), (after, calibration.bins_after)):
        known = [each.accuracy for each in bins if each.accuracy is not None]
        assert [patch.get_height() for patch in axes.patches[: len(known)]] == known  # type: ignore[attr-defined]
    assert before.get_title() == f"At temperature 1: error {calibration.error_before.value:.3f}"


def test_curves_have_their_values() -> None:
    losses = np.array([2.0, 1.0]), np.array([np.nan, 1.5])
    figure = draw_curves(Curves((1, 2), ("a", "b"), *losses, None, np.array([0.5, 0.75])))
    loss, accuracy = figure.axes
    assert [line.get_label() for line in loss.lines[:2]] == ["training", "validation"]
    np.testing.assert_array_equal(loss.lines[1].get_ydata(), losses[1])
    np.testing.assert_array_equal(accuracy.lines[0].get_ydata(), [0.5, 0.75])


def test_lines_of_robustness() -> None:
    result = make_result().robustness
    assert result is not None
    missing, noise = draw_robustness(result, "accuracy").axes
    labels = [line.get_label() for line in missing.lines]
    assert labels == ["video", "audio", "every one, each by its own draw"]
    np.testing.assert_array_equal(noise.lines[0].get_xdata(), [20.0, 10.0, 5.0, 0.0, -5.0, -10.0])


@pytest.mark.parametrize("num_labels", [2, 50])
def test_nothing_is_cut_or_overlaps(num_labels: int) -> None:
    result = make_result(num_labels=num_labels, long_names=True)
    for figure in (draw_ablation(result), draw_confusion(result), draw_classes(result)):
        check_nothing_is_cut(figure)


def test_very_many_labels_are_cut_to_the_worst() -> None:
    result = make_result(num_labels=100, num_clips=80)
    drawn = bars(draw_classes(result))
    assert len(drawn) == 60
    assert drawn == sorted(each.f1.value for each in result.classes if each.f1)[:60]


def test_long_names_keep_both_ends() -> None:
    assert shorten("short") == "short"
    assert shorten("abcdefghij", 7) == "abc…hij"
    assert shorten("abcdefghij", 10) == "abcdefghij"
