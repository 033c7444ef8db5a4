"""Writes Thrift's compact protocol, and Parquet files that lie."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

I16, I32, I64, BINARY, LIST, STRUCT = 4, 5, 6, 8, 9, 12
Field = tuple[int, int, Any]
"""Number, kind and value."""


def unsigned(value: int) -> bytes:
    parts = bytearray()
    while value > 0x7F:
        parts.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*parts, value])


def signed(value: int) -> bytes:
    return unsigned(value * 2 if value >= 0 else -value * 2 - 1)


def struct(fields: Sequence[Field]) -> bytes:
    """Every field with its number in full."""
    return b"".join(bytes([kind]) + signed(number) + encoded(kind, value) for number, kind, value in fields) + b"\0"


def encoded(kind: int, value: Any) -> bytes:
    if kind == BINARY:
        return unsigned(len(value)) + bytes(value)
    if kind == STRUCT:
        return struct(value)
    if kind == LIST:
        inner, items = value
        return bytes([0xF0 | inner]) + unsigned(len(items)) + b"".join(encoded(inner, item) for item in items)
    return signed(value)


def page(content: bytes, *, unpacked: int | None = None, values: int = 1, encoding: int = 0) -> bytes:
    """A data page with its header."""
    sizes: list[Field] = [(1, I32, 0), (2, I32, len(content) if unpacked is None else unpacked), (3, I32, len(content))]
    own: list[Field] = [(1, I32, values), (2, I32, encoding), (3, I32, 3), (4, I32, 3)]
    return struct([*sizes, (5, STRUCT, own)]) + content


def chunk(name: str, kind: int, start: int, size: int, *, codec: int = 0, more: Sequence[Field] = ()) -> list[Field]:
    """A column's chunk; ``more`` fields of its metadata."""
    encodings, path = (LIST, (I32, [0])), (LIST, (BINARY, [name.encode()]))
    head: list[Field] = [(1, I32, kind), (2, *encodings), (3, *path), (4, I32, codec)]
    sizes: list[Field] = [(5, I64, 1), (6, I64, 0), (7, I64, size), (9, I64, start)]
    return [(2, I64, start), (3, STRUCT, [*head, *sizes, *more])]


def parquet(pages: bytes, columns: Sequence[tuple[str, int]], chunks: Sequence[Sequence[Field]]) -> bytes:
    """A file of one row."""
    root: list[Field] = [(4, BINARY, b"root"), (5, I32, len(columns))]
    leaves = [[(1, I32, kind), (3, I32, 0), (4, BINARY, name.encode())] for name, kind in columns]
    group: list[Field] = [(1, LIST, (STRUCT, chunks)), (2, I64, 0), (3, I64, 1)]
    schema, groups = (STRUCT, [root, *leaves]), (STRUCT, [group])
    footer = struct([(1, I32, 1), (2, LIST, schema), (3, I64, 1), (4, LIST, groups)])
    return b"PAR1" + pages + footer + len(footer).to_bytes(4, "little") + b"PAR1"
