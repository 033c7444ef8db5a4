"""A media file opened from untrusted bytes: its streams and their spans, before any decoding.

FFmpeg can be made to read local files, open sockets and take gigabytes by a few bytes of input, so a file is opened
from memory only, with no protocol, with the containers of an allow-list, and with a cap on a single allocation. One
pass over the packets then gives the exact span of picture and sound on the clip's timeline; decoding comes later
(:mod:`handler.video`, :mod:`handler.audio`) and feeds on the packets kept here, or of a long file on those read again
(:mod:`handler.demux`).

Durations that a header declares are not believed in either direction (often they are estimates): what counts against
the limit is the time from the earliest packet to the end of the latest, and then what decoding gives.
"""

from __future__ import annotations

import ctypes
import io
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self, TypeVar

import av
import av.logging
from av.container import InputContainer
from av.stream import Disposition

from handler.demux import Passes, demux
from handler.errors import ActivityError, LimitExceeded, UndecodableMedia, UnsupportedMedia
from handler.limits import Limits
from handler.packets import REMEDY, Packets, PacketTable, check_duration, index_audio, index_video
from handler.windows import Span

CONTAINERS = (
    *("mov", "mp4", "m4a", "3gp", "3g2", "matroska", "webm", "avi", "mpegts", "mpeg", "flv", "asf", "gif"),
    *("ogg", "wav", "w64", "aiff", "au", "caf", "flac", "mp3", "aac", "amr"),
)
"""FFmpeg demuxers that a file may be opened with: none of them opens another file or a socket."""

VIDEO_CODECS = frozenset(
    (
        *("h264", "hevc", "av1", "libdav1d", "vp8", "vp9", "libvpx", "libvpx-vp9", "theora"),
        *("mpeg4", "mpeg1video", "mpeg2video", "h263", "flv", "msmpeg4", "msmpeg4v1", "msmpeg4v2"),
        *("wmv1", "wmv2", "wmv3", "vc1", "mjpeg", "prores", "dnxhd", "ffv1", "huffyuv", "ffvhuff", "rawvideo", "gif"),
    )
)
"""FFmpeg decoders that a picture may be decoded with."""

AUDIO_CODECS = frozenset(
    (
        *("aac", "aac_latm", "mp3", "mp3float", "mp2", "mp2float", "mp1", "mp1float", "opus", "libopus", "vorbis"),
        *("flac", "alac", "ac3", "eac3", "amrnb", "amrwb", "libopencore_amrnb", "libopencore_amrwb"),
        *("wmav1", "wmav2", "wmapro", "adpcm_ms", "adpcm_ima_wav", "adpcm_ima_qt", "pcm_alaw", "pcm_mulaw"),
        *("pcm_u8", "pcm_s8", "pcm_s16le", "pcm_s16be", "pcm_s24le", "pcm_s24be", "pcm_s32le", "pcm_s32be"),
        *("pcm_f32le", "pcm_f32be", "pcm_f64le", "pcm_f64be"),
    )
)
"""FFmpeg decoders that sound may be decoded with."""

MAX_ALLOCATION_BYTES = 64 * 1024 * 1024
"""The most that FFmpeg may ask for in one piece: a frame of 2 megapixels takes a quarter of it at most."""

_MEASURED_FACTOR = 4
"""Frames up to this many times the limit on pixels may be decoded, so that the error can name their size."""

_WITHOUT_PTS = frozenset({"avi"})
"""Demuxers of containers that store no pts."""

_WITHOUT_CLOCK = frozenset({"mp3"})
"""Demuxers that make up the times, and count the encoder's delay before the first sample."""

Stream = TypeVar("Stream", "VideoStream", "AudioStream")

_NO_PICTURE = Disposition.attached_pic | Disposition.timed_thumbnails


def _cap_allocations(num_bytes: int) -> None:
    """Limit one allocation of FFmpeg, in the copy of libavutil that PyAV has loaded into this process."""
    with suppress(OSError, AttributeError):  # no /proc, or a static build: nothing to cap through
        maps = Path("/proc/self/maps").read_text(encoding="utf-8", errors="replace")
        for path in sorted({line.split(maxsplit=5)[5] for line in maps.splitlines() if "/libavutil" in line}):
            ctypes.CDLL(path).av_max_alloc(ctypes.c_size_t(num_bytes))


av.logging.set_level(None)  # FFmpeg's log callback wants the GIL in the midst of decoding: contention, deadlocks
_cap_allocations(MAX_ALLOCATION_BYTES)


def decoder_options(limits: Limits) -> dict[str, str]:
    """Options of every FFmpeg decoder: it refuses much too large frames, those that are never shown as well."""
    return {"max_pixels": str(_MEASURED_FACTOR * limits.max_frame_pixels)}


