"""Ways to spoil a file, each repeatable: its choices come from a generator of random numbers that is handed over.

Most files consist of chunks that say how long they are, some inside others. What spoils the chunks goes deeper into a
demuxer than bits that are flipped anywhere, so where a file's kind is known its chunks are found first.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np

from benchmarks.hostile.chunks import Chunk, find_chunks

Mutator = Callable[[bytearray, np.random.Generator, Sequence[bytes]], bytearray]
"""From a file, random numbers and other files to splice with to a spoilt file."""

MAX_GROWTH_BYTES = 64 * 1024
_NUMBERS = (0, 1, 2, 7, 8, 255, 256, 65535, 2**24, 2**31 - 1, 2**31, 2**32 - 1, 2**32 - 8, 90_000, 50_000_000)


def flip_bits(data: bytearray, random: np.random.Generator, _: Sequence[bytes]) -> bytearray:
    """Flip 1 to 32 bits, more of them near the start, where headers are."""
    for _bit in range(int(random.integers(1, 33))):
        stop = len(data) if random.random() < 0.5 else min(len(data), 512)
        data[int(random.integers(stop))] ^= 1 << int(random.integers(8))
    return data


def set_bytes(data: bytearray, random: np.random.Generator, _: Sequence[bytes]) -> bytearray:
    """Overwrite a run with noise, zeros or ones."""
    start, length = int(random.integers(len(data))), int(random.integers(1, 65))
    run = random.bytes(length) if random.random() < 0.5 else bytes([int(random.choice([0, 0x7F, 0x80, 0xFF]))]) * length
    data[start : start + length] = run[: len(data) - start]
    return data


def set_number(data: bytearray, random: np.random.Generator, _: Sequence[bytes]) -> bytearray:
    """Write a number of 1, 2, 4 or 8 bytes that is at some type's edge, mostly near the start."""
    stop = len(data) if random.random() < 0.4 else min(len(data), 1024)
    _write_number(data, int(random.integers(stop)), random)
    return data


def truncate(data: bytearray, random: np.random.Generator, _: Sequence[bytes]) -> bytearray:
    """Cut the end off."""
    return data[: int(random.integers(len(data)))]


def header_only(data: bytearray, random: np.random.Generator, _: Sequence[bytes]) -> bytearray:
    """Leave the first few bytes."""
    return data[: int(random.integers(1, 257))]


def behead(data: bytearray, random: np.random.Generator, _: Sequence[bytes]) -> bytearray:
    """Cut the start off."""
    return data[int(random.integers(1, max(2, len(data)))) :]


