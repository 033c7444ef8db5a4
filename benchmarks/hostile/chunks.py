"""The chunks that a file consists of, each of which says how long it is, some inside others."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Literal

Data = bytes | bytearray

_ISO_FOLDERS = frozenset(
    (b"moov", b"trak", b"mdia", b"minf", b"stbl", b"edts", b"dinf", b"udta", b"mvex", b"moof", b"traf")
)
_EBML_FOLDERS = frozenset((0x18538067, 0x1549A966, 0x1654AE6B, 0xAE, 0xE0, 0xE1, 0x1F43B675, 0xA0, 0x1C53BB6B, 0xBB))
"""Segment, Info, Tracks, TrackEntry, Video, Audio, Cluster, BlockGroup, Cues, CuePoint."""


@dataclass(frozen=True)
class Chunk:
    """A part of a file that says how long it is."""

    start: int
    body: int
    """Where its content begins."""
    stop: int
    length_at: int
    """Where its length stands."""
    length_bytes: int
    """0 where it says none."""
    order: Literal["little", "big"] = "big"


def _iso(data: Data, start: int, stop: int) -> Iterator[Chunk]:
    while start + 8 <= stop:
        size = int.from_bytes(data[start : start + 4])
        end = start + size
        if size < 8 or end > stop:
            return
        yield Chunk(start, start + 8, end, start, 4)
        if bytes(data[start + 4 : start + 8]) in _ISO_FOLDERS:
            yield from _iso(data, start + 8, end)
        start = end


def _riff(data: Data, start: int, stop: int, order: Literal["little", "big"]) -> Iterator[Chunk]:
    while start + 8 <= stop:
        size = int.from_bytes(data[start + 4 : start + 8], order)
        end = start + 8 + size
        if end > stop:
            return
        yield Chunk(start, start + 8, end, start + 4, 4, order)
        if bytes(data[start : start + 4]) == b"LIST":
            yield from _riff(data, start + 12, end, order)
        start = end + size % 2


def _tagged(data: Data, start: int, tag_bytes: int, length_bytes: int) -> Iterator[Chunk]:
    while start + tag_bytes + length_bytes <= len(data):
        body = start + tag_bytes + length_bytes
        end = body + int.from_bytes(data[start + tag_bytes : body])
        if end > len(data):
            return
        yield Chunk(start, body, end, start + tag_bytes, length_bytes)
        start = end


def _ebml(data: Data, start: int, stop: int) -> Iterator[Chunk]:
    while start < stop:
        id_bytes = 9 - data[start].bit_length()
        length_at = start + id_bytes
        if id_bytes > 4 or length_at >= stop or not data[length_at]:
            return
        length_bytes = 9 - data[length_at].bit_length()
        body = length_at + length_bytes
        size = int.from_bytes(data[length_at:body]) & ((1 << 7 * length_bytes) - 1)
        end = stop if size == (1 << 7 * length_bytes) - 1 else body + size
        if end > stop:
            return
        yield Chunk(start, body, end, length_at, length_bytes)
        if int.from_bytes(data[start:length_at]) in _EBML_FOLDERS:
            yield from _ebml(data, body, end)
        start = end


def _png(data: Data) -> Iterator[Chunk]:
    start = 8
    while start + 12 <= len(data):
        end = start + 12 + int.from_bytes(data[start : start + 4])
        if end > len(data):
            return
        yield Chunk(start, start + 8, end, start, 4)
        start = end


def _marked(data: Data, mark: bytes) -> Iterator[Chunk]:
    places = []
    place = data.find(mark)
    while place >= 0:
        places.append(place)
        place = data.find(mark, place + 1)
    for start, stop in zip(places, [*places[1:], len(data)], strict=True):
        yield Chunk(start, min(start + 6, stop), stop, start + 4, 2 if mark[0] == 0 else 0)


def _flv(data: Data) -> Iterator[Chunk]:
    start = 13
    while start + 11 <= len(data):
        end = start + 15 + int.from_bytes(data[start + 1 : start + 4])
        if end > len(data):
            return
        yield Chunk(start, start + 4, end, start + 1, 3)
        start = end


def _asf(data: Data, start: int, stop: int) -> Iterator[Chunk]:
    while start + 24 <= stop:
        size = int.from_bytes(data[start + 16 : start + 24], "little")
        end = start + size
        if size < 24 or end > stop:
            return
        yield Chunk(start, start + 24, end, start + 16, 8, "little")
        if bytes(data[start : start + 4]) == b"\x30\x26\xb2\x75":
            yield from _asf(data, start + 30, end)
        start = end


def _jpeg(data: Data) -> Iterator[Chunk]:
    start = 2
    while start + 4 <= len(data) and data[start] == 0xFF:
        end = start + 2 + int.from_bytes(data[start + 2 : start + 4])
        if end > len(data):
            return
        yield Chunk(start, start + 4, end, start + 2, 2)
        start = end


def _form(data: Data, order: Literal["little", "big"]) -> Iterator[Chunk]:
    yield Chunk(0, min(12, len(data)), len(data), 4, 4, order)
    yield from _riff(data, 12, len(data), order)


def _packets(data: Data) -> Iterator[Chunk]:
    """Of a transport stream."""
    yield from (Chunk(place, place + 4, place + 188, place, 0) for place in range(0, len(data) - 187, 188))


_WALKS: tuple[tuple[int, bytes, Callable[[Data], Iterator[Chunk]]], ...] = (
    *((4, kind, lambda data: _iso(data, 0, len(data))) for kind in (b"ftyp", b"moov", b"wide", b"mdat", b"free")),
    (0, b"RIFF", partial(_form, order="little")),
    (0, b"FORM", partial(_form, order="big")),
    (0, b"caff", lambda data: _tagged(data, 8, 4, 8)),
    (0, b"\x1aE\xdf\xa3", lambda data: _ebml(data, 0, len(data))),
    (0, b"\x89PNG", _png),
    (0, b"OggS", lambda data: _marked(data, b"OggS")),
    (0, b"FLV", _flv),
    (0, b"\x30\x26\xb2\x75", lambda data: _asf(data, 0, len(data))),
    (0, b"\x47", _packets),
    (0, b"\x00\x00\x01\xba", lambda data: _marked(data, b"\x00\x00\x01")),
    (0, b"\xff\xd8", _jpeg),
)
"""Where a kind of file has which bytes, and what finds its chunks."""


def find_chunks(data: Data) -> list[Chunk]:
    """The chunks of a file whose kind is known by its first bytes, the outer ones before those in them; else none."""
    return next((list(walk(data)) for place, mark, walk in _WALKS if data[place:].startswith(mark)), [])
