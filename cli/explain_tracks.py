"""The drawings of an explanation's page: each is stretched to the page's width, so that all share one time axis."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from html import escape

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from handler.windows import Span
from models.config import Modality

MAX_FRAMES = 16
"""Of the strip."""
MAX_COLUMNS = 800
"""Of the waveform and the log-mel: a page is hardly wider."""
INK = (0.03, 0.19, 0.42)
"""Of the largest value of a heat map; the smallest is white."""


def frame_strip(frames: NDArray[np.uint8]) -> str:
    """The strip of a clip's frames ``(N, T, C, H, W)``, evenly spaced in time, as the model sees them."""
    flat = frames.reshape(-1, *frames.shape[2:])
    count = min(MAX_FRAMES, len(flat))
    chosen = flat[((np.arange(count) + 0.5) * len(flat) / count).astype(int)]
    return image(np.concatenate([as_rgb(frame) for frame in chosen], axis=1), "frames", photo=True)


def as_rgb(frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A frame ``(C, H, W)`` of one or three channels as ``(H, W, 3)``."""
    return np.repeat(frame, 3 // len(frame), axis=0).transpose(1, 2, 0)


def waveform(samples: NDArray[np.float32], colour: str) -> str:
    """The envelope of a waveform ``(L,)``, from its lowest to its highest in each column."""
    columns = [part for part in np.array_split(samples, min(MAX_COLUMNS, len(samples))) if len(part)]
    most = max(float(np.abs(samples).max()), 1e-6)
    tops = [50 - 48 * float(part.max()) / most for part in columns]
    bottoms = [50 - 48 * float(part.min()) / most for part in columns]
    step = 1000 / len(columns)
    points = [(place * step, top) for place, top in enumerate(tops)]
    points += [(place * step, bottom) for place, bottom in reversed(list(enumerate(bottoms)))]
    return drawing(f'<path d="M{_path(points)}Z" fill="{colour}"/>', 60, "waveform")


def heat(values: NDArray[np.floating], title: str, *, white: float | None = 0.0, height: int | None = None) -> str:
    """A heat map of ``(rows, columns)``, the first row on top.

    Args:
        values: finite.
        title: what a reader without pictures is told.
        white: the value that is white; None is the lowest. The highest is dark blue.
        height: in pixels, where it is not that of a square.
    """
    low, high = float(values.min()) if white is None else white, float(values.max())
    share = ((values - low) / (high - low)).clip(0, 1) if high > low else np.zeros_like(values)
    ink = np.array(INK)
    pixels = np.rint(255 * (1 - share[..., None] * (1 - ink))).astype(np.uint8)
    return image(pixels, title, height=height)


def lines(scores: NDArray[np.float64], seconds: NDArray[np.float64], span: Span, colours: Mapping[int, str]) -> str:
    """Scores ``(W, K)`` at the windows' centres ``(W,)``: a line for each label that has a colour."""
    places = [1000 * _place(each, span) for each in seconds.tolist()]
    drawn = [f'<line x1="0" x2="1000" y1="{y}" y2="{y}" class="grid"/>' for y in (1, 50, 99)]
    for label, colour in colours.items():
        points = list(zip(places, (99 - 98 * scores[:, label]).tolist(), strict=True))
        if len(points) == 1:
            points = [(0.0, points[0][1]), (1000.0, points[0][1])]
        drawn.append(f'<polyline points="{_path(points)}" fill="none" stroke="{colour}" class="line"/>')
    return drawing("".join(drawn), 110, "scores")


def stacks(spans: Sequence[Span], parts: Sequence[Mapping[str, float]], whole: Span, colours: Mapping[str, str]) -> str:
    """For each span a bar of its parts, one upon the other, from 0 to 1; what is below 0 has no height."""
    drawn = [f'<line x1="0" x2="1000" y1="{y}" y2="{y}" class="grid"/>' for y in (1, 50, 99)]
    for span, values in zip(spans, parts, strict=True):
        left, right = 1000 * _place(span.start_seconds, whole), 1000 * _place(span.stop_seconds, whole)
        bottom = 99.0
        for name, value in values.items():
            height = 98 * max(0.0, value)
            bottom -= height
            box = f'x="{left:.1f}" width="{max(0.5, right - left - 1):.1f}" y="{bottom:.1f}" height="{height:.1f}"'
            drawn.append(f'<rect {box} fill="{colours[name]}"/>')
    return drawing("".join(drawn), 110, "contributions")


def boxes(items: Sequence[tuple[Span, str, str]], whole: Span) -> str:
    """Named boxes on the time axis: span, text and colour of each."""
    drawn = []
    for span, text, colour in items:
        left, right = 100 * _place(span.start_seconds, whole), 100 * _place(span.stop_seconds, whole)
        style = f"left:{left:.2f}%;width:{max(0.2, right - left):.2f}%;background:{colour}"
        drawn.append(f'<span style="{style}" title="{escape(text)}">{escape(text)}</span>')
    return f'<div class="boxes">{"".join(drawn)}</div>'


def attention_over_time(
    spans: Sequence[Span], weights: Sequence[NDArray[np.float32]], whole: Span, stride_seconds: float
) -> NDArray[np.float64]:
    """Windows' attention ``(hops, hops)`` each, laid on the clip's axis: ``(N, N)``, the mean where windows overlap."""
    firsts = [round((span.start_seconds - whole.start_seconds) / stride_seconds) for span in spans]
    size = max(firsts) + len(weights[0])
    total, count = np.zeros((size, size)), np.zeros((size, size))
    for first, each in zip(firsts, weights, strict=True):
        inside = slice(first, first + len(each))
        total[inside, inside] += each
        count[inside, inside] += 1
    found: NDArray[np.float64] = np.divide(total, count, out=np.zeros_like(total), where=count > 0)
    return found


def hop_weights(
    spans: Sequence[Span], hops: Sequence[Mapping[Modality, NDArray[np.float64]]], whole: Span, stride_seconds: float
) -> dict[Modality, NDArray[np.float64]]:
    """Windows' weights of their hops, laid on the clip's axis: ``(N,)`` a modality, the mean where windows overlap."""
    found: dict[Modality, NDArray[np.float64]] = {}
    for name in hops[0]:
        square = [np.diag(each[name]).astype(np.float32) for each in hops]
        found[name] = np.diag(attention_over_time(spans, square, whole, stride_seconds)).clip(min=0.0)
    return found


def image(pixels: NDArray[np.uint8], title: str, *, photo: bool = False, height: int | None = None) -> str:
    """``(H, W, 3)`` as an image of the page's width, of its own form or of so many pixels' height."""
    target = io.BytesIO()
    if photo:
        Image.fromarray(np.ascontiguousarray(pixels)).save(target, format="JPEG", quality=85)
    else:
        Image.fromarray(np.ascontiguousarray(pixels)).save(target, format="PNG")
    kind = "jpeg" if photo else "png"
    style = "" if height is None else f' style="height:{height}px"'
    source = base64.b64encode(target.getvalue()).decode("ascii")
    return f'<img class="{kind}" alt="{escape(title)}"{style} src="data:image/{kind};base64,{source}">'


def drawing(content: str, height: int, title: str) -> str:
    """SVG of 1000 by 100 units, stretched to the page's width and so many pixels' height."""
    return (
        f'<svg viewBox="0 0 1000 100" preserveAspectRatio="none" style="height:{height}px" role="img" '
        f'aria-label="{escape(title)}">{content}</svg>'
    )


def _place(seconds: float, whole: Span) -> float:
    """Where a time stands between the clip's start, 0, and its stop, 1."""
    if whole.duration_seconds <= 0:
        return 0.0
    return min(1.0, max(0.0, (seconds - whole.start_seconds) / whole.duration_seconds))


def _path(points: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
