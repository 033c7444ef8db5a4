"""What a worker and a decode child say to each other: JSON and raw arrays in shared memory, announced over a socket.

Each side writes into a piece of anonymous memory of its own (:manpage:`memfd_create(2)`) and says over the socket how
many bytes of it count; then it is the other's turn, so nothing is overwritten before it is read. The reader copies it
into arrays of its own (:manpage:`preadv(2)`) and maps nothing: the other side can neither change what has been read nor
make it fault, and nothing is unpickled. The memory has no name, and is freed with its last holder, however that ends.
"""

from __future__ import annotations

import json
import math
import os
import socket
import struct
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from handler.packing import BYTES_KIND, DTYPES, MAX_AXES, MAX_LENGTH, PackingError, place_content, split_contents
from handler.strict_json import parse_json

MAX_HEADER_BYTES = 64 * 1024 * 1024
"""Of JSON in a message: a table that a client sent as JSON has at most 8 MiB."""

_FRAME = struct.Struct("<IQ")
"""Bytes of the header, and of the whole message."""
_MAX_PART = 2**30
"""Linux reads and writes at most 2 GiB at a time."""


class WireError(Exception):
    """The other side says what it must not, or says no more."""


class Channel:
    """One end of a conversation, in which the two sides take turns.

    Args:
        link: a socket that keeps messages apart (``SOCK_SEQPACKET``), connected to the other side.
        outgoing: descriptor of the memory that this side writes.
        incoming: descriptor of the memory that the other side writes.
        max_bytes: of a message that comes in.
    """

    def __init__(self, link: socket.socket, outgoing: int, incoming: int, max_bytes: int) -> None:
        self.link = link
        self._outgoing = outgoing
        self._incoming = incoming
        self._max_bytes = max_bytes

    def send(self, kind: str, values: Mapping[str, Any]) -> None:
        """Say something.

        Args:
            kind: what it is.
            values: as :func:`handler.packing.split_contents` takes them.

        Raises:
            WireError: the other side is gone.
            OSError: the memory cannot grow.
        """
        plain, contents = split_contents(values)
        leaves = [[list(it.path), it.kind, list(it.shape)] for it in contents]
        header = json.dumps({"kind": kind, "values": plain, "contents": leaves}, separators=(",", ":")).encode("ascii")
        end = 0
        for data in (memoryview(header), *(it.data for it in contents)):
            _write(self._outgoing, data, end)
            end += len(data)
        try:
            self.link.sendall(_FRAME.pack(len(header), end))
        except OSError as exc:
            raise WireError("the other side is gone") from exc

    def receive(self, timeout_seconds: float | None = None) -> tuple[str, dict[str, Any]]:
        """Wait for what the other side says.

        Args:
            timeout_seconds: how long; None for as long as it takes.

        Returns:
            Its kind and its values; arrays are writable.

        Raises:
            TimeoutError: nothing came.
            WireError: the other side is gone, or says what it must not.
        """
        header_bytes, total_bytes = _FRAME.unpack(self._frame(timeout_seconds))
        if not 0 < header_bytes <= min(total_bytes, MAX_HEADER_BYTES) or total_bytes > self._max_bytes:
            raise WireError(f"a message of {total_bytes} bytes, {header_bytes} of them a header")
        try:
            header = parse_json(self._read(header_bytes, 0))
            kind, values, leaves = header["kind"], header["values"], header["contents"]
            if not isinstance(kind, str) or not isinstance(values, dict):
                raise WireError("a header that is none")
            start = header_bytes
            for path, dtype, shape in leaves:
                content, start = self._content(dtype, shape, start, total_bytes)
                place_content(values, path, content)
        except (PackingError, LookupError, TypeError, ValueError) as exc:
            raise WireError("a message that is none") from exc
        return kind, values

    def _frame(self, timeout_seconds: float | None) -> bytes:
        self.link.settimeout(timeout_seconds)
        try:
            frame = self.link.recv(_FRAME.size + 1)
        except TimeoutError:
            raise
        except OSError as exc:
            raise WireError("the other side is gone") from exc
        if len(frame) != _FRAME.size:
            raise WireError("the other side is gone")
        return frame

    def _content(self, kind: str, shape: list[int], start: int, stop: int) -> tuple[NDArray[Any] | bytes, int]:
        """The content at ``start``, and where the next one starts."""
        if len(shape) > MAX_AXES or not all(type(length) is int and 0 <= length <= MAX_LENGTH for length in shape):
            raise WireError("a shape is none")
        dtype = np.dtype(np.uint8) if kind == BYTES_KIND else DTYPES[kind]
        num_bytes = math.prod(shape) * dtype.itemsize
        if num_bytes > stop - start:
            raise WireError("a content is cut")
        if kind == BYTES_KIND:
            return self._read(num_bytes, start), start + num_bytes
        array = np.empty(shape, dtype=np.uint8 if dtype.kind == "b" else dtype)
        _read_into(self._incoming, array.reshape(-1).view(np.uint8).data, start)
        if dtype.kind == "b":
            if array.max(initial=0) > 1:
                raise WireError("a flag is none")
            array = array.view(np.bool_)
        return array.astype(dtype.newbyteorder("="), copy=False), start + num_bytes

    def _read(self, num_bytes: int, start: int) -> bytes:
        data = bytearray(num_bytes)
        _read_into(self._incoming, memoryview(data), start)
        return bytes(data)


def _write(descriptor: int, data: memoryview, start: int) -> None:
    done = 0
    while done < len(data):
        done += os.pwrite(descriptor, data[done : done + _MAX_PART], start + done)


def _read_into(descriptor: int, target: memoryview, start: int) -> None:
    done = 0
    while done < len(target):
        count = os.preadv(descriptor, [target[done : done + _MAX_PART]], start + done)
        if not count:
            raise WireError("the memory is shorter than was said")
        done += count
