"""Tables from strangers: CSV, JSON or Parquet, read within limits and without believing what the file declares.

Parquet is read only where its columns are flat and its pages are stored plainly or by Snappy: the other compressors
make a gigabyte of a few kilobytes before anything can count it, Snappy some twenty times of what was sent. Its sizes
are checked in the metadata, before a page is read, and a column of text, whose dictionary could repeat one long word
for every row, is read in tables of one row only.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from handler.errors import ActivityError, LimitExceeded, UndecodableMedia, UnsupportedMedia
from handler.limits import Limits
from handler.strict_json import JsonError, parse_json

Json = Mapping[str, Any] | list[Any]
Content = bytes | str | Json
"""A table as it is sent: a file's bytes, its text, or JSON that is parsed already."""

REMEDY = "Send CSV with a header line, JSON, or Parquet with flat columns, stored plainly or by Snappy."
"""What a client can do about a table that cannot be used."""

PARQUET_MAGIC = b"PAR1"
PARQUET_COMPRESSIONS = frozenset({"UNCOMPRESSED", "SNAPPY"})
PARQUET_NUMBERS = frozenset({"INT32", "INT64", "FLOAT", "DOUBLE"})
"""Physical types of the columns of a table of many rows."""
FLOAT32_MAX = 3.4e38
"""Beyond it a number is infinite to the model."""
MAX_GROWTH = 32
"""How many times its size a Parquet file may declare to hold: more than Snappy can reach."""
MAX_THRIFT_ITEMS = 100_000
"""Entries of one list in a Parquet file's metadata."""


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
            f"the table has {size} bytes, the limit is {limits.max_table_bytes}",
            remedy="Send fewer rows, or Parquet with float32 columns.",
        )
    rows = limits.max_table_rows if max_rows is None else max_rows
    if isinstance(content, bytes) and content.startswith(PARQUET_MAGIC):
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
    for count, limit, what in (
        (num_columns, limits.max_table_columns, "columns"),
        (num_rows, max_rows, "rows"),
        (num_rows * num_columns, limits.max_table_cells, "cells"),
    ):
        if count > limit:
            raise LimitExceeded(
                f"the table has {count} {what} or more, the limit is {limit}", remedy=f"Send fewer {what}."
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
        twice = next(name for name in names if names.count(name) > 1)
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
    import pyarrow as pa  # noqa: PLC0415 - 50 MB of memory that most models never need
    from pyarrow import parquet  # noqa: PLC0415

    file = parquet.ParquetFile(
        pa.BufferReader(data),
        thrift_string_size_limit=limits.max_table_bytes,
        thrift_container_size_limit=MAX_THRIFT_ITEMS,
    )
    _check_parquet(file.metadata, len(data), limits, max_rows)
    columns = _checked_names(file.metadata.schema.names)
    rows: list[Sequence[Any]] = []
    for batch in file.iter_batches(batch_size=4096, use_threads=False):
        check_shape(len(rows) + batch.num_rows, len(columns), limits, max_rows)
        rows.extend(zip(*(column.to_pylist() for column in batch.columns), strict=True))
    if not rows:
        raise UndecodableMedia("the table has no row", remedy=REMEDY)
    return Table(columns, rows)


def _check_parquet(metadata: Any, num_bytes: int, limits: Limits, max_rows: int) -> None:
    """Hold the metadata of a Parquet file against the limits, before a page of it is read."""
    check_shape(metadata.num_rows, metadata.num_columns, limits, max_rows)
    for index in range(metadata.num_columns):
        column = metadata.schema.column(index)
        if column.max_repetition_level or "." in column.path:
            raise UnsupportedMedia(f"the column {column.path[:60]!r} is nested", remedy=REMEDY)
        if max_rows > 1 and column.physical_type not in PARQUET_NUMBERS:
            raise UnsupportedMedia(f"the column {column.name[:60]!r} has no numbers", remedy=REMEDY)
    declared = 0
    for group in range(metadata.num_row_groups):
        row_group = metadata.row_group(group)
        declared += row_group.total_byte_size
        for index in range(row_group.num_columns):
            compression = row_group.column(index).compression
            if compression not in PARQUET_COMPRESSIONS:
                raise UnsupportedMedia(f"the table is compressed by {compression}", remedy=REMEDY)
    if declared > MAX_GROWTH * num_bytes:
        raise LimitExceeded(
            f"the {num_bytes} bytes of Parquet declare to hold {declared}", remedy="Send it with less compression."
        )
