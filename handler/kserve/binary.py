"""v2's extension for binary tensors: bytes after the JSON, which public clients send unless they are told otherwise.

A tensor whose parameters have ``binary_data_size`` has no ``data``: its elements follow the JSON, tensor after tensor,
each as four bytes of its length, little-endian, and its bytes. Nothing is in base64 then.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from typing import Any

from handler.errors import InvalidRequest
from handler.strict_json import JsonError, json_kind, parse_json

MAX_HEAD_BYTES = 1024 * 1024
"""Bytes of the JSON before the tensors."""
SIZE = "binary_data_size"
_LENGTH = struct.Struct("<I")
_REMEDY = "Let the client's library write the body, or send the tensors as JSON."


def split_binary(body: bytes) -> tuple[Mapping[str, Any], bytes] | None:
    """The JSON object that a body begins with, and what follows it; None where it begins with none."""
    head = body[:MAX_HEAD_BYTES].decode("latin-1")  # a character a byte: the end is a place in the bytes
    start = len(head) - len(head.lstrip())
    try:
        _, end = json.JSONDecoder().raw_decode(head, start)
        values = parse_json(body[:end])
    except (JsonError, ValueError, RecursionError):
        return None
    return (values, body[end:]) if isinstance(values, Mapping) else None


class BinaryReader:
    """Reads the tensors that follow the JSON.

    Args:
        content: all bytes after the JSON.
    """

    def __init__(self, content: bytes) -> None:
        self._content = content
        self._place = 0

    def elements(self, name: str, size: Any, count: int) -> list[bytes]:
        """The elements of the next tensor.

        Args:
            name: the tensor's.
            size: its ``binary_data_size``.
            count: how many its shape says; no more are read, however many empty ones fill the size.

        Raises:
            InvalidRequest: the size is none, or more than is there, or its elements do not fill it.
        """
        left = len(self._content) - self._place
        if isinstance(size, bool) or not isinstance(size, int) or not 0 <= size <= left:
            shown = size if isinstance(size, int) and abs(size) < 2**63 else json_kind(size)
            raise InvalidRequest(f"input '{name}': {SIZE} is {shown}, {left} bytes are there", remedy=_REMEDY)
        stop = self._place + size
        elements: list[bytes] = []
        while self._place < stop:
            begin = self._place + _LENGTH.size
            (length,) = _LENGTH.unpack(self._content[self._place : begin]) if begin <= stop else (size,)
            if begin + length > stop:
                raise InvalidRequest(f"input '{name}': its binary data breaks off", remedy=_REMEDY)
            if len(elements) == count:
                raise InvalidRequest(f"input '{name}' has more than the {count} elements of its shape", remedy=_REMEDY)
            elements.append(self._content[begin : begin + length])
            self._place = begin + length
        return elements

    def check_end(self) -> None:
        """Hold that nothing is left.

        Raises:
            InvalidRequest: bytes that belong to no tensor.
        """
        left = len(self._content) - self._place
        if left:
            raise InvalidRequest(f"{left} bytes after the JSON belong to no input", remedy=_REMEDY)
