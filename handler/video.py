"""The frames that are shown at given times, decoded no more than they need and scaled once.

Two ways give the same pixels:

- the planned way knows each packet's pts beforehand and feeds the decoder, of each group of pictures in which a frame
  is wanted, the run from its key frame to the last wanted frame, without the frames that nothing else refers to;
- the sequential way decodes everything. It is the reference, and takes over wherever a wanted frame does not come out
  of the planned way, or comes out damaged, or where the timestamps do not tell the frames apart.

In both only wanted frames are converted, straight to the size asked for (:mod:`handler.picture`); or, for an encoder
that brings its own resizing and cropping, to RGB of the frame's size, which is then done so frame by frame.

A long recording is decoded in pieces, in one walk over its packets, whatever the groups of pictures are.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import chain, islice
from typing import Any

import av
import numpy as np
from av.codec.context import ThreadType
from av.packet import Packet
from numpy.typing import NDArray

from handler.container import VIDEO_CODECS, Container, VideoStream, decoder_options
from handler.errors import ActivityError, LimitExceeded, UndecodableMedia, UnsupportedMedia
from handler.limits import Limits
from handler.packets import REMEDY, Packets
from handler.picture import Converter, FrameCount, Geometry, check_pixels
from handler.recordings.frame_pieces import FramePieces

_ROUNDING_SECONDS = 1e-6
"""A frame that starts this little after a wanted time counts as shown: both are rounded floats."""

_NEVER_SKIP = frozenset({"av1", "libdav1d"})
"""Decoders that give wrong frames when those that nothing refers to are skipped."""


@dataclass(frozen=True)
class _Run:
    """Packets ``start .. stop - 1`` in decode order: fed in one piece they give the frames wanted of them."""

    start: int
    stop: int


class _Missing(Exception):
    """The planned way did not give each wanted frame."""


def decode_frames(
    container: Container,
    times_seconds: NDArray[np.float64],
    size: int,
    limits: Limits,
    geometry: Geometry | None = None,
) -> NDArray[np.uint8]:
    """Decode the frames that are shown at given times.

    The frame shown at a time is the last one that starts no later; before the first frame it is the first, after the
    last the last.

    Args:
        container: an open file with a picture.
        times_seconds: times on the clip's timeline in seconds, float64 of any shape S.
        size: the frames' height and width in pixels; the whole picture is squashed into this square.
        geometry: makes the square in another way, from each frame at its own size.
        limits: bounds on frames and their pixels.

    Returns:
        ``S + (3, size, size)`` uint8 RGB, upright: rotated and mirrored as the file asks.

    Raises:
        UnsupportedMedia: there is no picture, or its codec is not in :data:`handler.container.VIDEO_CODECS`.
        LimitExceeded: a frame with too many pixels, declared or decoded; more frames than allowed came out of the
            decoder, or more pixels.
        UndecodableMedia: no frame came out.
    """
    times = np.asarray(times_seconds, dtype=np.float64)
    (images,) = decode_frame_pieces(container, [times.ravel()], size, limits, geometry)
    return images.reshape(*times.shape, 3, size, size)


def decode_frame_pieces(
    container: Container,
    times_seconds: Sequence[NDArray[np.float64]],
    size: int,
    limits: Limits,
    geometry: Geometry | None = None,
) -> Iterator[NDArray[np.uint8]]:
    """As :func:`decode_frames`, piece by piece: what one piece holds is given before the next is begun.

    A packet is decoded once, or up to three times where the sequential way has to take over: it learns in one pass
    what comes out, so that only the frames that are wanted have to be converted in the next.

    Args:
        container: as for :func:`decode_frames`, as are ``size``, ``limits`` and ``geometry``.
        times_seconds: for each piece ``(n,)`` float64, at least one piece; those of a later one are later.
        size: see ``container``.
        limits: see ``container``.
        geometry: see ``container``.

    Returns:
        For each piece ``(n, 3, size, size)`` uint8.

    Raises:
        ActivityError: as :func:`decode_frames`; and, of several pieces, where frames come far from the order of their
            times.
    """
    stream = checked_picture(container, limits)
    converter = Converter(size, geometry)
    try:
        num_given = yield from _decode_planned(stream, times_seconds, converter, limits)
        if num_given < len(times_seconds):
            yield from _decode_sequential(stream, times_seconds[num_given:], converter, limits)
    except (ActivityError, MemoryError):
        raise
    except Exception as exc:
        raise UndecodableMedia(f"the picture of codec {stream.codec} does not decode", remedy=REMEDY) from exc


def checked_picture(container: Container, limits: Limits) -> VideoStream:
    """The picture of a file, if what it declares can be decoded.

    Raises:
        UnsupportedMedia: there is none, or its codec is not in :data:`handler.container.VIDEO_CODECS`.
        LimitExceeded: its frames have too many pixels.
    """
    stream = container.video
    if stream is None:
        raise UnsupportedMedia("the file has no picture", remedy=REMEDY)
    if stream.codec not in VIDEO_CODECS:
        raise UnsupportedMedia(
            f"the picture's codec {stream.codec} is not one of those allowed: {', '.join(sorted(VIDEO_CODECS))}",
            remedy=REMEDY,
        )
    check_pixels(stream.width, stream.height, limits)
    return stream


def _decode_planned(
    stream: VideoStream, times: Sequence[NDArray[np.float64]], converter: Converter, limits: Limits
) -> Generator[NDArray[np.uint8], None, int]:
    """Decode what is needed; the pieces up to the first of which the plan does not give every frame, and how many."""
    packets = stream.packets
    if not packets.is_exact:
        return 0
    wanted = _shown_at(times, np.sort(packets.pts[packets.is_shown]), packets)
    frames = FramePieces(wanted, converter)
    is_wanted = packets.is_shown & np.isin(packets.pts, np.concatenate(wanted))
    yield from frames.completed()  # a piece without a place
    try:
        with closing(packets.read()) as items:
            place, count = 0, FrameCount(limits)
            for run in _plan_runs(packets, is_wanted):
                deque(islice(items, run.start - place), maxlen=0)  # nothing is wanted of these
                place = run.stop
                for frame, ticks in _decode_run(stream, run, items, is_wanted, frames.wants, count, limits):
                    frames.take(frame, ticks)
                    yield from frames.completed()
    except LimitExceeded:
        raise
    except Exception:  # noqa: BLE001 (whatever it was, decoding everything is the answer)
        return frames.num_given
    return frames.num_given


def _decode_sequential(
    stream: VideoStream, times: Sequence[NDArray[np.float64]], converter: Converter, limits: Limits
) -> Iterator[NDArray[np.uint8]]:
    """Decode everything, in one pass where there is one piece and the packets' pts are true, else in two.

    Raises:
        UndecodableMedia: no frame came out.
    """
    if len(times) == 1:
        yield _decode_at_once(stream, times[0], converter, limits)
        return
    seen = np.fromiter(_learn_ticks(stream, limits), dtype=np.int64)
    _check_some(seen, stream, limits)
    ticks, last_places = np.unique(seen[::-1], return_index=True)
    last_places = len(seen) - 1 - last_places
    wanted = [last_places[np.searchsorted(ticks, shown)] for shown in _shown_at(times, ticks, stream.packets)]
    frames = FramePieces(wanted, converter)
    for place, (frame, _) in enumerate(decode_all(stream, limits)):
        frames.take(frame, place)
        yield from frames.completed()
        if frames.is_done:
            return
    raise UndecodableMedia("the picture gives other frames when it is decoded again", remedy=REMEDY)


def _learn_ticks(stream: VideoStream, limits: Limits) -> Iterator[int]:
    for _, ticks in decode_all(stream, limits):
        yield ticks


def _decode_at_once(
    stream: VideoStream, times: NDArray[np.float64], converter: Converter, limits: Limits
) -> NDArray[np.uint8]:
    """Decode everything; ``(N, 3, size, size)`` uint8.

    The packets' pts tell which frames are wanted; if what comes out says otherwise, what came out counts, and the
    frames are decoded once more.
    """
    packets = stream.packets
    (wanted,) = _shown_at([times], np.unique(packets.pts[packets.is_shown]), packets)
    for _ in range(2):
        frames = FramePieces([wanted], converter)
        seen = []
        for frame, ticks in decode_all(stream, limits):
            frames.take(frame, ticks)
            seen.append(ticks)
        _check_some(seen, stream, limits)
        (shown,) = _shown_at([times], np.unique(np.array(seen, dtype=np.int64)), packets)
        if np.array_equal(shown, wanted):
            break
        wanted = shown
    return frames.images


def _check_some(seen: Sequence[int] | NDArray[np.int64], stream: VideoStream, limits: Limits) -> None:
    if not len(seen):
        raise UndecodableMedia(
            f"no frame of at most {limits.max_frame_pixels} pixels came out of the {stream.packets.num_packets} packets"
            f" of codec {stream.codec}",
            remedy=REMEDY,
        )


def _shown_at(
    times: Sequence[NDArray[np.float64]], pts: NDArray[np.int64], packets: Packets
) -> list[NDArray[np.int64]]:
    """The pts, of those given in rising order, of the frame shown at each time of each piece."""
    starts = packets.seconds(pts)
    places = [np.searchsorted(starts, piece + _ROUNDING_SECONDS, side="right") - 1 for piece in times]
    return [np.asarray(pts[np.maximum(of_piece, 0)]) for of_piece in places]


def _plan_runs(packets: Packets, is_wanted: NDArray[np.bool_]) -> Iterator[_Run]:
    """The packets to feed, in decode order and without overlaps.

    A run begins at the key frame before the wanted frame; one key frame earlier where the wanted frame is shown before
    its key frame (an open group of pictures: it refers to the group before as well).
    """
    keys = np.union1d(np.flatnonzero(packets.is_key), [0])
    places = np.flatnonzero(is_wanted)
    groups = np.searchsorted(keys, places, side="right") - 1
    is_ahead = (packets.pts[places] < packets.pts[keys[groups]]) & (groups > 0)
    starts = keys[groups - is_ahead]
    starts = np.minimum.accumulate(starts[::-1])[::-1]  # what a later frame needs is fed before an earlier one
    run: _Run | None = None
    for start, place in zip(starts.tolist(), places.tolist(), strict=True):
        if run is not None and start < run.stop:
            run = _Run(run.start, place + 1)
            continue
        if run is not None:
            yield run
        run = _Run(start, place + 1)
    if run is not None:
        yield run


def _decode_run(
    stream: VideoStream,
    run: _Run,
    items: Iterator[Packet[Any]],
    is_wanted: NDArray[np.bool_],
    wants: Callable[[int], bool],
    count: FrameCount,
    limits: Limits,
) -> Iterator[tuple[av.VideoFrame, int]]:
    """Feed one run, which ``items`` give next, and drain the decoder; give each frame that comes out with its pts.

    Raises:
        LimitExceeded: a frame has too many pixels, or all of them, or there are too many.
        _Missing: the run does not begin with a key frame, whatever the container says; frames come out in another
            order than that of their pts; or a wanted frame is damaged.
    """
    packets = stream.packets
    is_optional = ~is_wanted[run.start : run.stop]
    is_optional[0] = False
    if stream.codec in _NEVER_SKIP:
        is_optional[:] = False
    start_pts = int(packets.pts[run.start])
    latest: int | None = None
    context = _ready_context(stream, limits)
    fed = chain(islice(items, run.stop - run.start), (None,))
    for item, optional in zip(fed, (*is_optional.tolist(), False), strict=True):
        context.skip_frame = "NONREF" if optional else "DEFAULT"
        for frame in context.decode(item):
            count.add(frame)
            if frame.pts is None or (latest is not None and frame.pts <= latest):
                raise _Missing
            latest = frame.pts
            is_false_start = run.start > 0 and frame.pts == start_pts and not frame.key_frame
            if is_false_start or (frame.is_corrupt and wants(frame.pts)):
                raise _Missing
            yield frame, frame.pts


class _Clock:
    """Gives each frame its pts, or its dts where the stream's pts turn out to be the worse of the two.

    That is FFmpeg's own rule (``guess_correct_pts`` in libavcodec/decode.c): the kind that went backwards less often.
    """

    def __init__(self, first: int, nominal_ticks: int) -> None:
        self._next = first
        self._nominal_ticks = nominal_ticks
        self._last: dict[str, int] = {}
        self._faults = {"pts": 0, "dts": 0}

    def read(self, frame: av.VideoFrame) -> int:
        """The ticks of the decoder's next frame; a frame without any stamp follows the one before it."""
        for kind, stamp in (("dts", frame.dts), ("pts", frame.pts)):
            if stamp is not None:
                self._faults[kind] += stamp <= self._last.get(kind, stamp - 1)
                self._last[kind] = stamp
        use_pts = frame.pts is not None and (frame.dts is None or self._faults["pts"] <= self._faults["dts"])
        stamp = frame.pts if use_pts else frame.dts
        ticks = self._next if stamp is None else stamp
        self._next = ticks + self._nominal_ticks
        return ticks


def decode_all(stream: VideoStream, limits: Limits) -> Iterator[tuple[av.VideoFrame, int]]:
    """Every frame that comes out, in the decoder's order, with its ticks; faulty packets are passed over.

    Raises:
        LimitExceeded: a frame has too many pixels, or all of them, or there are too many.
    """
    context = _ready_context(stream, limits)
    count = FrameCount(limits)
    clock = _Clock(int(stream.packets.pts[0]), stream.packets.nominal_ticks)
    with closing(stream.packets.read()) as items:
        for item in chain(items, (None,)):
            try:
                frames = context.decode(item)
            except Exception:  # noqa: BLE001 (PyAV raises far more than its own errors on malformed files)
                check_pixels(context.width, context.height, limits)
                continue
            for frame in frames:
                count.add(frame)
                yield frame, clock.read(frame)


def _ready_context(stream: VideoStream, limits: Limits) -> av.VideoCodecContext:
    """The stream's decoder, set to begin anew, on the caller's thread, with all frames."""
    context = stream.handle.codec_context
    if not context.is_open:
        context.thread_count = 1
        context.thread_type = ThreadType.NONE
        context.options = decoder_options(limits)
    context.flush_buffers()
    context.skip_frame = "DEFAULT"
    return context
