"""One pass over a file's packets for what a plan needs to know of them, and further ones for the packets themselves.

Of a short file the first pass keeps the packets. Of a longer one it keeps a few numbers of each, and whoever decodes a
stream reads it again, forward only, from the same bytes opened anew: what an open decode holds in memory does not grow
with the packets then, which take more of it than the file itself.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Generator, Sequence
from contextlib import closing, nullcontext
from itertools import islice
from typing import Any
from weakref import WeakSet

import numpy as np
from av.container import InputContainer
from av.packet import Packet

from handler.errors import LimitExceeded
from handler.limits import Limits
from handler.packets import DEFAULT_TIME_BASE, NO_TIME, PacketTable, check_duration, skipped_samples

KEPT_PACKETS = 4096
"""Packets of a file that are kept, about 1 KiB each beside what they hold: minutes. To open a file anew costs as much
as to decode a few frames, which a short clip would feel."""

KEPT_BYTES = 32 * 1024 * 1024
"""What the packets that are kept may hold."""


def read_packets(opened: InputContainer, streams: Sequence[Any]) -> Generator[Packet[Any], None, None]:
    """Give the packets of ``streams``; a fault in mid-file ends the file there, as it does for a player.

    Args:
        opened: the file, at its beginning.
        streams: the PyAV streams whose packets are wanted.
    """
    reader = opened.demux(*streams) if streams else iter(())
    while True:
        try:
            packet = next(reader)
        except Exception:  # noqa: BLE001 (StopIteration, or one of the many that PyAV raises on malformed files)
            return
        if packet.size:  # an empty packet would end the decoder's stream
            yield packet


def demux(
    opened: InputContainer, streams: Sequence[Any], limits: Limits, *, keep_packets: bool = False
) -> list[PacketTable]:
    """Look at all packets of ``streams``.

    Args:
        opened: the file, at its beginning.
        streams: the PyAV streams whose packets are wanted.
        limits: bounds on packets and seconds.
        keep_packets: keep them, however many they are.

    Returns:
        one table for each of ``streams``.

    Raises:
        LimitExceeded: more packets or a longer timeline than allowed.
    """
    found = {stream.index: _Columns(is_sound=stream.type == "audio") for stream in streams}
    tick_seconds = {stream.index: float(stream.time_base or DEFAULT_TIME_BASE) for stream in streams}
    num_bytes, is_kept = 0, True
    earliest, latest = float("inf"), float("-inf")
    for number, packet in enumerate(read_packets(opened, streams), start=1):
        if number > limits.max_packets:
            raise LimitExceeded(
                "packets",
                f"the file has {number} packets or more, the limit is {limits.max_packets}",
                remedy="Send a shorter clip.",
            )
        ticks = packet.pts if packet.pts is not None else packet.dts
        if ticks is not None and not packet.is_discard:
            seconds = ticks * tick_seconds[packet.stream_index]
            earliest, latest = min(earliest, seconds), max(latest, seconds)
            check_duration(latest - earliest, limits)
        num_bytes += packet.size
        is_kept = keep_packets or (number <= KEPT_PACKETS and num_bytes <= KEPT_BYTES)
        found[packet.stream_index].add(packet, ticks, keep=is_kept)
    return [found[stream.index].table(are_kept=is_kept) for stream in streams]


class _Columns:
    """A :class:`handler.packets.PacketTable` that grows."""

    def __init__(self, *, is_sound: bool) -> None:
        self._is_sound = is_sound
        self._items: list[Packet[Any]] = []
        self._ticks, self._durations, self._skipped = array("q"), array("q"), array("q")
        self._flags = bytearray()

    def add(self, packet: Packet[Any], ticks: int | None, *, keep: bool) -> None:
        if keep:
            self._items.append(packet)
        else:
            self._items.clear()
        self._ticks.append(NO_TIME if ticks is None else ticks)
        self._durations.append(packet.duration or 0)
        self._flags.append((packet.pts is not None) | packet.is_keyframe << 1 | packet.is_discard << 2)
        if self._is_sound:
            self._skipped.extend(skipped_samples(packet))

    def table(self, *, are_kept: bool) -> PacketTable:
        flags = np.frombuffer(self._flags, dtype=np.uint8)
        return PacketTable(
            items=tuple(self._items) if are_kept else None,
            ticks=np.array(self._ticks, dtype=np.int64),
            durations=np.array(self._durations, dtype=np.int64),
            has_pts=(flags & 1).astype(np.bool_),
            is_key=(flags & 2).astype(np.bool_),
            is_discard=(flags & 4).astype(np.bool_),
            skipped=np.array(self._skipped, dtype=np.int64).reshape(-1, 2),
        )


class Passes:
    """Passes over the packets of a file's streams, each from the first one on.

    Args:
        opened: the file, at its beginning: the first pass reads it.
        reopen: opens the same bytes for each further one.

    Attributes:
        opened: as given.
    """

    def __init__(self, opened: InputContainer, reopen: Callable[[], InputContainer]) -> None:
        self.opened = opened
        self._reopen = reopen
        self._is_read = False
        self._begun: WeakSet[Generator[Packet[Any], None, None]] = WeakSet()

    def begin(self, index: int, num_packets: int) -> Generator[Packet[Any], None, None]:
        """Give a stream's packets; what is opened for them is closed after the last one, or by :meth:`close`.

        Args:
            index: of the stream.
            num_packets: that there are.
        """
        packets = self._read(index, num_packets)
        self._begun.add(packets)
        return packets

    def _read(self, index: int, num_packets: int) -> Generator[Packet[Any], None, None]:
        source = self._reopen() if self._is_read else self.opened
        with closing(source) if self._is_read else nullcontext():
            self._is_read = True
            with closing(read_packets(source, [source.streams[index]])) as packets:
                yield from islice(packets, num_packets)

    def close(self) -> None:
        """End the passes that have not come to their end."""
        for packets in list(self._begun):
            packets.close()
