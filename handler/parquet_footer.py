"""What a Parquet file says of itself, checked before pyarrow is let at it.

pyarrow believes the metadata: where they lie it reads one page for each of a thousand columns, takes gigabytes, or
ends the process by an exception of C++ that nobody catches. So the metadata and the head of every page are read here
first, and what passes is plain: flat columns that each have bytes of their own, in encodings and compressions that
cannot grow without bound.

The format: https://github.com/apache/parquet-format (parquet.thrift).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from handler.errors import LimitExceeded, UndecodableMedia, UnsupportedMedia
from handler.thrift import Long, Struct, ThriftError, ThriftReader

MAGIC = b"PAR1"
COMPRESSIONS = ("UNCOMPRESSED", "SNAPPY", "GZIP", "LZO", "BROTLI", "LZ4", "ZSTD", "LZ4_RAW")
ALLOWED_COMPRESSIONS = frozenset({"UNCOMPRESSED", "SNAPPY"})
ALLOWED_ENCODINGS = frozenset({0, 2, 3, 8})
"""Plain, dictionary (old and new) and run lengths; the others make many values of a few bytes."""
NUMBERS = frozenset({1, 2, 4, 5})
"""INT32, INT64, FLOAT and DOUBLE."""
MAX_FOOTER_BYTES = 2 * 1024 * 1024
MAX_VALUES = 500_000
"""Of the metadata: a thousand columns have some thirty thousand."""
MAX_PAGES = 10_000
MAX_GROWTH = 32
"""How many times its size a file may declare to hold: more than Snappy can reach."""

_REPEATED = 2
_DATA, _DICTIONARY, _DATA_V2 = 0, 2, 3
_HEADERS = {_DATA: (5, 2), _DICTIONARY: (7, 2), _DATA_V2: (8, 4)}
"""By a page's type: the field of its own header, and in that the field of the encoding."""


@dataclass(frozen=True)
class ParquetFooter:
    """What can be believed of a file."""

    columns: tuple[str, ...]
    types: tuple[int, ...]
    """Physical types, one a column."""
    num_rows: int
    """Of all row groups."""
    row_groups: tuple[Struct, ...]


def read_footer(data: bytes, remedy: str) -> ParquetFooter:
    """Read the metadata.

    Args:
        data: the whole file.
        remedy: what the errors tell the client.

    Raises:
        UndecodableMedia: no Parquet.
        LimitExceeded: metadata that are too large.
        UnsupportedMedia: nested columns, or encryption.
    """
    length = int.from_bytes(data[-8:-4], "little")
    if len(data) < 12 or not data.endswith(MAGIC) or length > len(data) - 12:
        raise UndecodableMedia("the table does not open as Parquet", remedy=remedy)
    if length > MAX_FOOTER_BYTES:
        raise LimitExceeded(
            "table_bytes", f"the table has {length} bytes of metadata, the limit is {MAX_FOOTER_BYTES}", remedy=remedy
        )
    try:
        values = ThriftReader(data[: len(data) - 8], len(data) - 8 - length, max_values=MAX_VALUES).struct()
        if 8 in values:
            raise UnsupportedMedia("the table is encrypted", remedy=remedy)
        return _footer(values, remedy)
    except (ThriftError, KeyError, IndexError, TypeError, AttributeError, ValueError) as exc:
        raise UndecodableMedia("the table does not open as Parquet", remedy=remedy) from exc


def _footer(values: Struct, remedy: str) -> ParquetFooter:
    root, *leaves = values[2]
    for leaf in leaves:
        if leaf.get(5) or leaf.get(3) == _REPEATED:
            raise UnsupportedMedia(f"the column {leaf[4][:60].decode()!r} is nested", remedy=remedy)
    groups = tuple(values[4])
    if root.get(5, 0) != len(leaves) or any(len(group[1]) != len(leaves) for group in groups):
        raise ThriftError("row groups of other columns than the schema's")
    rows = [group[3] for group in groups]
    if min(rows, default=0) < 0 or sum(rows) != values[3]:
        raise ThriftError("row groups of other rows than the file's")
    names, types = tuple(leaf[4].decode() for leaf in leaves), tuple(leaf[1] for leaf in leaves)
    return ParquetFooter(names, types, sum(rows), groups)


def check_pages(data: bytes, footer: ParquetFooter, remedy: str) -> None:
    """Check each column's bytes, page by page, before one is decoded.

    Raises:
        UnsupportedMedia: another compression or encoding.
        LimitExceeded: pages that declare to hold too much, or too many pages.
        UndecodableMedia: columns that share bytes or reach beyond the file.
    """
    try:
        spans = [_span(column, remedy) for group in footer.row_groups for column in group[1]]
        reader = ThriftReader(data, 0, max_values=MAX_VALUES)
        end, declared, num_pages = len(MAGIC), 0, 0
        for start, stop in sorted(spans):
            if not end <= start <= stop <= len(data):
                raise ThriftError("columns that share bytes")
            reader.place, end = start, stop
            while reader.place < stop:
                declared += _page(reader, stop, remedy)
                num_pages += 1
                if declared > MAX_GROWTH * len(data) or num_pages > MAX_PAGES:
                    raise LimitExceeded(
                        "memory",
                        f"the {len(data)} bytes of Parquet declare to hold {declared} or more in {num_pages} pages",
                        remedy="Send it with less compression, in one row group.",
                    )
    except (ThriftError, KeyError, TypeError, AttributeError) as exc:
        raise UndecodableMedia("the table does not open as Parquet", remedy=remedy) from exc


def _span(column: Struct, remedy: str) -> tuple[int, int]:
    """Where a column's pages begin and end."""
    if 8 in column or column.get(1):
        raise UnsupportedMedia("the table has a column that is encrypted or in another file", remedy=remedy)
    values = column[3]
    compression = COMPRESSIONS[values[4]] if 0 <= values[4] < len(COMPRESSIONS) else f"codec {values[4]}"
    if compression not in ALLOWED_COMPRESSIONS:
        raise UnsupportedMedia(f"the table is compressed by {compression}", remedy=remedy)
    if not all(isinstance(values[field], Long) for field in (7, 9, 11) if field in values):
        raise ThriftError("a place of another width")
    start = min(values[9], values[11]) if values.get(11, 0) > 0 else values[9]
    return start, start + values[7]


def _page(reader: ThriftReader, stop: int, remedy: str) -> int:
    """Step over one page; the bytes that it declares to hold."""
    header: dict[int, Any] = reader.struct()
    field, encoding = _HEADERS[header[1]]
    if header[field][encoding] not in ALLOWED_ENCODINGS:
        raise UnsupportedMedia("the table has a page of an encoding that is not read: write it plainly", remedy=remedy)
    packed, unpacked = header[3], header[2]
    reader.place += packed
    if min(packed, unpacked) < 0 or reader.place > stop:
        raise ThriftError("a page that reaches beyond its column")
    return int(unpacked)