@dataclass(frozen=True, eq=False)
class VideoStream:
    """A picture stream."""

    codec: str
    """FFmpeg's name of the decoder."""
    width: int
    """Pixels, as declared and before rotation; 0 when the file does not say."""
    height: int
    packets: Packets
    handle: av.VideoStream = field(repr=False)

    @property
    def span(self) -> Span:
        """From the first frame to the end of the last, in seconds on the clip's timeline."""
        return self.packets.span


@dataclass(frozen=True, eq=False)
class AudioStream:
    """A sound stream."""

    codec: str
    """FFmpeg's name of the decoder."""
    sample_rate: int
    """Hz, as declared; 0 when the file does not say."""
    channels: int
    packets: Packets
    handle: av.AudioStream = field(repr=False)

    @property
    def span(self) -> Span:
        """From the first sample to the end of the last, without delay and padding of the encoder, in seconds."""
        return self.packets.span


class Container:
    """An open file with a picture, a sound or both; a context manager, for one thread at a time.

    Attributes:
        video: the best picture stream that has packets and is no cover picture, None when there is none.
        audio: the best sound stream that has packets, None when there is none.
    """

    def __init__(
        self,
        opened: InputContainer,
        video: VideoStream | None,
        audio: AudioStream | None,
        passes: Passes | None = None,
    ) -> None:
        self._opened = opened
        self._passes = passes
        self.video = video
        self.audio = audio

    @property
    def span(self) -> Span:
        """From the earliest start to the latest stop of picture and sound, in seconds."""
        return _span(self.video, self.audio)

    def with_packets(self, change: Callable[[Packets], Packets]) -> Container:
        """The same open file, with the packets of its streams as ``change`` makes them; closing one closes both."""
        video = self.video and replace(self.video, packets=change(self.video.packets))
        audio = self.audio and replace(self.audio, packets=change(self.audio.packets))
        return Container(self._opened, video, audio, self._passes)

    def close(self) -> None:
        """Free what FFmpeg holds."""
        if self._passes is not None:
            self._passes.close()
        self._opened.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


def open_container(data: bytes | bytearray | memoryview, limits: Limits, *, keep_packets: bool = False) -> Container:
    """Open a media file and index its packets.

    Args:
        data: the whole file.
        limits: bounds on bytes, streams, packets and seconds; those on pixels, sample rate and channels are held
            where a stream is decoded, so that a bad picture leaves the sound usable.
        keep_packets: keep the packets themselves in ``items``, however many they are.

    Raises:
        UnsupportedMedia: a container that is not in :data:`CONTAINERS`.
        LimitExceeded: too many bytes, streams, packets or seconds, or one allocation too large.
        UndecodableMedia: no media file, or one without a packet of picture or sound.
    """
    if len(data) > limits.max_bytes:
        raise LimitExceeded(
            "bytes",
            f"the media part has {len(data)} bytes, the limit is {limits.max_bytes}",
            remedy="Send a smaller file.",
        )
    content = bytes(data)  # of bytes no copy; nor is there one when they are opened again

    def reopen() -> InputContainer:
        return open_untrusted(content, CONTAINERS, decoder_options(limits))

    opened = reopen()
    try:
        video, audio = _index(opened, limits, keep_packets=keep_packets)
        if video is not None and not video.width * video.height:
            width, height = declared_size(content, CONTAINERS, video.handle.index)
            video = replace(video, width=width, height=height)
        if _are_kept(video, audio):
            return Container(opened, video, audio)
        places = [None if stream is None else stream.handle.index for stream in (video, audio)]
        opened.close()  # at its end, with an index of its own: of an mp4 60 bytes a packet
        opened = reopen()
        passes = Passes(opened, reopen)
        return Container(opened, _read_by(passes, video, places[0]), _read_by(passes, audio, places[1]), passes)
    except BaseException:
        opened.close()
        raise


def open_untrusted(
    data: bytes | bytearray | memoryview, formats: Sequence[str], options: dict[str, str]
) -> InputContainer:
    """Open bytes with FFmpeg so that it reads nothing but them.

    Args:
        data: the whole file.
        formats: FFmpeg's demuxers that it may be opened with.
        options: of the decoders, since probing decodes some frames.

    Raises:
        UnsupportedMedia: a container that is not in ``formats``.
        LimitExceeded: one allocation too large.
        UndecodableMedia: no media file.
    """
    try:
        return av.open(
            io.BytesIO(data),
            mode="r",
            metadata_errors="replace",
            options=options,
            container_options={"protocol_whitelist": "none", "format_whitelist": ",".join(formats)},
        )
    except MemoryError as exc:
        raise LimitExceeded(
            "memory",
            f"the file wants more than {MAX_ALLOCATION_BYTES // 2**20} MiB of memory in one piece",
            remedy=REMEDY,
        ) from exc
    except av.error.ArgumentError as exc:
        raise UnsupportedMedia(
            f"the container is not one of those allowed: {', '.join(formats)}", remedy=REMEDY
        ) from exc
    except Exception as exc:
        raise UndecodableMedia(f"the {len(data)} bytes do not open as a media file", remedy=REMEDY) from exc