def delete_run(data: bytearray, random: np.random.Generator, _: Sequence[bytes]) -> bytearray:
    """Take a run out of the middle."""
    start = int(random.integers(len(data)))
    del data[start : start + int(random.integers(1, max(2, len(data) // 4)))]
    return data


def repeat_run(data: bytearray, random: np.random.Generator, _: Sequence[bytes]) -> bytearray:
    """Put a run of the file in again, up to 64 times."""
    start, length = int(random.integers(len(data))), int(random.integers(1, 1025))
    times = min(int(random.integers(1, 65)), MAX_GROWTH_BYTES // length)
    place = int(random.integers(len(data) + 1))
    return data[:place] + data[start : start + length] * times + data[place:]


def splice(data: bytearray, random: np.random.Generator, others: Sequence[bytes]) -> bytearray:
    """The start of this file and the end of another one."""
    other = others[int(random.integers(len(others)))]
    return data[: int(random.integers(len(data)))] + other[int(random.integers(len(other))) :]


def insert_other(data: bytearray, random: np.random.Generator, others: Sequence[bytes]) -> bytearray:
    """A piece of another file in the midst of this one."""
    other = others[int(random.integers(len(others)))]
    start, place = int(random.integers(len(other))), int(random.integers(len(data) + 1))
    return data[:place] + other[start : start + int(random.integers(1, 4097))] + data[place:]


def lie_about_length(data: bytearray, random: np.random.Generator, others: Sequence[bytes]) -> bytearray:
    """Change what a chunk says of its length."""
    chunk = _chosen(data, random, with_length=True)
    if chunk is None:
        return set_number(data, random, others)
    true = chunk.stop - chunk.start
    length = int(random.choice([0, 1, true - 1, true + 1, 2 * true, true // 2, 2**31 - 1, 2**32 - 1, len(data)]))
    field = (length % (1 << 8 * chunk.length_bytes)).to_bytes(chunk.length_bytes, chunk.order)
    data[chunk.length_at : chunk.length_at + chunk.length_bytes] = field
    return data


def repeat_chunk(data: bytearray, random: np.random.Generator, others: Sequence[bytes]) -> bytearray:
    """Put a chunk in again, up to 32 times, beside itself or elsewhere."""
    chunk = _chosen(data, random)
    if chunk is None:
        return repeat_run(data, random, others)
    piece = data[chunk.start : chunk.stop]
    times = max(1, min(int(random.integers(1, 33)), MAX_GROWTH_BYTES // len(piece)))
    target = _chosen(data, random) or chunk
    place = chunk.stop if random.random() < 0.5 else target.start
    return data[:place] + piece * times + data[place:]


def remove_chunk(data: bytearray, random: np.random.Generator, others: Sequence[bytes]) -> bytearray:
    """Take a chunk out."""
    chunk = _chosen(data, random)
    if chunk is None:
        return delete_run(data, random, others)
    del data[chunk.start : chunk.stop]
    return data


def swap_chunks(data: bytearray, random: np.random.Generator, others: Sequence[bytes]) -> bytearray:
    """Exchange two chunks."""
    one, two = _chosen(data, random), _chosen(data, random)
    if one is None or two is None:
        return insert_other(data, random, others)
    first, second = sorted((one, two), key=lambda chunk: chunk.start)
    if second.start < first.stop:  # one in the other
        return remove_chunk(data, random, others)
    between = data[first.stop : second.start]
    moved = data[second.start : second.stop] + between + data[first.start : first.stop]
    return data[: first.start] + moved + data[second.stop :]


def set_field(data: bytearray, random: np.random.Generator, others: Sequence[bytes]) -> bytearray:
    """Write numbers at types' edges into the first bytes of small chunks: sizes, rates, counts, times."""
    chunks = [chunk for chunk in find_chunks(data) if 4 <= chunk.stop - chunk.body <= 512]
    if not chunks:
        return set_number(data, random, others)
    for _number in range(int(random.integers(1, 5))):
        chunk = chunks[int(random.integers(len(chunks)))]
        _write_number(data, chunk.body + int(random.integers(min(chunk.stop - chunk.body, 64))), random)
    return data


MUTATORS: tuple[Mutator, ...] = (
    *(flip_bits, set_bytes, set_number, truncate, header_only, behead, delete_run, repeat_run, splice, insert_other),
    *(lie_about_length, lie_about_length, repeat_chunk, remove_chunk, swap_chunks, set_field, set_field, set_field),
)


def mutate(content: bytes, random: np.random.Generator, others: Sequence[bytes]) -> bytes:
    """Spoil a file in 1 to 3 ways; of a file with checksums these are made right again, mostly.

    Args:
        content: the file.
        random: what is done to it.
        others: files to splice with, at least one.
    """
    data = bytearray(content)
    for _ in range(int(random.choice([1, 1, 1, 2, 3]))):
        if data:
            data = MUTATORS[int(random.integers(len(MUTATORS)))](data, random, others)
    return bytes(with_checksums(data) if random.random() < 0.7 else data)


def with_checksums(data: bytearray) -> bytearray:
    """A PNG or Ogg whose chunks have the right checksums; what else it is stays."""
    if data.startswith(b"\x89PNG"):
        for chunk in find_chunks(data):
            data[chunk.stop - 4 : chunk.stop] = zlib.crc32(data[chunk.start + 4 : chunk.stop - 4]).to_bytes(4)
    elif data.startswith(b"OggS"):
        for chunk in find_chunks(data):
            _sum_ogg(data, chunk)
    return data


def _sum_ogg(data: bytearray, chunk: Chunk) -> None:
    """A page's checksum (RFC 3533, section 6)."""
    if chunk.stop - chunk.start < 27:
        return
    data[chunk.start + 22 : chunk.start + 26] = bytes(4)
    total = 0
    for byte in data[chunk.start : chunk.stop]:
        total = (total << 8 & 0xFFFFFFFF) ^ _OGG_SUMS[total >> 24 ^ byte]
    struct.pack_into("<I", data, chunk.start + 22, total)


def _ogg_sums() -> tuple[int, ...]:
    sums = []
    for byte in range(256):
        total = byte << 24
        for _ in range(8):
            total = (total << 1 & 0xFFFFFFFF) ^ (0x04C11DB7 if total >> 31 else 0)
        sums.append(total)
    return tuple(sums)


_OGG_SUMS = _ogg_sums()


def _write_number(data: bytearray, place: int, random: np.random.Generator) -> None:
    width = int(random.choice([1, 2, 4, 4, 4, 8]))
    number = int(random.choice(_NUMBERS)) if random.random() < 0.8 else int(random.integers(2**32))
    order: Literal["little", "big"] = "little" if random.random() < 0.5 else "big"
    field = (number % (1 << 8 * width)).to_bytes(width, order)
    data[place : place + width] = field[: len(data) - place]


def _chosen(data: bytearray, random: np.random.Generator, *, with_length: bool = False) -> Chunk | None:
    chunks = [chunk for chunk in find_chunks(data) if chunk.length_bytes or not with_length]
    return chunks[int(random.integers(len(chunks)))] if chunks else None
