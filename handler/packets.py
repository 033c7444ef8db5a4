"""A stream's packets and the times at which they are shown, read without decoding anything."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Any

import av
import numpy as np
from av.container import InputContainer
from av.packet import Packet, PacketSideData
from numpy.typing import NDArray

from handler.errors import LimitExceeded, UndecodableMedia
from handler.limits import Limits
from handler.windows import Span

REMEDY = "Send a whole media file, such as mp4 (H.264, AAC), WebM (VP9, Opus), wav, flac or mp3."
"""What a client can do about a file that cannot be used."""

_MAX_TIMESTAMP_SECONDS = 1e10
"""Beyond it float64 does not hold a microsecond; a clock that counts from 1970 stays below."""

_DEFAULT_TIME_BASE = Fraction(1, 1000)
"""Seconds of a tick where a stream does not say."""

_NOMINAL_RATE = Fraction(25)
"""Frames a second of a picture that has neither timestamps nor a rate."""


@dataclass(frozen=True, eq=False)
class Packets:
    """One stream's packets in the order in which they are decoded, P of them, and when each is shown."""

    items: tuple[Packet[Any], ...] = field(repr=False)
    """The P packets, none of them empty."""
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

    def seconds(self, ticks: NDArray[np.int64]) -> NDArray[np.float64]:
        """Ticks as seconds on the clip's timeline, float64 of the same shape."""
        return _to_seconds(ticks, self.time_base) - self.zero_seconds


def demux(opened: InputContainer, streams: Sequence[Any], limits: Limits) -> list[list[Packet[Any]]]:
    """Read all packets of ``streams``; a fault in mid-file ends the file there, as it does for a player.

    Args:
        opened: the file, at its beginning.
        streams: the PyAV streams whose packets are wanted.
        limits: bounds on packets and seconds.

    Returns:
        one list of packets for each of ``streams``.

    Raises:
        LimitExceeded: more packets or a longer timeline than allowed.
    """
    found: dict[int, list[Packet[Any]]] = {stream.index: [] for stream in streams}
    tick_seconds = {stream.index: float(stream.time_base or _DEFAULT_TIME_BASE) for stream in streams}
    num_packets = 0
    earliest, latest = float("inf"), float("-inf")
    reader = opened.demux(*streams) if streams else iter(())
    while True:
        try:
            packet = next(reader)
        except Exception:  # noqa: BLE001 (StopIteration, or one of the many that PyAV raises on malformed files)
            break
        if not packet.size:
            continue  # an empty packet would end the decoder's stream
        num_packets += 1
        if num_packets > limits.max_packets:
            raise LimitExceeded(f"the file has more than {limits.max_packets} packets", remedy="Send a shorter clip.")
        ticks = packet.pts if packet.pts is not None else packet.dts
        if ticks is not None and not packet.is_discard:
            seconds = ticks * tick_seconds[packet.stream_index]
            earliest, latest = min(earliest, seconds), max(latest, seconds)
            check_duration(latest - earliest, limits)
        found[packet.stream_index].append(packet)
    return [found[stream.index] for stream in streams]


def check_duration(seconds: float, limits: Limits) -> None:
    """Hold a length against the limit.

    Raises:
        LimitExceeded: naming both.
    """
    if seconds > limits.max_duration_seconds:
        raise LimitExceeded(
            f"the clip lasts {seconds:.3f} s or more, the limit is {limits.max_duration_seconds:g} s",
            remedy="Send a shorter clip.",
        )


def index_video(stream: av.VideoStream, items: Sequence[Packet[Any]], *, has_pts: bool) -> Packets:
    """Lay a picture's packets on the timeline.

    Args:
        stream: their PyAV stream.
        items: at least one packet, in decode order.
        has_pts: the container stores pts. Where it does not, FFmpeg guesses them, and for a stream that reorders its
            frames the guess can be wrong: then the index is not exact.

    Raises:
        UndecodableMedia: timestamps that no clip has.
    """
    time_base = stream.time_base or _DEFAULT_TIME_BASE
    rate = stream.average_rate or stream.guessed_rate or _NOMINAL_RATE
    packets = _index(items, time_base, max(1, round(1 / (rate * time_base))), sample_rate=0)
    context = stream.codec_context  # None where FFmpeg has no decoder for the stream
    has_order = has_pts or (context is not None and not context.has_b_frames)
    return replace(packets, is_exact=packets.is_exact and has_order)


def index_audio(stream: av.AudioStream, items: Sequence[Packet[Any]], *, sample_rate: int, has_clock: bool) -> Packets:
    """Lay a sound's packets on the timeline; the span leaves out the encoder's delay and padding.

    Args:
        stream: their PyAV stream.
        items: at least one packet, in decode order.
        sample_rate: as declared, in Hz; 0 when the file does not say.
        has_clock: the container stores times. Where it does not, the sound begins at 0.

    Raises:
        UndecodableMedia: timestamps that no clip has.
    """
    time_base = stream.time_base or _DEFAULT_TIME_BASE
    durations = sorted(item.duration for item in items if item.duration)
    packets = _index(items, time_base, durations[len(durations) // 2] if durations else 0, sample_rate)
    if has_clock:
        return packets
    return replace(packets, zero_seconds=packets.span.start_seconds, span=Span(0.0, packets.span.duration_seconds))


def _index(items: Sequence[Packet[Any]], time_base: Fraction, nominal_ticks: int, sample_rate: int) -> Packets:
    pts = np.empty(len(items), dtype=np.int64)
    follow = 0
    for place, item in enumerate(items):
        ticks = item.pts if item.pts is not None else item.dts
        pts[place] = follow if ticks is None else ticks
        follow = int(pts[place]) + (item.duration or nominal_ticks)
    is_shown = np.array([not item.is_discard for item in items])
    if not is_shown.any():
        is_shown[:] = True  # an edit list that leaves nothing is no edit list
    starts = _to_seconds(pts, time_base)
    stops = starts + _to_seconds(np.array([item.duration or nominal_ticks for item in items]), time_base)
    if sample_rate:
        lead, tail = np.array([skipped_samples(item) for item in items], dtype=np.float64).T / sample_rate
        # What is cut at a start may reach into the packets that follow.
        starts = np.maximum(starts, np.maximum.accumulate(np.where(lead > 0, starts + lead, -np.inf)))
        # A packet that is cut at its end lasts what is left of a whole one; some demuxers have shortened it already.
        whole = _to_seconds(pts + nominal_ticks, time_base)
        stops = np.where(tail > 0, np.minimum(stops, whole - tail), stops)
    start_seconds, stop_seconds = float(starts[is_shown].min()), float(stops[is_shown].max())
    if max(abs(start_seconds), abs(stop_seconds)) > _MAX_TIMESTAMP_SECONDS:
        raise UndecodableMedia("the timestamps of the file are out of any range", remedy=REMEDY)
    return Packets(
        items=tuple(items),
        pts=pts,
        is_key=np.array([item.is_keyframe for item in items]),
        is_shown=is_shown,
        is_exact=all(item.pts is not None for item in items)
        and np.unique(pts[is_shown]).size == int(np.count_nonzero(is_shown)),
        nominal_ticks=nominal_ticks,
        time_base=time_base,
        span=Span(start_seconds, max(start_seconds, stop_seconds)),
    )


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