def declared_size(data: bytes, formats: Sequence[str], index: int = 0) -> tuple[int, int]:
    """Width and height that a file declares of a picture, although it may be far too large to decode.

    A decoder that is told a limit forgets the size that exceeds it. This one is told none, and to decode nothing.

    Args:
        data: the whole file.
        formats: as of :func:`open_untrusted`.
        index: of the picture's stream.

    Returns:
        Pixels; (0, 0) where the file does not say.
    """
    options = {"max_pixels": str(2**31 - 1), "skip_frame": "all"}
    with suppress(ActivityError), open_untrusted(data, formats, options) as opened:
        for stream in opened.streams.video:
            if stream.index == index and stream.codec_context is not None:
                return stream.codec_context.width, stream.codec_context.height
    return 0, 0


def _index(
    opened: InputContainer, limits: Limits, *, keep_packets: bool
) -> tuple[VideoStream | None, AudioStream | None]:
    num_streams = len(opened.streams)
    if num_streams > limits.max_streams:
        raise LimitExceeded(
            "streams", f"the file has {num_streams} streams, the limit is {limits.max_streams}", remedy=REMEDY
        )
    picture, sound = _best(opened, "video", VIDEO_CODECS), _best(opened, "audio", AUDIO_CODECS)
    streams = [stream for stream in (picture, sound) if stream is not None]
    video: VideoStream | None = None
    audio: AudioStream | None = None
    for stream, table in zip(streams, demux(opened, streams, limits, keep_packets=keep_packets), strict=True):
        if len(table.ticks) and stream is picture:
            video = _video_stream(stream, table, has_pts=opened.format.name not in _WITHOUT_PTS)
        elif len(table.ticks):
            audio = _audio_stream(stream, table, has_clock=opened.format.name not in _WITHOUT_CLOCK)
    if video is None and audio is None:
        raise UndecodableMedia("the file holds neither picture nor sound", remedy=REMEDY)
    check_duration(_span(video, audio).duration_seconds, limits)
    return video, audio


def _are_kept(*streams: VideoStream | AudioStream | None) -> bool:
    return all(stream is None or len(stream.packets.items) > 0 for stream in streams)


def _read_by(passes: Passes, stream: Stream | None, index: int | None) -> Stream | None:
    """A stream whose packets are not kept, of the file that is opened now."""
    if stream is None or index is None:
        return None
    if index >= len(passes.opened.streams):
        raise UndecodableMedia("the file has fewer streams when it is opened again", remedy=REMEDY)
    read_again = partial(passes.begin, index, stream.packets.num_packets)
    handle: Any = passes.opened.streams[index]
    return replace(stream, packets=replace(stream.packets, read_again=read_again), handle=handle)


def _span(*streams: VideoStream | AudioStream | None) -> Span:
    spans = [stream.span for stream in streams if stream is not None]
    return Span(min(span.start_seconds for span in spans), max(span.stop_seconds for span in spans))


def _best(opened: InputContainer, kind: Literal["video", "audio"], codecs: frozenset[str]) -> Any:
    """The stream that FFmpeg prefers; of several, one whose codec is allowed, and never a cover picture."""
    streams: list[Any] = [
        stream for stream in opened.streams if stream.type == kind and not stream.disposition & _NO_PICTURE
    ]
    streams = [stream for stream in streams if _codec(stream) in codecs] or streams
    preferred = opened.streams.best(kind)
    if preferred is not None and any(stream.index == preferred.index for stream in streams):
        return preferred
    return streams[0] if streams else None


def _video_stream(stream: av.VideoStream, table: PacketTable, *, has_pts: bool) -> VideoStream:
    context = stream.codec_context  # None where FFmpeg has no decoder for the stream
    width, height = (0, 0) if context is None else (context.width, context.height)
    return VideoStream(_codec(stream), width, height, index_video(stream, table, has_pts=has_pts), stream)


def _audio_stream(stream: av.AudioStream, table: PacketTable, *, has_clock: bool) -> AudioStream:
    context = stream.codec_context
    rate, channels = (0, 0) if context is None else (context.sample_rate or 0, context.channels)
    packets = index_audio(stream, table, sample_rate=rate, has_clock=has_clock)
    return AudioStream(_codec(stream), rate, channels, packets, stream)


def _codec(stream: Any) -> str:
    context = stream.codec_context
    return "unknown" if context is None else str(context.name)
