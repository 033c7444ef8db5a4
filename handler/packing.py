"""Values, arrays and bytes as one compressed string of bytes, and back; nothing is unpickled.

The layout: the number of bytes before compression (4, little-endian), then zlib's stream of the number of bytes of the
header (4), the header in JSON, and the contents of all arrays and bytes one after the other. The header has the values
with null where a content belongs, and for each content its path, its kind (a dtype or ``bytes``) and its shape.

Whoever unpacks says how much it may become; the number in front is held against that before anything is decompressed.
"""

from __future__ import annotations

import json
import math
import struct
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from handler.strict_json import parse_json

BYTES_KIND = "bytes"
DTYPES = {
    str(np.dtype(name)): np.dtype(name).newbyteorder("<") for name in ("bool", "u1", "i2", "i4", "i8", "f4", "f8")
}
"""By the name that stands in the header; others are refused on both ways."""
MAX_AXES = 8
MAX_LENGTH = 2**31

_SIZE = struct.Struct("<I")
_LEVEL = 6

Path = tuple[str | int, ...]


class PackingError(ValueError):
    """The bytes are not what :func:`pack` makes, or more than was allowed."""


def pack(values: Mapping[str, Any]) -> bytes:
    """Pack a mapping of text to values.

    Args:
        values: None, flags, numbers (finite), text, bytes, arrays of :data:`DTYPES`, and lists, tuples and mappings of
            such. A tuple comes back as a list.

    Raises:
        TypeError: something else is in it.
        ValueError: a number is not finite.
    """
    plain, contents = split_contents(values)
    leaves = [[list(it.path), it.kind, list(it.shape)] for it in contents]
    header = json.dumps({"values": plain, "contents": leaves}, allow_nan=False, separators=(",", ":")).encode("ascii")
    whole = b"".join([_SIZE.pack(len(header)), header, *(it.data for it in contents)])
    return _SIZE.pack(len(whole)) + zlib.compress(whole, _LEVEL)


def unpack(packed: bytes, max_bytes: int) -> dict[str, Any]:
    """Undo :func:`pack`.

    Args:
        packed: what :func:`pack` gave.
        max_bytes: how many bytes it may become; no more are ever held.

    Returns:
        The values; arrays are writable copies in the machine's byte order.

    Raises:
        PackingError: it is not that, or too large.
    """
    whole = _decompress(packed, max_bytes)
    header_bytes = _size_of(whole)
    if header_bytes > len(whole) - _SIZE.size:
        raise PackingError("the header is cut")
    start = _SIZE.size + header_bytes
    try:
        header = parse_json(whole[_SIZE.size : start])
        values, leaves = header["values"], header["contents"]
        for path, kind, shape in leaves:
            content, start = _content(whole, start, kind, shape)
            place_content(values, path, content)
    except PackingError:
        raise
    except (KeyError, IndexError, TypeError, ValueError) as exc:
        raise PackingError("the header is none") from exc
    if start != len(whole) or not isinstance(values, dict):
        raise PackingError("the contents are not those of the header")
    return values


def unpacked_bytes(packed: bytes) -> int:
    """How many bytes :func:`unpack` must be allowed.

    Raises:
        PackingError: it does not say.
    """
    return _size_of(packed)


@dataclass(frozen=True)
class Content:
    """An array or bytes, and where among the values it belongs."""

    path: Path
    kind: str
    """A dtype, or ``bytes``."""
    shape: tuple[int, ...]
    data: memoryview = field(repr=False)
    """Of single bytes, little-endian."""


def split_contents(values: Mapping[str, Any]) -> tuple[dict[str, Any], list[Content]]:
    """The values as JSON can say them, null in the place of each array and of bytes; and these.

    Raises:
        TypeError: something is in it that :func:`pack` does not take.
    """
    contents: list[Content] = []
    plain: dict[str, Any] = _plain(dict(values), (), contents)
    return plain, contents


def _plain(value: Any, path: Path, contents: list[Content]) -> Any:
    """The value as JSON can say it; arrays and bytes go to ``contents`` and become null."""
    if isinstance(value, np.ndarray):
        if str(value.dtype) not in DTYPES or value.ndim > MAX_AXES:
            raise TypeError(f"an array {value.shape} of {value.dtype} cannot be packed")
        flat = np.ascontiguousarray(value, dtype=DTYPES[str(value.dtype)]).reshape(-1)
        contents.append(Content(path, str(value.dtype), value.shape, flat.view(np.uint8).data))
        return None
    if isinstance(value, bytes):
        contents.append(Content(path, BYTES_KIND, (len(value),), memoryview(value)))
        return None
    if isinstance(value, Mapping):
        return {_key(key): _plain(item, (*path, key), contents) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item, (*path, index), contents) for index, item in enumerate(value)]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise TypeError(f"a {type(value).__name__} cannot be packed")


def _key(key: object) -> str:
    if not isinstance(key, str):
        raise TypeError(f"a key must be text, got {key!r}")
    return key


def _size_of(packed: bytes) -> int:
    if len(packed) < _SIZE.size:
        raise PackingError("there is no size")
    return int(_SIZE.unpack_from(packed)[0])


def _decompress(packed: bytes, max_bytes: int) -> bytes:
    size = _size_of(packed)
    if size > max_bytes:
        raise PackingError(f"{size} bytes, at most {max_bytes} are allowed")
    stream = zlib.decompressobj()
    try:
        whole = stream.decompress(packed[_SIZE.size :], size + 1)  # one more shows that there is more than was said
    except zlib.error as exc:
        raise PackingError("it does not decompress") from exc
    if len(whole) != size or not stream.eof or stream.unused_data:
        raise PackingError("the size is not the one in front")
    return whole


def _content(whole: bytes, start: int, kind: str, shape: list[int]) -> tuple[NDArray[Any] | bytes, int]:
    """The content at ``start``, and where the next one starts."""
    if len(shape) > MAX_AXES or not all(type(length) is int and 0 <= length <= MAX_LENGTH for length in shape):
        raise PackingError("a shape is none")
    dtype = None if kind == BYTES_KIND else DTYPES[kind]
    count = math.prod(shape)
    stop = start + count * (1 if dtype is None else dtype.itemsize)
    if stop > len(whole):
        raise PackingError("a content is cut")
    if dtype is None:
        return whole[start:stop], stop
    array = np.frombuffer(whole, np.uint8 if dtype.kind == "b" else dtype, count, start)
    if dtype.kind == "b" and array.max(initial=0) > 1:
        raise PackingError("a flag is none")
    return array.reshape(shape).astype(dtype.newbyteorder("="), copy=True), stop


def place_content(values: Any, path: Sequence[str | int], content: NDArray[Any] | bytes) -> None:
    """Put a content where the values have null for it.

    Raises:
        PackingError: another one has its place.
        LookupError: there is no such place.
        TypeError: it leads into what has no places.
    """
    *ways, last = path
    for way in ways:
        values = values[way]
    if values[last] is not None:
        raise PackingError("two contents have one place")
    values[last] = content
