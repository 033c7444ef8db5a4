"""A stream's picture, chunk by chunk: of the video, or of the depth.

Frames are wanted at places, ``frames_per_hop`` of them a hop. Of a chunk those are decoded that lie between what was
known before and its own end; those of hops that are not complete wait in the state. Where the packets of the next
frames are in decode order but their frames may still be shown between those that are there (B-frames), the last ones
are provisional: the next chunk gives them anew.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from handler.container import Container
from handler.decode import decode_cropped
from handler.errors import ChunkUndecodableStart
from handler.limits import Limits
from handler.packets import Packets
from handler.stream.packets import Lead, decode_seconds, follows, joined, take_lead
from models.encoder_config import VideoConfig

_REORDERED = 16
"""Frames that a decoder may hold back."""

_BEFORE_STOP_SECONDS = 1e-5
"""The frame that is shown at a picture's end is asked for this much before it."""


@dataclass(frozen=True)
class PictureState:
    """A stream's picture up to here."""

    known_seconds: float
    """What is shown before can no longer change."""
    stop_seconds: float
    """The end of the last frame."""
    decoded_seconds: float | None
    """When the last packet was decoded, by the stream's clock; None where the client said where its chunk stops, so
    that packets behind it come again."""
    first: int
    """Place of the first of ``frames``."""
    frames: NDArray[np.uint8] = field(repr=False)
    """``(n, 3, size, size)``: at the places that are not used up, as far as the picture reaches."""
    held: NDArray[np.uint8] = field(repr=False)
    """``(3, size, size)``: the last frame, which is shown until another one comes."""
    lead: Lead | None

    def since(self, first: int) -> Self:
        """The state without the frames before place ``first``."""
        skipped = min(max(0, first - self.first), len(self.frames))
        return replace(self, first=self.first + skipped, frames=self.frames[skipped:].copy())

    def at(self, first: int, count: int) -> NDArray[np.uint8]:
        """The frames at ``count`` places: ``(count, 3, size, size)``; after the last one it is held."""
        found = np.empty((count, *self.held.shape), dtype=np.uint8)
        found[:] = self.held
        start, stop = max(first, self.first), min(first + count, self.first + len(self.frames))
        if start < stop:
            found[start - first : stop - first] = self.frames[start - self.first : stop - self.first]
        return found

    def values(self) -> dict[str, Any]:
        """For the token: JSON values, bytes and arrays."""
        return {**self.__dict__, "lead": None if self.lead is None else self.lead.values()}

    @classmethod
    def of_values(cls, values: Mapping[str, Any]) -> Self:
        """What :meth:`values` gave."""
        return cls(**{**values, "lead": None if values["lead"] is None else Lead.of_values(values["lead"])})


@dataclass(frozen=True)
class Places:
    """Where frames are wanted: every hop is cut into equal parts, and a place is the middle of one."""

    start_seconds: float
    """Of the stream."""
    stride_seconds: float
    """Of a hop."""
    frames_per_hop: int
    first: int
    """The first place whose frame is still wanted."""

    def seconds(self, first: int, stop: int) -> NDArray[np.float64]:
        """The times of some places, to the bit those of :meth:`handler.windows.Schedule.frame_times`."""
        hops, parts = np.divmod(np.arange(first, stop), self.frames_per_hop)
        starts = self.start_seconds + hops.astype(np.float64) * self.stride_seconds
        offsets = (parts.astype(np.float64) + 0.5) * (self.stride_seconds / self.frames_per_hop)
        return np.asarray(starts + offsets, dtype=np.float64)

    def before(self, seconds: float) -> int:
        """The number of places before a time."""
        guess = int((seconds - self.start_seconds) / self.stride_seconds * self.frames_per_hop) + 2
        near = np.arange(max(0, guess - 4), max(0, guess) + 1)
        return int(near[0] + np.searchsorted(self.seconds(int(near[0]), int(near[-1]) + 1), seconds))


@dataclass(frozen=True)
class PicturePart:
    """What a chunk has of a picture, before any of it is decoded."""

    container: Container
    """Its picture's packets lie on the stream's clock, those that the decoder begins with in front of them."""
    begin_seconds: float
    """Where what counts begins."""
    known_seconds: float
    stop_seconds: float
    decoded_seconds: float | None
    own: Packets
    """The chunk's own."""

    @property
    def last_seconds(self) -> float:
        """When the last frame begins."""
        return min(self.stop_seconds, float(self.own.seconds(self.own.pts[self.own.is_shown].max(keepdims=True))[0]))


