"""A row of a table about an event: four numbers, two categories, some cells empty.

Each column is a channel of its own. A number says in which range it lies and nothing else: within the range it is drawn
alike for all events. An empty cell is a view too, and as frequent with all events.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from training.synth.channels import Channel, build_channel, draw_view

MISSING_SHARE = 0.12
"""Of the cells of each column."""


@dataclass(frozen=True)
class NumberColumn:
    """A number: row k of ``shares`` says how often each range between neighbouring ``edges`` comes with event k."""

    name: str
    edges: tuple[float, ...]
    shares: tuple[tuple[float, ...], ...]
    decimals: int
    logarithmic: bool = False
    """Whether a number is drawn evenly in its logarithm."""

    @cached_property
    def channel(self) -> Channel:
        """Views: the ranges, then an empty cell."""
        return _with_empty(self.shares)

    def say(self, rng: np.random.Generator, view: int) -> str:
        """A cell that shows a view."""
        share = float(rng.uniform())
        if view == len(self.edges) - 1:
            return ""
        low, high = self.edges[view : view + 2]
        margin = 10.0**-self.decimals  # so that rounding leaves the number in its range
        value = low * (high / low) ** share if self.logarithmic else low + (high - low) * share
        return f"{min(value, high - margin):.{self.decimals}f}"


@dataclass(frozen=True)
class CategoryColumn:
    """A word: row k of ``shares`` says how often a word of each group comes with event k."""

    name: str
    groups: tuple[tuple[str, ...], ...]
    shares: tuple[tuple[float, ...], ...]

    @cached_property
    def channel(self) -> Channel:
        """Views: the groups, then an empty cell."""
        return _with_empty(self.shares)

    def say(self, rng: np.random.Generator, view: int) -> str:
        """A cell that shows a view."""
        share = float(rng.uniform())
        if view == len(self.groups):
            return ""
        return self.groups[view][math.floor(share * len(self.groups[view]))]


COLUMNS = (
    NumberColumn(
        "attendance",
        (20, 400, 1500, 6000),
        ((0.20, 0.55, 0.25), (0.60, 0.30, 0.10), (0.15, 0.40, 0.45)),
        decimals=0,
        logarithmic=True,
    ),
    NumberColumn(
        "ticket_price", (0, 15, 45, 120), ((0.15, 0.40, 0.45), (0.60, 0.30, 0.10), (0.30, 0.45, 0.25)), decimals=2
    ),
    NumberColumn(
        "duration_minutes",
        (30, 80, 110, 240),
        ((0.20, 0.30, 0.50), (0.50, 0.30, 0.20), (0.20, 0.55, 0.25)),
        decimals=0,
    ),
    NumberColumn("hour", (8, 13, 18, 23), ((0.10, 0.25, 0.65), (0.40, 0.35, 0.25), (0.20, 0.45, 0.35)), decimals=2),
)
CATEGORY_COLUMNS = (
    CategoryColumn(
        "weekday",
        (("monday", "tuesday", "wednesday", "thursday"), ("friday", "saturday", "sunday")),
        ((0.35, 0.65), (0.70, 0.30), (0.30, 0.70)),
    ),
    CategoryColumn(
        "venue",
        (("hall", "theatre"), ("campus", "library"), ("arena", "stadium")),
        ((0.50, 0.20, 0.30), (0.40, 0.50, 0.10), (0.15, 0.10, 0.75)),
    ),
)


def render_row(rng: np.random.Generator, event: int) -> str:
    """A CSV file of a header and the row of one event."""
    columns = (*COLUMNS, *CATEGORY_COLUMNS)
    cells = [column.say(rng, draw_view(rng, column.channel, event)) for column in columns]
    return ",".join(column.name for column in columns) + "\n" + ",".join(cells) + "\n"


def _with_empty(shares: tuple[tuple[float, ...], ...]) -> Channel:
    return build_channel([[*(share * (1 - MISSING_SHARE) for share in row), MISSING_SHARE] for row in shares])
