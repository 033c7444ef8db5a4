"""Thrift's compact protocol, read without believing it: just what the metadata of a Parquet file need.

https://github.com/apache/thrift/blob/master/doc/specs/thrift-compact-protocol.md
"""

from __future__ import annotations

from typing import Any

MAX_DEPTH = 16
"""Structures inside structures; Parquet's metadata have eight."""

_TRUE, _FALSE, _BYTE, _I16, _I32, _I64, _DOUBLE, _BINARY, _LIST, _SET, _MAP, _STRUCT = range(1, 13)
_LENGTHS = {_TRUE: 1, _FALSE: 1, _BYTE: 1, _DOUBLE: 8}
"""Bytes of what is nowhere needed and passed over; a boolean has one in a list only."""
_MAX_FIELD = 2**15 - 1

Struct = dict[int, Any]
"""A structure's fields by number."""


class Long(int):
    """What was written as a number of 64 bits: readers pass over a field that is written in another width."""


class ThriftError(ValueError):
    """Not Thrift, or more of it than allowed."""


class ThriftReader:
    """Reads structures from bytes.

    Args:
        data: the bytes.
        place: where the first structure begins.
        max_values: values that may be read in all, which bounds time and memory.

    Attributes:
        place: where the next structure begins.
    """

    def __init__(self, data: bytes, place: int, *, max_values: int) -> None:
        self._data = data
        self.place = place
        self._values_left = max_values

    def struct(self, depth: int = 0) -> Struct:
        """Read one structure: whole numbers as int, binary as bytes, lists as list, structures as dict.

        Raises:
            ThriftError: where it ends early, nests too deeply or has too many values.
        """
        if depth > MAX_DEPTH:
            raise ThriftError("nested too deeply")
        fields: Struct = {}
        number = 0
        while head := self._byte():
            number = number + (head >> 4) if head >> 4 else self._signed()
            kind = head & 0x0F
            # Other readers merge what comes twice, and cut a number that is too large.
            if number in fields or not 0 < number <= _MAX_FIELD:
                raise ThriftError(f"a field {number} that cannot be there")
            fields[number] = kind == _TRUE if kind in (_TRUE, _FALSE) else self._value(kind, depth)
        return fields

    def _value(self, kind: int, depth: int) -> Any:
        self._values_left -= 1
        if self._values_left < 0:
            raise ThriftError("too many values")
        if kind == _I64:
            return Long(self._signed())
        if kind in (_I16, _I32):
            return self._signed()
        if kind in _LENGTHS or kind == _BINARY:
            return self._bytes(_LENGTHS[kind] if kind in _LENGTHS else self._unsigned())
        if kind in (_LIST, _SET):
            return self._list(depth)
        if kind == _STRUCT:
            return self.struct(depth + 1)
        raise ThriftError(f"a value of kind {kind}")  # maps are nowhere in Parquet

    def _list(self, depth: int) -> list[Any]:
        head = self._byte()
        length = head >> 4 if head >> 4 < 15 else self._unsigned()
        if depth > MAX_DEPTH:
            raise ThriftError("nested too deeply")
        return [self._value(head & 0x0F, depth + 1) for _ in range(length)]

    def _byte(self) -> int:
        if not 0 <= self.place < len(self._data):
            raise ThriftError("it ends early")
        self.place += 1
        return self._data[self.place - 1]

    def _bytes(self, length: int) -> bytes:
        if length > len(self._data) - self.place:
            raise ThriftError("it ends early")
        self.place += length
        return self._data[self.place - length : self.place]

    def _unsigned(self) -> int:
        value = 0
        for shift in range(0, 70, 7):
            byte = self._byte()
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
        raise ThriftError("a number of more than 64 bits")

    def _signed(self) -> int:
        value = self._unsigned()
        return value >> 1 if value % 2 == 0 else -(value >> 1) - 1
