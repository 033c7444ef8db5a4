"""A stream's packets and the times at which they are shown, read without decoding anything."""

from __future__ import annotations

import struct
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Any, TypeAlias

import av
import numpy as np
from av.packet import Packet, PacketSideData
from numpy.typing import NDArray

from handler.errors import LimitExceeded, UndecodableMedia
from handler.limits import Limits
from handler.windows import Span

REMEDY = "Send a whole media file, such as mp4 (H.264, AAC), WebM (VP9, Opus), wav, flac or mp3."
"""What a client can do about a file that cannot be used."""

_MAX_TIMESTAMP_SECONDS = 1e10
"""Beyond it float64 does not hold a microsecond; a clock that counts from 1970 stays below."""

DEFAULT_TIME_BASE = Fraction(1, 1000)
"""Seconds of a tick where a stream does not say."""

NO_TIME = int(np.iinfo(np.int64).min)
"""Stands for a time that a packet does not have; FFmpeg's own number for it."""

_NOMINAL_RATE = Fraction(25)
"""Frames a second of a picture that has neither timestamps nor a rate."""


ReadAgain: TypeAlias = "Callable[[], Generator[Packet[Any], None, None]]"
"""Reads a stream's packets from the first one on."""


@dataclass(frozen=True, eq=False)
class PacketTable:
    """What the first pass over a stream, P packets in the order in which they are decoded, knows of them."""

    items: tuple[Packet[Any], ...] | None = field(repr=False)
    """The packets; None where they are too many to be kept."""
    ticks: NDArray[np.int64] = field(repr=False)
    """``(P,)``: pts, else dts; :data:`NO_TIME` where a packet has neither."""
    durations: NDArray[np.int64] = field(repr=False)
    """``(P,)`` ticks; 0 where a packet does not say."""
    has_pts: NDArray[np.bool_] = field(repr=False)
    """``(P,)``"""
    is_key: NDArray[np.bool_] = field(repr=False)
    """``(P,)``"""
    is_discard: NDArray[np.bool_] = field(repr=False)
    """``(P,)``: what an edit list cuts away."""
    skipped: NDArray[np.int64] = field(repr=False)
    """``(P, 2)``: as :func:`skipped_samples`; of a picture ``(0, 2)``."""


@dataclass(frozen=True, eq=False)
class Packets:
    """One stream's packets in the order in which they are decoded, P of them, and when each is shown."""

    items: tuple[Packet[Any], ...] = field(repr=False)
    """The P packets, none of them empty; none at all where they are too many to be kept, and :meth:`read` alone gives
    them."""
    pts: NDArray[np.int64] = field(repr=False)
    """``(P,)`` ticks; where a packet has no pts, its dts or else its place at the nominal rate."""
    is_key: NDArray[np.bool_] = field(repr=False)
    """``(P,)``: decoding can begin here, so the container says."""
    is_shown: NDArray[np.bool_] = field(repr=False)
    """``(P,)``: False for what an edit list cuts away."""
    is_exact: bool
    """Every packet that is shown has a pts of its own, different from all others."""
    nominal_ticks: int
    """How long a packet lasts that does not say so."""
    time_base: Fraction
    """Seconds of one tick."""
    span: Span
    """From the start of the first packet shown to the end of the last, in seconds on the clip's timeline."""
    zero_seconds: float = 0.0
    """Where the clip's timeline begins on the file's own clock."""
    read_again: ReadAgain | None = field(default=None, repr=False)
    """Reads the packets that are not kept; None where they are."""

    @property
    def num_packets(self) -> int:
        """P."""
        return len(self.pts)

    def read(self) -> Generator[Packet[Any], None, None]:
        """Give the packets in order; closed before the last one, it frees at once what it reads from.

        Raises:
            ActivityError: the bytes do not open a second time.
        """
        return _each(self.items) if self.read_again is None else self.read_again()

    def seconds(self, ticks: NDArray[np.int64]) -> NDArray[np.float64]:
        """Ticks as seconds on the clip's timeline, float64 of the same shape."""
        return _to_seconds(ticks, self.time_base) - self.zero_seconds


def check_duration(seconds: float, limits: Limits) -> None:
    """Hold a length against the limit.

    Raises:
        LimitExceeded: naming both.
    """
    if seconds > limits.max_duration_seconds:
        raise LimitExceeded(
            "seconds",
            f"the clip lasts {seconds:.3f} s or more, the limit is {limits.max_duration_seconds:g} s",
            remedy=limits.shorter,
        )


