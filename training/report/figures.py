"""The figures of a report, each a function from results to a figure."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from training.evaluation.results import (
    CalibrationResult,
    ClassResult,
    Evaluation,
    RobustnessResult,
    SubsetResult,
)
from training.metrics.bootstrap import Estimate
from training.metrics.calibration import ReliabilityBin
from training.report.history import Curves
from training.report.style import BLACK, BLUE, GREY, MARKERS, SERIES, VERMILION, as_shares, blank, shorten

WIDTH = 8.6
MAX_MARKED_EPOCHS = 40
"""Epochs up to which each has a mark on its curve."""
MAX_CELLS_WITH_NUMBERS = 14
"""Labels up to which each cell of a confusion matrix has its count written in it."""
MAX_NAMED_LABELS = 80
"""Labels up to which each row of a confusion matrix has its name."""
MAX_BARS = 60
"""Labels, or subsets, that have a bar."""


def draw_curves(curves: Curves) -> Figure:
    """Loss and accuracy of each epoch, in training and validation; where stages change, a line."""
    figure = blank(WIDTH, 3.4)
    loss, accuracy = figure.subplots(1, 2)
    for axes, learned, validated in (
        (loss, curves.train_loss, curves.val_loss),
        (accuracy, curves.train_accuracy, curves.val_accuracy),
    ):
        for values, label, color, marker in (
            (learned, "training", BLUE, "o"),
            (validated, "validation", VERMILION, "s"),
        ):
            if values is not None:
                shown = marker if len(curves.epochs) <= MAX_MARKED_EPOCHS else None
                axes.plot(curves.epochs, values, color=color, marker=shown, label=label)
        for epoch, stage in curves.stage_starts[1:]:
            axes.axvline(epoch - 0.5, color=GREY, linewidth=1.0, linestyle=":")
            axes.annotate(
                shorten(stage),
                (epoch - 0.5, 0),
                xycoords=("data", "axes fraction"),
                xytext=(3, 4),
                textcoords="offset points",
                rotation=90,
                fontsize=7,
                color=GREY,
            )
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        if axes.get_legend_handles_labels()[0]:
            axes.legend()
    loss.set_title("Loss of the labels")
    loss.set_ylabel("mean loss (nats)")
    loss.grid(visible=True, axis="y")
    loss.set_ylim(bottom=0)
    accuracy.set_title("Accuracy")
    accuracy.set_ylabel("share of windows that are right")
    as_shares(accuracy)
    return figure


def draw_ablation(result: Evaluation) -> Figure:
    """A bar for each subset of the modalities with its interval, and a mark where the data allows no more."""
    subsets = _named_subsets(result.subsets)
    figure = blank(WIDTH, 1.3 + 0.3 * len(subsets))
    axes = figure.subplots()
    everything = len(result.subsets[-1].modalities)
    colors = [BLUE if len(subset.modalities) == everything else "#7FB3D5" for subset in subsets]
    names = [" + ".join(subset.modalities) for subset in subsets]
    _draw_bars(axes, names, [subset.headline for subset in subsets], colors)
    limits = [(place, subset.ceiling) for place, subset in enumerate(subsets) if subset.ceiling is not None]
    for index, (place, ceiling) in enumerate(limits):
        label = "the most that the data allows" if index == 0 else None
        axes.plot([ceiling, ceiling], [place - 0.44, place + 0.44], color=VERMILION, linewidth=2.4, label=label)
    if limits:
        figure.legend(loc="outside lower center")
    axes.set_title(f"{result.headline_name.capitalize()} by modalities, with 95 % intervals")
    axes.set_xlabel(result.headline_name)
    return figure


def _named_subsets(subsets: Sequence[SubsetResult]) -> list[SubsetResult]:
    """All of them, or where they are too many the single ones, those that lack one, and the whole."""
    if len(subsets) <= MAX_BARS:
        return list(subsets)
    everything = len(subsets[-1].modalities)
    return [subset for subset in subsets if len(subset.modalities) in (1, everything - 1, everything)]


def draw_classes(result: Evaluation) -> Figure:
    """F1 of each label with its interval, in the order of the labels; of very many those that are told worst."""
    classes: list[ClassResult] = [each for each in result.classes if each.f1 is not None]
    title = "F1 by label, with 95 % intervals"
    if len(classes) > MAX_BARS:
        title += f": the {MAX_BARS} lowest of {len(classes)}"
        classes = sorted(classes, key=lambda each: each.f1.value if each.f1 else 0.0)[:MAX_BARS]
    figure = blank(WIDTH, 1.0 + 0.23 * max(3, len(classes)))
    axes = figure.subplots()
    names = [f"{shorten(each.label)}  ({each.support})" for each in classes]
    _draw_bars(axes, names, [each.f1 for each in classes], [BLUE] * len(classes))
    axes.set_title(title)
    axes.set_xlabel("F1 (in brackets: judged windows)")
    return figure


def _draw_bars(axes: Axes, names: Sequence[str], estimates: Sequence[Estimate | None], colors: Sequence[str]) -> None:
    """Horizontal bars from the top down, each with its interval and its value in figures at the right."""
    places = np.arange(len(names))
    values = np.array([0.0 if each is None else each.value for each in estimates])
    reach = np.array(
        [(0.0, 0.0) if each is None else (each.value - each.low, each.high - each.value) for each in estimates]
    )
    axes.barh(places, values, color=list(colors), height=0.72)
    axes.errorbar(values, places, xerr=reach.reshape(-1, 2).T, fmt="none", ecolor=BLACK, elinewidth=1.1, capsize=2.5)
    for place, each in zip(places, estimates, strict=True):
        text = "-" if each is None else f"{each.value:.1%}"
        axes.annotate(
            text,
            (1.0, place),
            xycoords=("axes fraction", "data"),
            xytext=(6, 0),
            textcoords="offset points",
            va="center",
        )
    axes.set_yticks(places, names)
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(len(names) - 0.4, -0.6)
    as_shares(axes, "x")


def draw_confusion(result: Evaluation) -> Figure:
    """Of each true label, by row, the share that was given each label. Needs :attr:`Evaluation.confusion`."""
    cells = np.array(result.confusion, dtype=np.float64)
    count = len(cells)
    totals = cells.sum(axis=1, keepdims=True)
    shares = np.divide(cells, totals, out=np.zeros_like(cells), where=totals > 0)
    squares = min(9.0, max(3.2, 0.42 * min(count, MAX_CELLS_WITH_NUMBERS), 0.16 * count))  # inches
    figure = blank(squares + 3.0, squares + 1.7)
    axes = figure.subplots()
    image = axes.imshow(shares, cmap="Blues", vmin=0.0, vmax=1.0, aspect="equal")
    bar = figure.colorbar(image, ax=axes, shrink=0.75, pad=0.02, label="share of the true label's windows")
    as_shares(bar.ax)
    bar.ax.set_ylim(0, 1)
    bar.ax.grid(visible=False)
    if count <= MAX_NAMED_LABELS:
        size = min(8.0, 0.62 * 72 * squares / count)  # points: six tenths of a row
        names = [shorten(label, 20 if count > 20 else 26) for label in result.labels]
        axes.set_xticks(range(count), names, rotation=90 if count > 12 else 45, ha="center" if count > 12 else "right")
        axes.set_yticks(range(count), names)
        axes.tick_params(labelsize=size, length=0)
    if count <= MAX_CELLS_WITH_NUMBERS:
        for row, column in np.argwhere(cells > 0).tolist():
            color = "white" if shares[row, column] > 0.55 else BLACK
            axes.text(column, row, f"{cells[row, column]:.0f}", ha="center", va="center", color=color, fontsize=8)
    axes.spines[:].set_visible(False)
    axes.set_title("Confusion matrix, windows inside one activity")
    axes.set_xlabel("answered")
    axes.set_ylabel("true")
    return figure


def draw_reliability(result: CalibrationResult) -> Figure:
    """Accuracy against confidence, before and after temperature scaling, and how many predictions each bin has."""
    figure = blank(WIDTH, 4.4)
    grid = figure.subplots(2, 2, height_ratios=(3.2, 1), sharex=True, sharey="row")
    sides = (
        (f"At temperature 1: error {result.error_before.value:.3f}", result.bins_before),
        (f"At temperature {result.temperature:g}: error {result.error_after.value:.3f}", result.bins_after),
    )
    for column, (title, bins) in enumerate(sides):
        _draw_bins(grid[0, column], bins)
        grid[0, column].set_title(title)
        total = sum(each.count for each in bins)
        shares = [each.count / total for each in bins]
        grid[1, column].bar(
            [each.low for each in bins], shares, _widths(bins), align="edge", color=GREY, edgecolor="white"
        )
        grid[1, column].set_xlabel("confidence")
        grid[1, column].set_ylim(0, 1.02)
        grid[1, column].yaxis.set_major_formatter("{x:.0%}")
        grid[1, column].set_xlim(0, 1)
    grid[0, 0].set_ylabel("share that is right")
    grid[1, 0].set_ylabel("predictions")
    grid[0, 0].legend(loc="upper left")
    return figure


def _draw_bins(axes: Axes, bins: Sequence[ReliabilityBin]) -> None:
    known = [each for each in bins if each.accuracy is not None]
    accuracy = np.array([each.accuracy for each in known], dtype=np.float64)
    confidence = np.array([each.confidence for each in known], dtype=np.float64)
    starts, widths = [each.low for each in known], _widths(known)
    axes.bar(starts, accuracy, widths, align="edge", color=BLUE, edgecolor="white", label="share that is right")
    gap = np.abs(confidence - accuracy)
    axes.bar(
        starts,
        gap,
        widths,
        bottom=np.minimum(accuracy, confidence),
        align="edge",
        facecolor="none",
        edgecolor=VERMILION,
        hatch="////",
        linewidth=0.0,
        label="gap to the mean confidence",
    )
    axes.plot([0, 1], [0, 1], color=BLACK, linestyle="--", linewidth=1.0, label="calibrated")
    as_shares(axes)


def _widths(bins: Sequence[ReliabilityBin]) -> list[float]:
    return [each.high - each.low for each in bins]


def draw_robustness(result: RobustnessResult, measure: str) -> Figure:
    """The measure against the probability that a modality is missing, and against the noise on the sound."""
    panels = [name for name, there in (("missing", result.missing), ("noise", result.noise)) if there]
    figure = blank(WIDTH, 3.6)
    for axes, panel in zip(np.atleast_1d(figure.subplots(1, len(panels))), panels, strict=True):
        if panel == "missing":
            names = list(dict.fromkeys(each.modality for each in result.missing))
            for index, name in enumerate(names):
                points = [(each.probability, each.score) for each in result.missing if each.modality == name]
                _draw_series(axes, points, "every one, each by its own draw" if name == "each" else name, index)
            axes.set_title("Modalities missing from a clip")
            axes.set_xlabel("probability that it is missing")
        else:
            for index, used in enumerate(dict.fromkeys(each.modalities for each in result.noise)):
                noisy = [(each.snr_db, each.score) for each in result.noise if each.modalities == used]
                _draw_series(axes, noisy, "sound alone" if used == ("audio",) else "all modalities", index)
            axes.set_title("White noise on the sound")
            axes.set_xlabel("signal to noise (dB), worse to the right")
            axes.invert_xaxis()
        as_shares(axes)
        axes.set_ylabel(measure)
        axes.legend(fontsize=8)
    return figure


def _draw_series(axes: Axes, points: Sequence[tuple[float, Estimate | None]], label: str, index: int) -> None:
    """A line with its interval as a band."""
    known = [(place, score) for place, score in points if score is not None]
    places = [place for place, _ in known]
    color = SERIES[index % len(SERIES)]
    marker = MARKERS[index % len(MARKERS)]
    axes.plot(places, [score.value for _, score in known], color=color, marker=marker, label=label)
    lows, highs = [score.low for _, score in known], [score.high for _, score in known]
    axes.fill_between(places, lows, highs, color=color, alpha=0.12, linewidth=0)
