"""The row of a table: the cells of the model's columns, as numbers and categories.

A column that the table does not have is missing, as an empty cell is; columns that the model does not have are passed
over, so that the row can be cut from a larger table. A row with none of the model's columns is an error.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from handler.clip import Row
from handler.errors import LimitExceeded, UndecodableMedia
from handler.limits import Limits
from handler.strict_json import json_kind
from handler.table import FLOAT32_MAX, REMEDY, Content, Table, read_table
from models.encoder_config import TabularConfig

MISSING = frozenset({"", "na", "nan", "n/a", "null", "none"})
"""What a cell says, in any case, that has no value."""


def parse_row(content: Content, config: TabularConfig, limits: Limits) -> Row:
    """Read one row.

    Args:
        content: CSV with a header line and one row below it, a JSON object (or a list of just one) with a value by
            column, or Parquet with one row.
        config: the model's columns.
        limits: bounds on bytes and columns.

    Returns:
        for each column of the model a finite number, the category's text, or None where it is missing. A whole
        number has as a category no point (3, not 3.0), so that every form of the table gives the same text.

    Raises:
        UndecodableMedia: no table, no row, none of the columns, or a number that is none.
        LimitExceeded: more than one row, or see :func:`handler.table.read_table`.
        UnsupportedMedia: likewise.
    """
    cells = _one_row(content, limits)
    if not cells.keys() & set(config.columns):
        raise UndecodableMedia(
            f"the table has none of the columns {', '.join(config.columns)}", remedy="Name the columns in its header."
        )
    row: dict[str, float | str | None] = {name: _number(name, cells.get(name)) for name in config.numeric}
    row.update({name: _category(name, cells.get(name)) for name in config.categorical})
    return row


def _one_row(content: Content, limits: Limits) -> Mapping[str, Any]:
    table = read_table(content, limits, max_rows=1)
    if isinstance(table, Table):
        return dict(zip(table.columns, table.rows[0], strict=True))
    if isinstance(table, list):
        if len(table) != 1 or not isinstance(table[0], Mapping):
            raise UndecodableMedia("the table is no JSON object with a value by column", remedy=REMEDY)
        table = table[0]
    if len(table) > limits.max_table_columns:
        raise LimitExceeded(
            "table_columns",
            f"the table has {len(table)} columns, the limit is {limits.max_table_columns}",
            remedy="Send fewer columns.",
        )
    return table


def _is_missing(value: Any) -> bool:
    if isinstance(value, str):
        return value.strip().lower() in MISSING
    return value is None or (isinstance(value, float) and math.isnan(value))


def _number(name: str, value: Any) -> float | None:
    if _is_missing(value):
        return None
    if isinstance(value, bool | int | float | str):
        try:
            number = float(value)
        except (ValueError, OverflowError):
            number = math.inf
        if abs(number) <= FLOAT32_MAX:
            return number
    shown = repr(value) if isinstance(value, str | int | float) else json_kind(value)
    raise UndecodableMedia(
        f"the column {name!r} needs a finite number, got {shown[:60]}", remedy="Leave a cell empty that is unknown."
    )


def _category(name: str, value: Any) -> str | None:
    if _is_missing(value):
        return None
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    if isinstance(value, int | float | str):
        return str(value).strip()
    raise UndecodableMedia(f"the column {name!r} needs text, got {json_kind(value)}", remedy=REMEDY)
