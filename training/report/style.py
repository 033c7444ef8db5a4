"""How every figure looks: dark text on white, few lines, colours that a colour-blind reader can tell apart."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

# Okabe and Ito, "Color Universal Design" (2008).
BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY, BLACK = (
    "#0072B2",
    "#D55E00",
    "#009E73",
    "#CC79A7",
    "#E69F00",
    "#56B4E9",
    "#222222",
)
SERIES = (BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY, BLACK)
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
GREY = "#8A8A8A"
MAX_LABEL = 26
"""Characters of a label in a figure."""

SETTINGS: dict[Any, Any] = {
    "font.size": 9.0,
    "axes.titlesize": 10.0,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.edgecolor": "#444444",
    "axes.labelcolor": BLACK,
    "text.color": BLACK,
    "xtick.color": BLACK,
    "ytick.color": BLACK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "grid.color": "#E4E4E4",
    "grid.linewidth": 0.8,
    "legend.frameon": False,
    "lines.linewidth": 1.8,
    "lines.markersize": 4.5,
    "svg.hashsalt": "report",  # the same figure gives the same bytes
}


@contextmanager
def styled() -> Iterator[None]:
    """Draw and save in this style; the settings of others are left alone."""
    with mpl.rc_context(SETTINGS):
        yield


def blank(width: float, height: float) -> Figure:
    """An empty figure of so many inches, which belongs to no window system and is freed like any object."""
    figure = Figure(figsize=(width, height), facecolor="white")
    figure.set_layout_engine("constrained", w_pad=0.1, wspace=0.04)
    return figure


def shorten(label: str, length: int = MAX_LABEL) -> str:
    """A label that fits: its middle gives way, since both ends tell labels apart."""
    if len(label) <= length:
        return label
    head = (length - 1) // 2
    return f"{label[:head]}…{label[len(label) - (length - 1 - head) :]}"


def as_shares(axes: Axes, axis: str = "y") -> None:
    """An axis from 0 to 1 in per cent, with a grid across it."""
    chosen = axes.yaxis if axis == "y" else axes.xaxis
    chosen.set_major_formatter(mpl.ticker.PercentFormatter(1.0, decimals=0))
    chosen.set_major_locator(mpl.ticker.MultipleLocator(0.2))
    axes.grid(visible=True, axis="y" if axis == "y" else "x")
    if axis == "y":
        axes.set_ylim(0, 1.02)
    else:
        axes.set_xlim(0, 1.02)


HEAD = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
"""
"""How a page begins: needs a ``title`` and a ``style``."""
