"""The frames that are shown at given times, decoded no more than they need and scaled once.

Two ways give the same pixels:

- the planned way knows each packet's pts beforehand and feeds the decoder, of each group of pictures in which a frame
  is wanted, the run from its key frame to the last wanted frame, without the frames that nothing else refers to;
- the sequential way decodes everything. It is the reference, and takes over wherever a wanted frame does not come out
  of the planned way, or comes out damaged, or where the timestamps do not tell the frames apart.

In both only wanted frames are converted, by swscale, straight from the decoder's format and size to planar RGB of the
size asked for, with area averaging; or, for an encoder that brings its own resizing and cropping, to RGB of the frame's
size, which is then done so frame by frame. Colour space and range are those that the frame declares, as swscale reads
them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import av
import numpy as np
from av.codec.context import ThreadType
from av.video.reformatter import Interpolation, VideoReformatter
from numpy.typing import NDArray

from handler.container import VIDEO_CODECS, Container, VideoStream, decoder_options
from handler.errors import ActivityError, LimitExceeded, UndecodableMedia, UnsupportedMedia
from handler.limits import Limits
from handler.packets import REMEDY, Packets

Geometry = Callable[[NDArray[np.uint8]], NDArray[np.uint8]]
"""From an upright picture ``(3, H, W)`` uint8 RGB of its own size to ``(3, size, size)`` uint8."""

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


class _Frames:
    """Takes decoded frames, converts those that are wanted and puts each at all its places."""

    def __init__(self, size: int, num_times: int, limits: Limits, geometry: Geometry | None = None) -> None:
        self.images = np.zeros((num_times, 3, size, size), dtype=np.uint8)
        self.missing: set[int] = set()
        self._places: dict[int, NDArray[np.intp]] = {}
        self._size = size
        self._geometry = geometry
        self._limits = limits
        self._reformatter = VideoReformatter()

    def want(self, pts: NDArray[np.int64]) -> None:
        """Ask for the frame of ``pts[i]`` at place ``i``, for all places."""
        order = np.argsort(pts, kind="stable")
        ticks, starts = np.unique(pts[order], return_index=True)
        self._places = dict(zip(ticks.tolist(), np.split(order, starts[1:]), strict=True))
        self.missing = set(self._places)

    def wants(self, ticks: int) -> bool:
        """Whether the frame of this pts was asked for."""
        return ticks in self._places

    def take(self, frame: av.VideoFrame, ticks: int) -> None:
        """Look at a decoded frame."""
        check_pixels(frame.width, frame.height, self._limits)
        places = self._places.get(ticks)
        if places is not None:
            self.images[places] = self._convert(frame)
            self.missing.discard(ticks)

    def _convert(self, frame: av.VideoFrame) -> NDArray[np.uint8]:
        if self._geometry is None:
            return orient(to_square(frame, self._size, self._reformatter), frame)
        return self._geometry(orient(to_rgb(frame, self._reformatter), frame))


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
        limits: bound on the pixels of a frame.

    Returns:
        ``S + (3, size, size)`` uint8 RGB, upright: rotated and mirrored as the file asks.

    Raises:
        UnsupportedMedia: there is no picture, or its codec is not in :data:`handler.container.VIDEO_CODECS`.
        LimitExceeded: a frame with too many pixels, declared or decoded.
        UndecodableMedia: no frame came out.
    """
    stream = _checked_stream(container, limits)
    times = np.asarray(times_seconds, dtype=np.float64)
    try:
        images = _decode_planned(stream, times.ravel(), size, limits, geometry)
        if images is None:
            images = _decode_sequential(stream, times.ravel(), size, limits, geometry)
    except ActivityError:
        raise
    except Exception as exc:
        raise UndecodableMedia(f"the picture of codec {stream.codec} does not decode", remedy=REMEDY) from exc
    return images.reshape(*times.shape, 3, size, size)


def to_square(frame: av.VideoFrame, size: int, reformatter: VideoReformatter) -> NDArray[np.uint8]:
    """Squash a frame into a square by area averaging: ``(3, size, size)`` uint8 RGB."""
    scaled = reformatter.reformat(frame, size, size, "gbrp", interpolation=Interpolation.AREA, threads=1)
    planes = [np.frombuffer(memoryview(plane), np.uint8).reshape(size, -1)[:, :size] for plane in scaled.planes]
    return np.stack([planes[2], planes[0], planes[1]])


def to_rgb(frame: av.VideoFrame, reformatter: VideoReformatter) -> NDArray[np.uint8]:
    """A frame at its own size: ``(3, H, W)`` uint8 RGB, converted as PyAV's own ``to_ndarray`` does."""
    picture = reformatter.reformat(frame, format="rgb24", threads=1).to_ndarray()
    return np.asarray(picture.transpose(2, 0, 1), dtype=np.uint8)


def check_pixels(width: int, height: int, limits: Limits) -> None:
    """Hold a frame's size against the limit.

    Raises:
        LimitExceeded: naming both.
    """
    if width * height > limits.max_frame_pixels:
        raise LimitExceeded(
            f"a frame has {width} x {height} pixels, the limit is {limits.max_frame_pixels} in all",
            remedy="Send the clip at a lower resolution, for example 1280 x 720.",
        )


