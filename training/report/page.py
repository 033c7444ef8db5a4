"""One page, which needs nothing but itself, and the same figures as one picture."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.image import imsave
from numpy.typing import NDArray

from training.evaluation.results import Evaluation
from training.report.figures import (
    draw_ablation,
    draw_classes,
    draw_confusion,
    draw_curves,
    draw_reliability,
    draw_robustness,
)
from training.report.history import Curves
from training.report.style import HEAD, styled
from training.report.tables import (
    agreement_table,
    class_table,
    course_table,
    latency_table,
    share,
    subset_table,
)

PAGE_NAME, PICTURE_NAME = "report.html", "report.png"
PICTURE_DPI = 110
MARGIN = 24  # pixels between the figures of the picture

STYLE = """
body { font: 15px/1.5 system-ui, "Segoe UI", "DejaVu Sans", sans-serif; color: #222; background: #fff;
       max-width: 960px; margin: 2em auto; padding: 0 1em; }
h1 { font-size: 1.6em; margin-bottom: 0.1em; } h2 { font-size: 1.15em; margin: 1.8em 0 0.4em; }
p.lead { margin-top: 0; color: #444; }
img { display: block; max-width: 100%; height: auto; margin: 0.3em 0; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: 0.88em; margin: 0.4em 0; }
th, td { padding: 0.2em 0.9em 0.2em 0; text-align: right; border-bottom: 1px solid #e4e4e4; white-space: nowrap; }
th { border-bottom: 1.5px solid #444; } th:first-child, td:first-child { text-align: left; }
"""


@dataclass(frozen=True)
class Section:
    """A part of the page: a figure, a table, or both."""

    title: str
    figure: Figure | None
    table: str = ""


def write_report(folder: Path, result: Evaluation, curves: Curves | None = None) -> Path:
    """Write ``report.html`` and ``report.png``.

    Args:
        folder: made where it is missing.
        result: what was measured.
        curves: of the training, where it left them.

    Returns:
        The page.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with styled():
        sections = build_sections(result, curves)
        page = folder / PAGE_NAME
        imsave(folder / PICTURE_NAME, compose([section.figure for section in sections if section.figure]))
        page.write_text(render_page(result, sections), encoding="utf-8")
    return page


def build_sections(result: Evaluation, curves: Curves | None) -> list[Section]:
    """What the page shows, in order; what was not measured is left out."""
    sections = []
    if curves is not None:
        sections.append(Section("Training", draw_curves(curves)))
    sections.append(Section("By modalities", draw_ablation(result), subset_table(result)))
    if result.confusion is not None and result.num_windows:
        sections.append(Section("Which label for which", draw_confusion(result)))
    sections.append(Section("By label", draw_classes(result), class_table(result)))
    if result.calibration is not None:
        sections.append(Section("Confidence", draw_reliability(result.calibration)))
    if result.robustness is not None and (result.robustness.missing or result.robustness.noise):
        sections.append(Section("Robustness", draw_robustness(result.robustness, result.headline_name)))
    for title, table in (
        ("Whole clips and segments", course_table(result)),
        ("Agreement of the modalities", agreement_table(result)),
        ("Times", latency_table(result)),
    ):
        if table:
            sections.append(Section(title, None, table))
    return sections


def render_page(result: Evaluation, sections: Sequence[Section]) -> str:
    """The page as HTML; the figures are part of it, as SVG."""
    groups = f" in {result.num_groups} groups" if result.num_groups < result.num_clips else ""
    judged = "windows" if result.task == "multi_label" else "windows inside one activity"
    title = escape(f"{result.model}: {result.headline_name} {share(result.subsets[-1].headline)}")
    drawn = "groups of clips" if groups else "clips"
    lead = (
        f"{result.num_windows} {judged}, {result.num_clips} clips{groups}, {len(result.labels)} labels. "
        f"In brackets: 95 % intervals by bootstrap over {drawn}."
    )
    parts = [HEAD.format(title=title, style=STYLE), f'<h1>{title}</h1>\n<p class="lead">{lead}</p>\n']
    for section in sections:
        parts.append(f"<section>\n<h2>{escape(section.title)}</h2>\n")
        if section.figure is not None:
            parts.append(f'<img alt="{escape(section.title)}" src="{as_source(section.figure)}">\n')
        parts.append(section.table + "</section>\n")
    return "".join([*parts, "</body>\n</html>\n"])


def as_source(figure: Figure) -> str:
    """A figure as the source of an image. An SVG of its own: its identifiers cannot meet those of another one."""
    text = io.BytesIO()
    figure.savefig(text, format="svg", metadata={"Date": None})
    return f"data:image/svg+xml;base64,{base64.b64encode(text.getvalue()).decode('ascii')}"


def compose(figures: Sequence[Figure]) -> NDArray[np.uint8]:
    """Put figures into two columns on white, each into the shorter one: ``(H, W, 3)`` uint8."""
    pictures = [_as_pixels(figure) for figure in figures]
    width = max(picture.shape[1] for picture in pictures)
    columns: list[list[NDArray[np.uint8]]] = [[], []]
    heights = [MARGIN, MARGIN]
    for picture in pictures:
        shorter = 0 if heights[0] <= heights[1] else 1
        columns[shorter].append(picture)
        heights[shorter] += picture.shape[0] + MARGIN
    used = [column for column in columns if column]
    canvas = np.full((max(heights), len(used) * (width + MARGIN) + MARGIN, 3), 255, dtype=np.uint8)
    for index, column in enumerate(used):
        left, top = MARGIN + index * (width + MARGIN), MARGIN
        for picture in column:
            canvas[top : top + picture.shape[0], left : left + picture.shape[1]] = picture
            top += picture.shape[0] + MARGIN
    return canvas


def _as_pixels(figure: Figure) -> NDArray[np.uint8]:
    figure.set_dpi(PICTURE_DPI)
    canvas: Any = FigureCanvasAgg(figure)  # matplotlib gives its methods no types
    canvas.draw()
    figure.set_layout_engine("none")  # everything has its place now, and finding it is half of the work
    return np.asarray(canvas.buffer_rgba())[..., :3]
