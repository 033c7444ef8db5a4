"""A source cut into chunks, each a media file of its own; packets are copied, and keep their times exactly.

A chunk begins at the key frame nearest to the wanted length, so that any server can decode it by itself. Where the next
key frame is too far, the cut is inside the group of pictures: the chunk then brings lead-in from its key frame on, and
a chunk before an open group of pictures the frames after its end that it refers to; ``start_seconds`` and
``stop_seconds`` say which part of it counts. Its sound begins a few packets earlier, as its decoder needs them.

>>> from client.cutting import cut_file
>>> for chunk in cut_file("clip.mp4", chunk_seconds=2.0):                          # doctest: +SKIP
...     print(chunk.start_seconds, chunk.stop_seconds, len(chunk.data))
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

from client.chunk_files import ChunkFormat, Held, choose_format, write_file
from client.errors import SourceUnusable
from client.sources import Source, open_source, read_address

MAX_LEAD_BYTES = 32 * 1024 * 1024
"""Of the packets since the last key frame that a cut inside a group of pictures repeats."""
FILE_SKEW_SECONDS, LIVE_SKEW_SECONDS = 10.0, 1.0
"""How far one stream may run before the other until that is no longer waited for."""
SOUND_LEAD_SECONDS, SOUND_LEAD_PACKETS = Fraction(1), 12
"""Of the sound before a chunk, at least, for its decoder: AAC's overlap, an mp3's reservoir reach a few packets ahead,
and Opus has forgotten to the last bit how it began after a second."""
INSIDE_FACTOR = 2
"""No chunk is longer than so many times the wanted length for the sake of a key frame."""


@dataclass(frozen=True)
class Chunk:
    """A piece of a stream."""

    data: bytes = field(repr=False)
    """A media file."""
    start_seconds: float
    """On the stream's clock: where the part of it that counts begins."""
    stop_seconds: float
    """Where that part ends."""
    offset_seconds: float = 0.0
    """Where the file's zero lies on the stream's clock."""
    last: bool = False
    """The stream ends with it."""
    says_start: bool = True
    """The server is told ``start_seconds``; else the file's own start counts, as it does in a recording sent whole."""
    says_stop: bool = True

    def options(self) -> dict[str, Any]:
        """The option ``chunk`` of its request."""
        said: dict[str, Any] = {}
        if self.offset_seconds:
            said["offset_seconds"] = self.offset_seconds
        if self.says_start:
            said["start_seconds"] = self.start_seconds
        if self.says_stop:
            said["stop_seconds"] = self.stop_seconds
        if self.last:
            said["last"] = True
        return said


def cut_file(source: str, chunk_seconds: float) -> Iterator[Chunk]:
    """Cut a file, or what an address gives, into chunks; memory holds about two of them.

    Args:
        source: a path, a device or an address: :func:`client.sources.read_address`.
        chunk_seconds: the wanted length.

    Raises:
        SourceUnusable: it cannot be opened, or neither be copied nor be encoded.
    """
    with closing(open_source(read_address(source))) as opened:
        yield from cut_source(opened, chunk_seconds)


def cut_source(source: Source, chunk_seconds: float, *, encode: bool = False) -> Iterator[Chunk]:
    """Cut an open source; what cannot be copied is encoded here.

    Args:
        source: it is read to its end.
        chunk_seconds: the wanted length.
        encode: do not even try to copy.

    Raises:
        SourceUnusable: nothing came, or it can neither be copied nor be encoded.
    """
    kind = None if encode else choose_format(source.container, source.codecs)
    if kind is not None:
        packets, streams = source.held(), source.streams
    else:
        from client.encoding import encode_source  # noqa: PLC0415 - most sources are copied

        kind, streams, packets = encode_source(source, chunk_seconds)
    is_file = source.address.is_file
    cutter = Cutter(
        kind,
        streams,
        chunk_seconds,
        skew_seconds=FILE_SKEW_SECONDS if is_file else LIVE_SKEW_SECONDS,
        # A live source counts from anywhere, and an mp3 counts its encoder's delay: such streams begin at zero.
        from_zero=not is_file or source.container == "mp3",
    )
    try:
        yield from cutter.cut(packets)
    except NothingCame as exc:
        if not source.ended_by:
            raise
        raise SourceUnusable(
            f"The source broke off before its first packet: {source.ended_by}.",
            remedy="An mp4 or mov whose index stands at its end plays only from a server that answers requests for a "
            "part of a file (HTTP's Range), or once it is fetched: `-movflags +faststart` writes the index first.",
        ) from exc