def _checked_stream(container: Container, limits: Limits) -> VideoStream:
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
    stream: VideoStream,
    times: NDArray[np.float64],
    size: int,
    limits: Limits,
    geometry: Geometry | None = None,
) -> NDArray[np.uint8] | None:
    """Decode what is needed; ``(N, 3, size, size)`` uint8, or None when the plan did not give every frame."""
    packets = stream.packets
    if not packets.is_exact:
        return None
    wanted = _shown_at(times, np.sort(packets.pts[packets.is_shown]), packets)
    frames = _Frames(size, len(times), limits, geometry)
    frames.want(wanted)
    is_wanted = packets.is_shown & np.isin(packets.pts, wanted)
    try:
        for run in _plan_runs(packets, is_wanted):
            _decode_run(stream, run, is_wanted, frames, limits)
    except LimitExceeded:
        raise
    except Exception:  # noqa: BLE001 (whatever it was, decoding everything is the answer)
        return None
    return None if frames.missing else frames.images


def _decode_sequential(
    stream: VideoStream,
    times: NDArray[np.float64],
    size: int,
    limits: Limits,
    geometry: Geometry | None = None,
) -> NDArray[np.uint8]:
    """Decode everything; ``(N, 3, size, size)`` uint8.

    The packets' pts tell which frames are wanted; if what comes out says otherwise, what came out counts, and the
    frames are decoded once more.

    Raises:
        UndecodableMedia: no frame came out.
    """
    packets = stream.packets
    frames = _Frames(size, len(times), limits, geometry)
    wanted = _shown_at(times, np.unique(packets.pts[packets.is_shown]), packets)
    for _ in range(2):
        frames.want(wanted)
        seen = []
        for frame, ticks in decode_all(stream, limits):
            frames.take(frame, ticks)
            seen.append(ticks)
        if not seen:
            raise UndecodableMedia(
                f"no frame of at most {limits.max_frame_pixels} pixels came out of the {len(packets.items)} packets"
                f" of codec {stream.codec}",
                remedy=REMEDY,
            )
        shown = _shown_at(times, np.unique(np.array(seen, dtype=np.int64)), packets)
        if np.array_equal(shown, wanted):
            break
        wanted = shown
    return frames.images


def _shown_at(times: NDArray[np.float64], pts: NDArray[np.int64], packets: Packets) -> NDArray[np.int64]:
    """The pts, of those given in rising order, of the frame shown at each time."""
    places = np.searchsorted(packets.seconds(pts), times + _ROUNDING_SECONDS, side="right") - 1
    return np.asarray(pts[np.maximum(places, 0)])


def _plan_runs(packets: Packets, is_wanted: NDArray[np.bool_]) -> Iterator[_Run]:
    """The packets to feed, in decode order and without overlaps.

    A run begins at the key frame before the wanted frame; one key frame earlier where the wanted frame is shown before
    its key frame (an open group of pictures: it refers to the group before as well).
    """
    keys = np.union1d(np.flatnonzero(packets.is_key), [0])
    run: _Run | None = None
    for place in np.flatnonzero(is_wanted):
        group = int(np.searchsorted(keys, place, side="right")) - 1
        if packets.pts[place] < packets.pts[keys[group]] and group > 0:
            group -= 1
        start, stop = int(keys[group]), int(place) + 1
        if run is not None and start < run.stop:
            run = _Run(min(run.start, start), stop)
            continue
        if run is not None:
            yield run
        run = _Run(start, stop)
    if run is not None:
        yield run


def _decode_run(stream: VideoStream, run: _Run, is_wanted: NDArray[np.bool_], frames: _Frames, limits: Limits) -> None:
    """Feed one run and drain the decoder.

    Raises:
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
    for item, optional in zip(
        (*packets.items[run.start : run.stop], None), (*is_optional.tolist(), False), strict=True
    ):
        context.skip_frame = "NONREF" if optional else "DEFAULT"
        for frame in context.decode(item):
            if frame.pts is None or (latest is not None and frame.pts <= latest):
                raise _Missing
            latest = frame.pts
            is_false_start = run.start > 0 and frame.pts == start_pts and not frame.key_frame
            if is_false_start or (frame.is_corrupt and frames.wants(frame.pts)):
                raise _Missing
            frames.take(frame, frame.pts)


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
    """Every frame that comes out, in the decoder's order, with its ticks; faulty packets are passed over."""
    context = _ready_context(stream, limits)
    clock = _Clock(int(stream.packets.pts[0]), stream.packets.nominal_ticks)
    for item in (*stream.packets.items, None):
        try:
            frames = context.decode(item)
        except Exception:  # noqa: BLE001 (PyAV raises far more than its own errors on malformed files)
            check_pixels(context.width, context.height, limits)
            continue
        for frame in frames:
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


def orient(image: NDArray[np.uint8], frame: av.VideoFrame) -> NDArray[np.uint8]:
    """Turn a picture ``(3, H, W)`` as the frame's display matrix asks.

    The matrix sends (x, y) to (a x + c y, b x + d y). Of the eight ways to turn and mirror a square the nearest is
    taken: cameras write no other, and a slanted picture would need corners that nobody filmed.
    """
    matrix = _display_matrix(frame)
    if matrix is None:
        return image
    a, b, c, d = matrix
    across, down = a, d
    if abs(b) + abs(c) > abs(a) + abs(d):
        image = image.transpose(0, 2, 1)
        across, down = c, b
    return image[:, :: -1 if down < 0 else 1, :: -1 if across < 0 else 1]


def _display_matrix(frame: av.VideoFrame) -> tuple[int, int, int, int] | None:
    """``a, b, c, d`` of the display matrix, nine native int32 in rows of (a, b, u), (c, d, v), (x, y, w)."""
    try:
        side_data: Any = frame.side_data
        matrix = side_data["DISPLAYMATRIX"]
    except (KeyError, ValueError):  # none, or side data of a kind that PyAV does not know
        return None
    a, b, _, c, d = np.frombuffer(bytes(matrix), dtype=np.int32)[:5].tolist()
    return a, b, c, d