def find_part(
    container: Container,
    state: PictureState | None,
    *,
    start_seconds: float | None,
    stop_seconds: float | None,
    last: bool,
    is_gapless: bool = False,
) -> PicturePart:
    """See what a chunk has of a picture.

    Args:
        container: its picture's packets lie on the stream's clock.
        state: the picture up to here; None where there was none.
        start_seconds: what lies before is not counted; None for the chunk's start.
        stop_seconds: what lies after is not counted; None for the chunk's end.
        last: nothing follows.
        is_gapless: the sound of the same file goes on without a gap.

    Raises:
        ChunkUndecodableStart: the first frames cannot be decoded.
    """
    stream = container.video
    if stream is None:
        raise ValueError("the container has no picture")
    packets = stream.packets
    span, lead = packets.span, None if state is None else state.lead
    begin = max(span.start_seconds, -math.inf if start_seconds is None else min(start_seconds, span.stop_seconds))
    stop = span.stop_seconds if stop_seconds is None else min(span.stop_seconds, stop_seconds)
    is_cut = stop_seconds is not None and stop_seconds <= span.stop_seconds
    known = stop if last or is_cut else min(stop, _known_seconds(packets))
    if lead is not None and follows(lead, stream, is_gapless=is_gapless):
        container = container.with_packets(lambda it: joined(lead, it) if it is packets else it)
    elif state is not None and not packets.is_key[0]:
        raise ChunkUndecodableStart(
            f"the chunk's picture begins at {span.start_seconds:.3f} s inside a group of pictures, whose start neither"
            " the chunk nor the stream's state has",
            remedy="Cut at key frames, or send the packets from the key frame on and say start_seconds.",
        )
    return PicturePart(
        container=container,
        begin_seconds=begin,
        known_seconds=max(known, begin if state is None else state.known_seconds),
        stop_seconds=max(stop, begin),
        decoded_seconds=None if is_cut else decode_seconds(packets, -1),
        own=packets,
    )


def continue_picture(
    part: PicturePart,
    state: PictureState | None,
    places: Places,
    config: VideoConfig,
    limits: Limits,
) -> PictureState:
    """Decode what a chunk has of a picture.

    Args:
        part: what :func:`find_part` saw.
        state: the picture up to here; None where there was none.
        places: where frames are wanted.
        config: size and crop.
        limits: bounds on frames, and on the packets that are kept.

    Raises:
        ActivityError: as :func:`handler.video.decode_frames`.
    """
    first, stop = places.first, places.before(part.stop_seconds)
    times = places.seconds(first, max(first, stop))
    has_lead = part.container.video is not None and part.container.video.packets is not part.own
    earliest = float(part.own.seconds(part.own.pts[part.own.is_shown].min(keepdims=True))[0])
    if state is None:
        num_known = 0
    else:  # a frame that is shown before the chunk's first one is the state's, but for those that come anew
        num_known = int(np.searchsorted(times, state.known_seconds if has_lead else max(state.known_seconds, earliest)))
    wanted = np.append(times[num_known:], part.stop_seconds - _BEFORE_STOP_SECONDS)
    found = decode_cropped(part.container, wanted, config, limits)
    frames = found[:-1] if state is None else np.concatenate((state.at(first, num_known), found[:-1]))
    num_kept = int(np.flatnonzero([0, *(frames != found[-1]).any(axis=(1, 2, 3))]).max(initial=0))
    return PictureState(
        known_seconds=part.known_seconds,
        stop_seconds=part.stop_seconds,
        decoded_seconds=part.decoded_seconds,
        first=first,
        frames=frames[:num_kept],  # the others are the one that is held
        held=found[-1],
        lead=_lead(part, limits),
    )


def _known_seconds(packets: Packets) -> float:
    """Until when the frames of packets that have come can no longer be parted by one that comes."""
    last = packets.items[-1]
    tick_seconds = float(packets.time_base)
    if last.dts is not None:
        return decode_seconds(packets, -1) + (last.duration or packets.nominal_ticks) * tick_seconds
    in_order = np.sort(packets.pts)
    return float(packets.seconds(in_order[-_REORDERED:][:1])[0])


def _lead(part: PicturePart, limits: Limits) -> Lead | None:
    """The packets from the key frame on whose group the frame belongs to that is shown where the picture is known to.

    None where they are too many: the next chunk has to begin with a key frame, or bring them.
    """
    stream = part.container.video
    if stream is None or part.decoded_seconds is None:
        return None
    packets = stream.packets
    starts = packets.seconds(packets.pts)
    usable = np.flatnonzero(packets.is_key & (starts <= part.known_seconds + _BEFORE_STOP_SECONDS))
    if not len(usable):
        return None
    first = int(usable[-1])
    size = 0
    for item in packets.items[first:]:
        size += item.size
        if size > limits.max_lead_bytes:
            return None
    return take_lead(stream, first)
