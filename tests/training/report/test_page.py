"""The page: whole, of one file, and of the numbers that were measured."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.image import imread

from handler.segments import Task
from tests.training.report.results import make_result
from training.report.figures import draw_ablation
from training.report.history import Curves
from training.report.page import MARGIN, PICTURE_DPI, as_source, compose, write_report
from training.report.style import styled


class Outline(HTMLParser):
    """Tags that are open, headings and everything that is fetched from somewhere."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.sources: list[str] = []
        self.words: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.sources += [value or "" for name, value in attrs if name in ("src", "href")]
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)


CURVES = Curves((1, 2), ("all", "all"), np.array([2.0, 1.0]), None, None, np.array([0.5, 0.75]))


@pytest.mark.parametrize("task", ["single_label", "multi_label"])
def test_the_page_needs_nothing_else(tmp_path: Path, task: Task) -> None:
    result = make_result(task=task)
    page = write_report(tmp_path / "new" / "folder", result, CURVES)
    text = page.read_text(encoding="utf-8")
    outline = Outline()
    outline.feed(text)
    assert outline.open == []
    assert len(outline.sources) == (6 if task == "single_label" else 5)
    assert all(source.startswith("data:image/svg+xml;base64,") for source in outline.sources)
    assert not re.search(r"https?://|@import|url\(", text)
    words = " ".join(outline.words)
    assert "made <up> 1" in words  # the model's name is text, not markup
    best = result.subsets[-1].headline
    assert best is not None
    assert f"{best.value:.1%} ({100 * best.low:.1f} to {100 * best.high:.1f})" in words
    assert "12 clips in 6 groups" in words
    picture = imread(page.with_name("report.png"))
    assert picture.shape[1] > 1000
    assert sorted(path.name for path in page.parent.iterdir()) == ["report.html", "report.png"]


def test_what_was_not_measured_is_left_out(tmp_path: Path) -> None:
    bare = replace(
        make_result(modalities=("video",)),
        segments=None,
        consistency=None,
        robustness=None,
        latency=None,
    )
    text = write_report(tmp_path, bare).read_text(encoding="utf-8")
    headings = re.findall(r"<h2>(.*?)</h2>", text)
    assert headings == ["By modalities", "Which label for which", "By label", "Confidence", "Whole clips and segments"]


def test_the_same_figure_gives_the_same_bytes() -> None:
    with styled():
        assert len({as_source(draw_ablation(make_result(modalities=("audio",)))) for _ in range(2)}) == 1


def test_figures_stand_in_two_columns_on_white() -> None:
    figures = [Figure(figsize=(2, height), facecolor=color) for height, color in ((1, "red"), (2, "lime"), (1, "blue"))]
    pixels = compose(figures)
    inch = PICTURE_DPI
    assert pixels.shape == (2 * inch + 3 * MARGIN, 4 * inch + 3 * MARGIN, 3)
    assert pixels[MARGIN, MARGIN].tolist() == [255, 0, 0]
    assert pixels[MARGIN, 2 * inch + 2 * MARGIN].tolist() == [0, 255, 0]
    assert pixels[inch + 2 * MARGIN, MARGIN].tolist() == [0, 0, 255]  # below the first, whose column was shorter
    assert pixels[0, 0].tolist() == [255, 255, 255]
