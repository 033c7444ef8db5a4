"""The packets that the decoders of a stream's next chunk begin with, so that they go on where those of this one were.

A decoder knows nothing of the chunk before. What it needs of it are its last packets, as they were, fed to it before
the chunk's own: of a picture those from the key frame on that the next frames refer to, of a sound a few whose effect
reaches into what follows (AAC's overlap, Opus' preroll, mp3's reservoir).
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Any, Self

import numpy as np
from av.packet import Packet
from numpy.typing import NDArray

from handler.container import AudioStream, VideoStream
from handler.packets import Packets
from handler.windows import Span

_NO_TIME = np.iinfo(np.int64).min
"""Stands for a time that a packet does not have."""

_GAP_SECONDS = 0.02
"""Two packets this far apart follow each other: containers round times."""

_REORDERED = 17
"""Packets that a decoder may hold back, of any codec: so late a packet without a time of its own can be."""


@dataclass(frozen=True, eq=False)
class Lead:
    """Packets of one stream in decode order, P of them, P at least 1."""

    kind: tuple[str, str]
    """Codec, and a digest of what else its decoder is set up with; none where that stands among the packets."""
    packets: tuple[bytes, ...] = field(repr=False)
    times: NDArray[np.int64] = field(repr=False)
    """``(P, 3)``: pts, dts, duration in ticks; the smallest int64 where a packet has none."""
    is_key: NDArray[np.bool_] = field(repr=False)
    """``(P,)``"""
    time_base: Fraction
    """Seconds of one tick."""
    origin_seconds: float
    """Where tick 0 lies on the stream's clock."""

    @property
    def num_bytes(self) -> int:
        """Of all packets."""
        return sum(map(len, self.packets))

    @property
    def stop_seconds(self) -> float:
        """Where the packet after the last one is expected, by the clock of decoding."""
        pts, dts, duration = self.times[-1].tolist()
        return self._seconds((pts if dts == _NO_TIME else dts) + duration)

    def _seconds(self, ticks: int) -> float:
        return ticks * self.time_base.numerator / self.time_base.denominator + self.origin_seconds

    def items(self, time_base: Fraction, origin_seconds: float) -> list[Packet[Any]]:
        """The packets with the times of another file."""
        found: list[Packet[Any]] = []
        moved = round((self.origin_seconds - origin_seconds) / float(time_base))
        factor = self.time_base / time_base
        for content, times, is_key in zip(self.packets, self.times.tolist(), self.is_key.tolist(), strict=True):
            pts, dts, duration = times
            packet: Packet[Any] = Packet(content)
            packet.time_base = time_base
            packet.pts = round(pts * factor) + moved
            packet.dts = None if dts == _NO_TIME else round(dts * factor) + moved
            packet.duration, packet.is_keyframe = round(duration * factor), is_key
            found.append(packet)
        return found

    def values(self) -> dict[str, Any]:
        """For the state: JSON values, bytes and arrays."""
        return {
            "kind": list(self.kind),
            "packets": b"".join(self.packets),
            "sizes": np.array([len(packet) for packet in self.packets], dtype=np.int64),
            "times": self.times,
            "is_key": self.is_key,
            "time_base": [self.time_base.numerator, self.time_base.denominator],
            "origin_seconds": self.origin_seconds,
        }

    @classmethod
    def of_values(cls, values: Mapping[str, Any]) -> Self:
        """What :meth:`values` gave."""
        stops = np.cumsum(values["sizes"]).tolist()
        starts = [0, *stops[:-1]]
        packets = tuple(values["packets"][start:stop] for start, stop in zip(starts, stops, strict=True))
        origin = float(values["origin_seconds"])
        codec, setup = values["kind"]
        return cls((codec, setup), packets, values["times"], values["is_key"], Fraction(*values["time_base"]), origin)


def stream_kind(stream: VideoStream | AudioStream) -> tuple[str, str]:
    """Codec and set-up of a stream: what goes on from one chunk to the next has the same."""
    extradata = stream.handle.codec_context.extradata
    return stream.codec, hashlib.sha256(extradata).hexdigest()[:16] if extradata else ""


