"""A clip's labels drawn onto its frames: what holds now on the picture, the whole timeline in a strip below it.

::

    ┌──────────────────────────┐
    │ ■ wave 93 %              │   the segments that hold at this frame, best first
    │        (picture)         │
    ├──────────────────────────┤
    │ ██ wave ██|··██ stir ████│   every segment, overlapping ones in lanes; the line is now
    │ 0.0 s      2.4 s   10.0 s│
    └──────────────────────────┘
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw, ImageFont

from cli.printable import printable
from cli.timeline import TimedLabel

Colour = tuple[int, int, int]

GROUND: Colour = (24, 26, 31)
LANE: Colour = (44, 47, 54)
INK: Colour = (240, 240, 240)
FAINT: Colour = (160, 165, 175)
COLOURS: tuple[Colour, ...] = (
    (86, 180, 233),
    (230, 159, 0),
    (0, 158, 115),
    (240, 228, 66),
    (204, 121, 167),
    (213, 94, 0),
    (70, 130, 220),
    (150, 200, 120),
)
"""Colours that remain apart to eyes that mix up red and green (Okabe and Ito), lightened for a dark ground."""

MIN_WIDTH = 320
"""Pixels: narrower pictures are enlarged by whole factors, so that words have room."""
MAX_ENLARGED_HEIGHT = 720
GAP = 3
"""Pixels between two lanes."""
MAX_LANES = 3
MAX_LABEL_CHARACTERS = 200
"""More than the widest frame has room for."""
MAX_NAMED = 3
"""Labels on the picture at a time."""


@dataclass(frozen=True)
class Layout:
    """Where things stand on a frame, in pixels."""

    picture: tuple[int, int]
    """Width and height of the picture as it is shown."""
    unit: int
    """The height of a line of words."""
    num_lanes: int

    @property
    def width(self) -> int:
        """Of the frame: even, as H.264 with half the colour needs."""
        width = max(self.picture[0], MIN_WIDTH)
        return width + width % 2

    @property
    def height(self) -> int:
        """Of the frame: even."""
        height = self.lane_top(self.num_lanes) + self.unit + self.unit // 3
        return height + height % 2

    @property
    def strip_top(self) -> int:
        """Where the picture ends."""
        return self.picture[1]

    @property
    def left(self) -> int:
        """Where the picture begins: in the middle."""
        return (self.width - self.picture[0]) // 2

    def lane_top(self, lane: int) -> int:
        """Where a lane of the timeline begins."""
        return self.strip_top + self.unit // 2 + lane * (self.unit + GAP)


def lay_out(picture: tuple[int, int], num_lanes: int) -> Layout:
    """The layout for pictures of a width and height, which are enlarged where they are narrow."""
    width, height = picture
    factor = min(-(-MIN_WIDTH // width), max(1, MAX_ENLARGED_HEIGHT // height))
    shown = (width * factor, height * factor)
    return Layout(shown, unit=min(48, max(16, max(shown[0], MIN_WIDTH) // 28)), num_lanes=num_lanes)


class Overlay:
    """Draws a JSON answer onto frames.

    Args:
        answer: the prediction: its segments, their span.
        picture: width and height of the upright frames.
    """

    def __init__(self, answer: Mapping[str, Any], picture: tuple[int, int]) -> None:
        found = map(TimedLabel.from_json, answer["segments"])
        self._segments = [replace(segment, label=_in_one_line(segment.label)) for segment in found]
        self._start_seconds = float(answer["start_seconds"])
        self._duration_seconds = max(float(answer["duration_seconds"]), 1e-3)
        labels = sorted({segment.label for segment in self._segments})
        self._colours = {label: COLOURS[place % len(COLOURS)] for place, label in enumerate(labels)}
        lanes = _lanes(self._segments)
        self.layout = lay_out(picture, max(1, max(lanes, default=0) + 1))
        self._font = _font(round(self.layout.unit * 0.7))
        self._ground = self._draw_ground(lanes)

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of a drawn frame, both even."""
        return self.layout.width, self.layout.height

    def draw(self, picture: Image.Image, seconds: float) -> Image.Image:
        """A frame: RGB, of :attr:`size`.

        Args:
            picture: upright, RGB, of any size; it is scaled to the layout's.
            seconds: when it is shown, on the clip's timeline.
        """
        frame = self._ground.copy()
        if picture.size != self.layout.picture:
            is_enlarged = self.layout.picture[0] % picture.width == 0 == self.layout.picture[1] % picture.height
            way = Image.Resampling.NEAREST if is_enlarged else Image.Resampling.BICUBIC
            picture = picture.resize(self.layout.picture, way)
        frame.paste(picture, (self.layout.left, 0))
        draw = ImageDraw.Draw(frame)
        self._draw_now(draw, seconds)
        self._draw_labels(draw, seconds)
        return frame

    def _place(self, seconds: float) -> int:
        """Pixels from the left of a time, inside the strip."""
        share = (seconds - self._start_seconds) / self._duration_seconds
        margin = self.layout.unit // 2
        return round(margin + min(1.0, max(0.0, share)) * (self.layout.width - 1 - 2 * margin))

    def _draw_ground(self, lanes: Sequence[int]) -> Image.Image:
        """What all frames have in common."""
        layout, unit = self.layout, self.layout.unit
        ground = Image.new("RGB", self.size, GROUND)
        draw = ImageDraw.Draw(ground)
        first, last = self._place(self._start_seconds), self._place(self._start_seconds + self._duration_seconds)
        for lane in range(layout.num_lanes):
            top = layout.lane_top(lane)
            draw.rectangle((first, top, last, top + unit), fill=LANE)
        for segment, lane in zip(self._segments, lanes, strict=True):
            start, stop, top = (
                self._place(segment.start_seconds),
                self._place(segment.stop_seconds),
                layout.lane_top(lane),
            )
            draw.rectangle((start, top, max(start, stop - 2), top + unit - 3), fill=self._colours[segment.label])
            if draw.textlength(segment.label, font=self._font) < stop - start - unit // 2:
                middle = ((start + stop) // 2, top + unit // 2)
                draw.text(middle, segment.label, fill=GROUND, font=self._font, anchor="mm")
        top = layout.lane_top(layout.num_lanes)
        draw.text((first, top), f"{self._start_seconds:.1f} s", fill=FAINT, font=self._font)
        stop_text = f"{self._start_seconds + self._duration_seconds:.1f} s"
        draw.text((last, top), stop_text, fill=FAINT, font=self._font, anchor="ra")
        return ground

    def _draw_now(self, draw: ImageDraw.ImageDraw, seconds: float) -> None:
        layout, place = self.layout, self._place(seconds)
        thick = max(2, layout.unit // 8)
        bottom = layout.lane_top(layout.num_lanes)
        draw.rectangle((place - thick // 2, layout.lane_top(0) - 3, place + thick // 2, bottom), fill=INK)
        draw.text((layout.width // 2, bottom), f"{seconds:.2f} s", fill=INK, font=self._font, anchor="ma")

    def _draw_labels(self, draw: ImageDraw.ImageDraw, seconds: float) -> None:
        """A box with a label and its score for each segment that holds."""
        held = [it for it in self._segments if it.start_seconds <= seconds < it.stop_seconds]
        unit = self.layout.unit
        for row, segment in enumerate(sorted(held, key=lambda it: -(it.score or 0.0))[:MAX_NAMED]):
            words = self._fitting(draw, f"{segment.label}  {segment.score:.0%}")
            left, top = unit // 3, unit // 3 + row * (unit + unit // 2)
            right = left + round(draw.textlength(words, font=self._font)) + 2 * unit
            draw.rectangle((left, top, right, top + unit + unit // 4), fill=GROUND)
            swatch = (left + unit // 3, top + unit // 3, left + unit, top + unit)
            draw.rectangle(swatch, fill=self._colours[segment.label])
            middle = (left + unit + unit // 3, top + unit * 5 // 8)
            draw.text(middle, words, fill=INK, font=self._font, anchor="lm")

    def _fitting(self, draw: ImageDraw.ImageDraw, words: str) -> str:
        """The words, cut in their middle where they are wider than the frame."""
        room = self.layout.width - 3 * self.layout.unit
        for kept in range(len(words), 1, -1):
            shown = words if kept == len(words) else f"{words[: kept // 2]}…{words[-(kept // 2) :]}"
            if draw.textlength(shown, font=self._font) <= room:
                return shown
        return words[-1:]


def _in_one_line(label: str) -> str:
    """A label as it can be drawn."""
    words = printable(" ".join(label.split()))
    if len(words) <= MAX_LABEL_CHARACTERS:
        return words
    return f"{words[: MAX_LABEL_CHARACTERS // 2]}…{words[-MAX_LABEL_CHARACTERS // 2 :]}"


def _lanes(segments: Sequence[TimedLabel]) -> list[int]:
    """The lane of each segment: the first that is free when it starts; the last takes what is too many."""
    ends: list[float] = []
    lanes = []
    for segment in segments:
        lane = next((place for place, end in enumerate(ends) if end <= segment.start_seconds), len(ends))
        lane = min(lane, MAX_LANES - 1)
        ends[lane : lane + 1] = [segment.stop_seconds]
        lanes.append(lane)
    return lanes


@lru_cache(maxsize=8)
def _font(pixels: int) -> ImageFont.FreeTypeFont:
    """DejaVu Sans, which matplotlib brings: Latin, Greek, Cyrillic, Arabic, and more."""
    import matplotlib as mpl  # noqa: PLC0415 - only the place of its files is asked for

    return ImageFont.truetype(Path(mpl.get_data_path(), "fonts", "ttf", "DejaVuSans.ttf"), pixels)