class NothingCame(SourceUnusable):
    """Not one packet came."""


class Cutter:
    """Packets in, chunks out.

    Args:
        kind: what files the chunks are.
        streams: PyAV's streams; the first decides where is cut.
        chunk_seconds: the wanted length.
        skew_seconds: how far one stream may run before the other.
        from_zero: the stream's clock begins with the first packet, whatever that says.
    """

    def __init__(
        self,
        kind: ChunkFormat,
        streams: Sequence[Any],
        chunk_seconds: float,
        *,
        skew_seconds: float = FILE_SKEW_SECONDS,
        from_zero: bool = False,
    ) -> None:
        self._kind = kind
        self._streams = streams
        self._wanted = Fraction(chunk_seconds).limit_denominator(1000)  # 0.8 is 4/5, the float is a little more
        self._skew = Fraction(skew_seconds)
        self._from_zero = from_zero
        self._offset: Fraction | None = None
        self._held: list[Held] = []
        self._start: Fraction | None = None
        """Where the chunk begins; None: the first one."""
        self._cut: Fraction | None = None
        """Where it is to end."""
        self._last_key: Fraction | None = None
        self._group: Fraction | None = None
        """Seconds from one key frame to the next, of the last two."""
        self._decoded: dict[int, Fraction] = {}

    def cut(self, packets: Iterable[Held]) -> Iterator[Chunk]:
        """Chunks as soon as their packets are there; the last one with the end.

        Raises:
            SourceUnusable: no packet came, or a group of pictures is too long to be cut.
        """
        for held in packets:
            self._held.append(held)
            self._decoded[held.stream] = held.dts
            if held.stream == 0 and self._cut is None:
                self._cut = self._find_cut(held)
                if held.is_key:
                    self._note_key(held.pts)
            if self._cut is not None and self._is_complete(self._cut):
                yield self._emit(self._cut)
        yield self._emit(None)

    def _note_key(self, pts: Fraction) -> None:
        if self._last_key is not None:
            self._group = pts - self._last_key
        self._last_key = pts

    def _begin(self) -> Fraction:
        """Where the chunk begins, of the first one what is known so far."""
        if self._start is not None:
            return self._start
        return min(held.start for held in self._held if held.stream == 0)

    def _find_cut(self, held: Held) -> Fraction | None:
        """Where the chunk ends, as soon as a packet of the first stream tells."""
        begin = self._begin()
        wanted = begin + self._wanted
        if held.is_key and held.pts > begin:
            # Of this key frame and the next one, expected as far away as the last one was, the nearer is taken.
            group = self._group if self._last_key is None else held.pts - self._last_key
            next_key = held.pts + (group or 0)
            if held.pts >= wanted or abs(held.pts - wanted) <= abs(next_key - wanted):
                return held.pts
        if held.dts < wanted or self._is_key_near(held.dts, begin):
            return None
        return min(it.pts for it in self._held if it.stream == 0 and it.pts >= wanted)

    def _is_key_near(self, now: Fraction, begin: Fraction) -> bool:
        """Whether the next key frame may come before the chunk is too long."""
        latest = begin + INSIDE_FACTOR * self._wanted
        if self._group is not None and self._last_key is not None and self._last_key + self._group > now:
            return self._last_key + self._group <= latest
        # Nothing is known of the groups: what has gone on for longer than a chunk may go on for ever.
        return now < latest and (self._last_key is None or self._last_key >= begin)

    def _is_complete(self, cut: Fraction) -> bool:
        """Whether every packet before the cut is there, or is no longer waited for."""
        furthest = max(self._decoded.values())
        return self._decoded[0] >= cut and all(
            self._decoded.get(place, cut - 1) >= cut or furthest >= cut + self._skew
            for place in range(len(self._streams))
        )

    def _emit(self, cut: Fraction | None) -> Chunk:
        if not self._held:
            raise NothingCame("The source gave no packet.", remedy="Check that it holds a picture or a sound.")
        taken, kept = self._held, list[Held]()
        if cut is not None:
            taken, kept = _split(self._held, cut)
        first = self._start is None
        start = self._start if self._start is not None else _start_of(taken)
        if self._offset is None:
            self._offset = -start if self._from_zero else Fraction(0)
        stop = cut if cut is not None else max(start, _stop_of(taken))
        chunk = Chunk(
            data=_write(self._kind, self._streams, taken),
            start_seconds=float(start + self._offset),
            stop_seconds=float(stop + self._offset),
            offset_seconds=float(self._offset),
            last=cut is None,
            says_start=not first or not self._kind.keeps_ends,
            says_stop=cut is not None or not self._kind.keeps_ends or not taken[-1].is_shown,
        )
        self._held, self._start, self._cut = kept, cut, None
        if sum(held.size for held in kept if cut is not None and held.pts < cut) > MAX_LEAD_BYTES:
            raise SourceUnusable(
                f"No key frame came within {MAX_LEAD_BYTES // 2**20} MiB of the picture.",
                remedy="Set the source to send one every few seconds, or have it encoded here with --encode.",
            )
        return chunk