def take_lead(stream: VideoStream | AudioStream, first: int) -> Lead:
    """The packets of a stream from its place ``first`` on."""
    packets = stream.packets
    items = packets.items[first:]
    rows = [
        (int(pts), _NO_TIME if item.dts is None else item.dts, item.duration or packets.nominal_ticks)
        for pts, item in zip(packets.pts[first:], items, strict=True)
    ]
    return Lead(
        kind=stream_kind(stream),
        packets=tuple(bytes(item) for item in items),
        times=np.array(rows, dtype=np.int64),
        is_key=packets.is_key[first:],
        time_base=packets.time_base,
        origin_seconds=-packets.zero_seconds,
    )


def on_clock(packets: Packets, offset_seconds: float) -> Packets:
    """A chunk's packets with their times on the stream's clock."""
    span = Span(packets.span.start_seconds + offset_seconds, packets.span.stop_seconds + offset_seconds)
    return replace(packets, zero_seconds=packets.zero_seconds - offset_seconds, span=span)


def decode_seconds(packets: Packets, place: int) -> float:
    """When the packet at ``place`` is decoded: its dts, else its pts, on the stream's clock."""
    dts = packets.items[place].dts
    ticks = packets.pts[[place]] if dts is None else np.array([dts], dtype=np.int64)
    return float(packets.seconds(ticks)[0])


def follows(lead: Lead, stream: VideoStream | AudioStream, *, is_gapless: bool = False) -> bool:
    """Whether a stream's packets go on after ``lead``, with none missing between them.

    Args:
        lead: the packets before.
        stream: what may go on after them.
        is_gapless: another stream of the same file is known to go on without a gap, so that none is missing here
            however late the next packet is: screens are recorded as seldom as they change.
    """
    packets = stream.packets
    codec, setup = stream_kind(stream)
    if lead.kind[0] != codec or setup not in ("", lead.kind[1]):  # in-band set-up stands with the key frames alone
        return False
    tick_seconds = float(packets.time_base)
    has_dts = packets.items[0].dts is not None
    nominal_seconds = packets.nominal_ticks * tick_seconds * (1 if has_dts else _REORDERED)
    # WebM does not say how long a frame lasts: the next one may be as late as others are.
    longest_seconds = max(
        _longest_step(lead.times[:, 0]) * float(lead.time_base), _longest_step(packets.pts) * tick_seconds
    )
    slack = math.inf if is_gapless else _GAP_SECONDS + max(nominal_seconds, longest_seconds)
    begin = decode_seconds(packets, 0)
    return float(lead.times[-1, 2] * lead.time_base) / -2 < begin - lead.stop_seconds <= slack


def _longest_step(ticks: NDArray[np.int64]) -> int:
    """From one time to the next."""
    return int(np.diff(np.sort(ticks)).max(initial=0))


def joined(lead: Lead, packets: Packets) -> Packets:
    """``packets`` with those of ``lead`` in front of them; the span stays that of ``packets``."""
    items = lead.items(packets.time_base, -packets.zero_seconds)
    pts = np.concatenate((np.array([item.pts for item in items], dtype=np.int64), packets.pts))
    is_shown = np.concatenate((np.ones(len(items), dtype=np.bool_), packets.is_shown))
    shown = pts[is_shown]
    return replace(
        packets,
        items=(*items, *packets.items),
        pts=pts,
        is_key=np.concatenate((lead.is_key, packets.is_key)),
        is_shown=is_shown,
        is_exact=packets.is_exact and np.unique(shown).size == shown.size,
    )


def bare(packet: Packet[Any]) -> Packet[Any]:
    """A packet without what its container says of it beside its times: samples that are to be cut, say."""
    copy: Packet[Any] = Packet(bytes(packet))
    copy.time_base = packet.time_base
    copy.pts, copy.dts = packet.pts, packet.dts
    copy.duration, copy.is_keyframe = packet.duration, packet.is_keyframe
    return copy