def index_video(stream: av.VideoStream, table: PacketTable, *, has_pts: bool) -> Packets:
    """Lay a picture's packets on the timeline.

    Args:
        stream: their PyAV stream.
        table: of at least one packet.
        has_pts: the container stores pts. Where it does not, FFmpeg guesses them, and for a stream that reorders its
            frames the guess can be wrong: then the index is not exact.

    Raises:
        UndecodableMedia: timestamps that no clip has.
    """
    time_base = stream.time_base or DEFAULT_TIME_BASE
    rate = stream.average_rate or stream.guessed_rate or _NOMINAL_RATE
    packets = _index(table, time_base, max(1, round(1 / (rate * time_base))), sample_rate=0)
    context = stream.codec_context  # None where FFmpeg has no decoder for the stream
    has_order = has_pts or (context is not None and not context.has_b_frames)
    return replace(packets, is_exact=packets.is_exact and has_order)


def index_audio(stream: av.AudioStream, table: PacketTable, *, sample_rate: int, has_clock: bool) -> Packets:
    """Lay a sound's packets on the timeline; the span leaves out the encoder's delay and padding.

    Args:
        stream: their PyAV stream.
        table: of at least one packet.
        sample_rate: as declared, in Hz; 0 when the file does not say.
        has_clock: the container stores times. Where it does not, the sound begins at 0.

    Raises:
        UndecodableMedia: timestamps that no clip has.
    """
    time_base = stream.time_base or DEFAULT_TIME_BASE
    durations = np.sort(table.durations[table.durations != 0])
    packets = _index(table, time_base, int(durations[len(durations) // 2]) if len(durations) else 0, sample_rate)
    if has_clock:
        return packets
    return replace(packets, zero_seconds=packets.span.start_seconds, span=Span(0.0, packets.span.duration_seconds))


def _index(table: PacketTable, time_base: Fraction, nominal_ticks: int, sample_rate: int) -> Packets:
    durations = np.where(table.durations == 0, nominal_ticks, table.durations)
    pts = _with_all_times(table.ticks, durations)
    is_shown = ~table.is_discard
    if not is_shown.any():
        is_shown[:] = True  # an edit list that leaves nothing is no edit list
    starts = _to_seconds(pts, time_base)
    stops = starts + _to_seconds(durations, time_base)
    if sample_rate:
        lead, tail = table.skipped.astype(np.float64).T / sample_rate
        # What is cut at a start may reach into the packets that follow.
        starts = np.maximum(starts, np.maximum.accumulate(np.where(lead > 0, starts + lead, -np.inf)))
        # A packet that is cut at its end lasts what is left of a whole one; some demuxers have shortened it already.
        whole = _to_seconds(pts + nominal_ticks, time_base)
        stops = np.where(tail > 0, np.minimum(stops, whole - tail), stops)
    start_seconds, stop_seconds = float(starts[is_shown].min()), float(stops[is_shown].max())
    if max(abs(start_seconds), abs(stop_seconds)) > _MAX_TIMESTAMP_SECONDS:
        raise UndecodableMedia("the timestamps of the file are out of any range", remedy=REMEDY)
    return Packets(
        items=table.items or (),
        pts=pts,
        is_key=table.is_key,
        is_shown=is_shown,
        is_exact=bool(table.has_pts.all()) and np.unique(pts[is_shown]).size == int(np.count_nonzero(is_shown)),
        nominal_ticks=nominal_ticks,
        time_base=time_base,
        span=Span(start_seconds, max(start_seconds, stop_seconds)),
    )


def _with_all_times(ticks: NDArray[np.int64], durations: NDArray[np.int64]) -> NDArray[np.int64]:
    """The times, where a packet has none that at which the one before it ends; the first one's is 0 then."""
    pts = ticks.copy()
    for place in np.flatnonzero(ticks == NO_TIME).tolist():
        pts[place] = int(pts[place - 1]) + int(durations[place - 1]) if place else 0
    return pts


def _each(packets: Sequence[Packet[Any]]) -> Generator[Packet[Any], None, None]:
    yield from packets


def skipped_samples(item: Packet[Any]) -> tuple[int, int]:
    """Samples at a packet's start and end that are to be cut away: the encoder's delay and padding.

    FFmpeg's side data for it begins with two little-endian uint32.
    """
    if not item.has_sidedata("skip_samples"):
        return 0, 0
    start, stop = struct.unpack_from("<II", bytes(PacketSideData.from_packet(item, "skip_samples")))
    return start, stop


def _to_seconds(ticks: NDArray[np.int64], time_base: Fraction) -> NDArray[np.float64]:
    return np.asarray(ticks, dtype=np.float64) * time_base.numerator / time_base.denominator
