"""Rows: the cells come as often as their shares say, and the range is all that a number tells."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from training.synth.channels import ceiling, join
from training.synth.events.table import (
    CATEGORY_COLUMNS,
    COLUMNS,
    MISSING_SHARE,
    CategoryColumn,
    NumberColumn,
    render_row,
)

ALL: tuple[NumberColumn | CategoryColumn, ...] = (*COLUMNS, *CATEGORY_COLUMNS)


def view_of(column: NumberColumn | CategoryColumn, cell: str) -> int:
    if isinstance(column, CategoryColumn):
        groups = [index for index, group in enumerate(column.groups) if cell in group]
        return groups[0] if cell else len(column.groups)
    return int(np.searchsorted(column.edges, float(cell), side="right")) - 1 if cell else len(column.edges) - 1


def test_cells_come_as_often_as_their_channels_say() -> None:
    for event in range(3):
        rng = np.random.default_rng([7, event])
        counts: list[Counter[int]] = [Counter() for _ in ALL]
        for _ in range(3000):
            header, row, end = render_row(rng, event).split("\n")
            assert (header, end) == ("attendance,ticket_price,duration_minutes,hour,weekday,venue", "")
            for column, cell, counter in zip(ALL, row.split(","), counts, strict=True):
                counter[view_of(column, cell)] += 1
        for column, counter in zip(ALL, counts, strict=True):
            found = np.array([counter[view] / 3000 for view in range(len(column.channel))])
            np.testing.assert_allclose(found, column.channel[:, event], atol=0.04)  # four standard deviations
            assert column.channel[-1, event] == pytest.approx(MISSING_SHARE)


@pytest.mark.parametrize("column", COLUMNS, ids=lambda column: column.name)
def test_a_number_lies_in_its_range_after_rounding(column: NumberColumn) -> None:
    rng = np.random.default_rng(0)
    for view in range(len(column.edges) - 1):
        for _ in range(300):
            assert view_of(column, column.say(rng, view)) == view
    assert column.say(rng, len(column.edges) - 1) == ""


def test_a_rows_ceiling_is_what_the_best_guess_reaches_on_simulated_rows() -> None:
    """Guesses by the product of the columns' shares, on rows as they are written."""
    rng, right, total = np.random.default_rng(5), 0, 6000
    for number in range(total):
        row = render_row(rng, number % 3).split("\n")[1].split(",")
        shares = np.prod([c.channel[view_of(c, cell)] for c, cell in zip(ALL, row, strict=True)], axis=0)
        right += int(np.argmax(shares) == number % 3)
    assert right / total == pytest.approx(ceiling([join([column.channel for column in ALL])]), abs=0.02)
