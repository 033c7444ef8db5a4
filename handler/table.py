"""Tables from strangers: CSV, JSON or Parquet, read within limits and without believing what the file declares.

Parquet is read only where its columns are flat and its pages are stored plainly or by Snappy: the other compressors
make a gigabyte of a few kilobytes before anything can count it, Snappy some twenty times of what was sent. What it says
of itself is checked before a page is read (:mod:`handler.parquet_footer`), and a column of text, whose dictionary
could repeat one long word for every row, is read in tables of one row only.
"""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from handler.errors import ActivityError, Exceeded, LimitExceeded, UndecodableMedia, UnsupportedMedia
from handler.limits import Limits
from handler.parquet_footer import MAGIC, NUMBERS, check_pages, read_footer
from handler.strict_json import JsonError, parse_json

Json = Mapping[str, Any] | list[Any]
Content = bytes | str | Json
"""A table as it is sent: a file's bytes, its text, or JSON that is parsed already."""

REMEDY = "Send CSV with a header line, JSON, or Parquet with flat columns, stored plainly or by Snappy."
"""What a client can do about a table that cannot be used."""

FLOAT32_MAX = 3.4e38
"""Beyond it a number is infinite to the model."""


@dataclass(frozen=True)
class Table:
    """Named columns and rows of equal length."""

    columns: tuple[str, ...]
    rows: list[Sequence[Any]]
    """Cells as they were sent: text where the file is CSV, else numbers, text, booleans or None."""

    def __repr__(self) -> str:
        return f"Table({len(self.rows)} rows, {len(self.columns)} columns)"


def read_table(content: Content, limits: Limits, *, max_rows: int | None = None) -> Table | Json:
    """Read a table, whichever of the three forms it has.

    Args:
        content: what was sent; bytes of CSV and JSON are UTF-8 with or without a byte order mark.
        limits: bounds on bytes, columns, rows and cells.
        max_rows: rows that are of use, the limits' own by default. Text columns of Parquet need 1.

    Returns:
        a :class:`Table` of CSV or Parquet; of JSON its object or list, to be understood by whoever asked.

    Raises:
        LimitExceeded: more bytes, columns, rows or cells than allowed.
        UnsupportedMedia: Parquet of a compression or with columns that are not read.
        UndecodableMedia: no table, ragged rows, a column that is named twice.
    """
    if isinstance(content, Mapping | list):
        return content
    size = len(content.encode("utf-8", "surrogatepass")) if isinstance(content, str) else len(content)
    if size > limits.max_table_bytes:
        raise LimitExceeded(
            "table_bytes",
            f"the table has {size} bytes, the limit is {limits.max_table_bytes}",
            remedy="Send fewer rows, or Parquet with float32 columns.",
        )
    rows = limits.max_table_rows if max_rows is None else max_rows
    if isinstance(content, bytes) and content.startswith(MAGIC):
        return _read_parquet(content, limits, rows)
    text = _characters(content)
    if text.lstrip()[:1] in ("{", "["):
        return _read_json(text)
    return _read_csv(text, limits, rows)


def check_shape(num_rows: int, num_columns: int, limits: Limits, max_rows: int) -> None:
    """Hold a table's size against the limits.

    Raises:
        LimitExceeded: naming the size and the limit.
    """
    counts: tuple[tuple[int, int, Exceeded, str], ...] = (
        (num_columns, limits.max_table_columns, "table_columns", "columns"),
        (num_rows, max_rows, "table_rows", "rows"),
        (num_rows * num_columns, limits.max_table_cells, "table_cells", "cells"),
    )
    for count, limit, what, unit in counts:
        if count > limit:
            raise LimitExceeded(
                what, f"the table has {count} {unit} or more, the limit is {limit}", remedy=f"Send fewer {unit}."
            )


def _characters(content: bytes | str) -> str:
    if isinstance(content, str):
        return content.removeprefix("\ufeff")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as exc:
        raise UndecodableMedia(f"the table is no UTF-8: wrong byte at offset {exc.start}", remedy=REMEDY) from exc


def _read_json(text: str) -> Json:
    try:
        value = parse_json(text)
    except JsonError as exc:
        raise UndecodableMedia(f"the table is no valid JSON: {exc}", remedy=REMEDY) from exc
    if isinstance(value, Mapping | list):
        return value
    raise UndecodableMedia("the table is neither a JSON object nor a list", remedy=REMEDY)


def _read_csv(text: str, limits: Limits, max_rows: int) -> Table:
    """Comma-separated values (RFC 4180); lines without anything are passed over."""
    columns: tuple[str, ...] = ()
    rows: list[Sequence[Any]] = []
    try:
        for cells in csv.reader(io.StringIO(text, newline=""), strict=True):
            if not cells:
                continue
            if not columns:
                check_shape(1, len(cells), limits, max_rows)
                columns = _checked_names([cell.strip() for cell in cells])
                continue
            if len(cells) != len(columns):
                raise UndecodableMedia(
                    f"row {len(rows) + 1} has {len(cells)} cells, the header has {len(columns)}", remedy=REMEDY
                )
            rows.append(cells)
            check_shape(len(rows), len(columns), limits, max_rows)
    except csv.Error as exc:
        raise UndecodableMedia(f"the table is no CSV: {exc}", remedy=REMEDY) from exc
    if not rows:
        raise UndecodableMedia("the table has no row below its header", remedy=REMEDY)
    return Table(columns, rows)


def _checked_names(names: Sequence[str]) -> tuple[str, ...]:
    if len(set(names)) != len(names):
        twice = Counter(names).most_common(1)[0][0]
        raise UndecodableMedia(f"the column {twice[:60]!r} stands twice in the table", remedy=REMEDY)
    return tuple(names)


def _read_parquet(data: bytes, limits: Limits, max_rows: int) -> Table:
    try:
        return _parquet_table(data, limits, max_rows)
    except ActivityError:
        raise
    except Exception as exc:  # pyarrow raises its own errors, OSError, MemoryError, UnicodeDecodeError
        raise UndecodableMedia("the table does not open as Parquet", remedy=REMEDY) from exc


def _parquet_table(data: bytes, limits: Limits, max_rows: int) -> Table:
    footer = read_footer(data, REMEDY)
    check_shape(footer.num_rows, len(footer.columns), limits, max_rows)
    if not footer.num_rows:
        raise UndecodableMedia("the table has no row", remedy=REMEDY)
    columns = _checked_names(footer.columns)
    for name, kind in zip(columns, footer.types, strict=True):
        if max_rows > 1 and kind not in NUMBERS:
            raise UnsupportedMedia(f"the column {name[:60]!r} has no numbers", remedy=REMEDY)
    check_pages(data, footer, REMEDY)

    import pyarrow as pa  # noqa: PLC0415 - 50 MB of memory that most models never need
    from pyarrow import parquet  # noqa: PLC0415

    file = parquet.ParquetFile(pa.BufferReader(data), thrift_string_size_limit=len(data))
    rows: list[Sequence[Any]] = []
    for batch in file.iter_batches(batch_size=min(4096, max_rows), use_threads=False):
        check_shape(len(rows) + batch.num_rows, len(columns), limits, max_rows)
        rows.extend(zip(*(column.to_pylist() for column in batch.columns), strict=True))
    if len(rows) != footer.num_rows:
        raise UndecodableMedia("the table has other rows than it declares", remedy=REMEDY)
    return Table(columns, rows)