def _split(held: Sequence[Held], cut: Fraction) -> tuple[list[Held], list[Held]]:
    """What the chunk before a cut needs, and what the one after it does."""
    begins, ends = [], []
    for stream in range(1 + max(it.stream for it in held)):
        places = [place for place, it in enumerate(held) if it.stream == stream]
        before = [place for place in places if held[place].pts < cut]
        ends.append(before[-1] if before else -1)
        keys = [place for place in places if held[place].is_key and held[place].pts <= cut]
        begins.append(_begin_of_lead(held, keys, cut) if keys else places[0] if places else 0)
    taken = [it for place, it in enumerate(held) if place <= ends[it.stream]]
    kept = [
        it
        for place, it in enumerate(held)
        # What is shown before its key frame belongs to the chunk before, which has that key frame too.
        if place >= begins[it.stream] and (it.pts >= held[begins[it.stream]].pts or not held[begins[it.stream]].is_key)
    ]
    return taken, kept


def _begin_of_lead(held: Sequence[Held], keys: Sequence[int], cut: Fraction) -> int:
    """With which of a stream's key packets up to a cut the chunk after it begins."""
    if not held[keys[-1]].has_memory:
        return keys[-1]
    early = [place for place in keys if held[place].pts <= cut - SOUND_LEAD_SECONDS]
    return min(early[-1] if early else keys[0], keys[max(-len(keys), -1 - SOUND_LEAD_PACKETS)])


def _start_of(taken: Sequence[Held]) -> Fraction:
    return min(it.start for it in taken if it.is_shown) if any(it.is_shown for it in taken) else taken[0].start


def _stop_of(taken: Sequence[Held]) -> Fraction:
    return max((it.stop for it in taken if it.is_shown), default=taken[-1].stop)


def _write(kind: ChunkFormat, streams: Sequence[Any], taken: Sequence[Held]) -> bytes:
    import av  # noqa: PLC0415 - help must not wait for what only the work needs

    try:
        return write_file(kind, streams, taken)
    except (av.FFmpegError, ValueError) as exc:
        raise SourceUnusable(
            f"The source's packets cannot be copied: {getattr(exc, 'strerror', None) or exc}.",
            remedy="Have it encoded here with --encode.",
        ) from exc
