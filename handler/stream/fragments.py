"""Pieces of one recording that were cut from it as bytes: a fragmented MP4 at a ``moof``, a WebM at a cluster.

Only the first piece has the header that says which streams there are and how they are coded; it is put in front of
those that follow, whose times go on all the same. (ISO/IEC 14496-12, 8.8; RFC 9559, 5.1)
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple

MAX_HEADER_BYTES = 64 * 1024
"""A longer header is not kept: those of cameras and browsers have one or two KiB."""

_BOX = struct.Struct(">I4s")
_LARGE_SIZE = struct.Struct(">Q")
_BEFORE_FRAGMENT = frozenset({b"styp", b"sidx", b"ssix", b"prft", b"emsg", b"moof"})
"""Boxes that a fragment may begin with."""
_CLUSTER = b"\x1f\x43\xb6\x75"
_EBML = b"\x1a\x45\xdf\xa3"


class _Box(NamedTuple):
    """A box of an MP4: its kind, where it begins, where its content does, and where it ends."""

    kind: bytes
    start: int
    content: int
    stop: int


def find_header(data: bytes) -> bytes | None:
    """What stands before the first fragment of a file that is made of fragments.

    Returns:
        None where the file has no fragments, or more than :data:`MAX_HEADER_BYTES` before them.
    """
    stop = data.find(_CLUSTER, 0, MAX_HEADER_BYTES + len(_CLUSTER)) if data.startswith(_EBML) else _first_fragment(data)
    return data[:stop] if 0 < stop <= MAX_HEADER_BYTES else None


def is_fragment(data: bytes) -> bool:
    """Whether bytes begin with a fragment, so that they cannot be opened without the header of their recording."""
    return data.startswith(_CLUSTER) or data[4:8] in _BEFORE_FRAGMENT


def with_header(header: bytes, fragment: bytes) -> bytes:
    """A file that opens, of a recording's header and one of its later pieces."""
    if fragment.startswith(_CLUSTER):
        return header + fragment
    return header + _rebased(fragment, len(header))


def _first_fragment(data: bytes) -> int:
    """Where the first box of a fragment begins; -1 where there is none, or nothing before it says that some follow."""
    is_fragmented = False
    for box in _boxes(data, 0, len(data)):
        if box.kind == b"moov":
            is_fragmented = any(inner.kind == b"mvex" for inner in _boxes(data, box.content, box.stop))
        elif box.kind in _BEFORE_FRAGMENT and is_fragmented:
            return box.start
    return -1


def _boxes(data: bytes, start: int, stop: int) -> Iterator[_Box]:
    """The boxes between two places; a damaged one ends them."""
    while start + _BOX.size <= stop:
        size, kind = _BOX.unpack_from(data, start)
        content = start + _BOX.size
        if size == 1 and content + _LARGE_SIZE.size <= stop:
            (size,) = _LARGE_SIZE.unpack_from(data, content)
            content += _LARGE_SIZE.size
        elif size == 0:
            size = stop - start
        if size < content - start or start + size > stop:
            return
        yield _Box(kind, start, content, start + size)
        start += size


def _rebased(fragment: bytes, place: int) -> bytes:
    """A fragment as it stands at ``place`` of a file.

    Where a track's data is counted from a place in the whole recording, that is the one of its ``moof``: no muxer
    known to write such files counts from another.
    """
    moved = bytearray(fragment)
    for moof in _boxes(fragment, 0, len(fragment)):
        if moof.kind != b"moof":
            continue
        for track in _boxes(fragment, moof.content, moof.stop):
            for head in _boxes(fragment, track.content, track.stop) if track.kind == b"traf" else ():
                has_base = head.kind == b"tfhd" and head.stop - head.content >= 16 and fragment[head.content + 3] & 1
                if has_base:  # after version and flags, and the track's number
                    _LARGE_SIZE.pack_into(moved, head.content + 8, place + moof.start)
    return bytes(moved)
