"""A chunk's packets as a small media file of their own, with the times that they had."""

from __future__ import annotations

import io
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

MP4_CODECS = frozenset(
    (
        *("h264", "hevc", "av1", "libdav1d", "vp9", "libvpx-vp9", "mpeg4", "mpeg2video", "mpeg1video", "mjpeg"),
        *("aac", "mp3", "mp3float", "mp2", "mp2float", "opus", "libopus", "flac", "alac", "ac3", "eac3"),
    )
)
"""FFmpeg's decoders of what an mp4 may hold."""

MATROSKA_CODECS = MP4_CODECS | {"vp8", "libvpx", "vorbis", "theora", "ffv1"}
"""FFmpeg's decoders of what a Matroska file may hold and a server takes."""

MAX_TIMESCALE = 2**31 - 1
MAX_TRANSPORT_TICKS = 2**33
"""An MPEG transport stream's clock goes round after so many ticks of 1/90000 s."""
TRANSPORT_TICK = Fraction(1, 90_000)

KEEP_TIMES = {"avoid_negative_ts": "disabled"}
FRAGMENTED = {"movflags": "empty_moov+default_base_moof+frag_discont+skip_trailer", "use_editlist": "0"}


@dataclass(frozen=True)
class Held:
    """A packet that waits for its chunk."""

    packet: Any
    """PyAV's packet; its time base may change when it is written, its times do not."""
    stream: int
    """The place of its stream among those that are sent."""
    pts: Fraction
    """Seconds on the source's clock at which it is shown."""
    dts: Fraction
    """Seconds at which it is decoded; no later packet of its stream is shown before."""
    start: Fraction
    """Seconds at which what is heard or seen of it begins: after an encoder's delay."""
    stop: Fraction
    """Seconds at which it ends, without an encoder's padding."""
    has_memory: bool
    """It is a sound's, whose decoder has to hear what was before; raw samples need nothing."""
    is_key: bool
    is_shown: bool
    """False for what an edit list cuts away."""
    size: int


@dataclass(frozen=True)
class ChunkFormat:
    """The kind of file that chunks are written as."""

    name: str
    """FFmpeg's muxer."""
    keeps_ends: bool
    """What an encoder put before the first and after the last sample is cut in the chunk as it is in the source."""


def choose_format(source: str, codecs: Sequence[str]) -> ChunkFormat | None:
    """The kind of file in which copied packets keep their times exactly, as far as there is one.

    That is the source's own kind where it is mp4, Matroska or a transport stream: mp4 counts samples and can count any
    frame rate, the others' ticks are those that the packets have. Anything else becomes an mp4.

    Args:
        source: FFmpeg's names of the source's container.
        codecs: FFmpeg's decoders of the streams.

    Returns:
        None where the packets cannot be copied.
    """
    is_pcm = all(codec in MP4_CODECS or codec.startswith("pcm_") for codec in codecs)
    if "matroska" in source and set(codecs) <= MATROSKA_CODECS:
        return ChunkFormat("matroska", keeps_ends=True)
    if source == "mpegts" and set(codecs) <= MP4_CODECS:
        return ChunkFormat("mpegts", keeps_ends=True)
    if set(codecs) <= MP4_CODECS:
        return ChunkFormat("mp4", keeps_ends="mp4" in source)
    if is_pcm:
        return ChunkFormat("mov", keeps_ends="mp4" in source)
    return ChunkFormat("matroska", keeps_ends=False) if set(codecs) <= MATROSKA_CODECS else None


def write_file(kind: ChunkFormat, streams: Sequence[Any], packets: Iterable[Held]) -> bytes:
    """Write packets into a file of their own.

    Args:
        kind: what file.
        streams: PyAV's streams that they are of, input or output.
        packets: in the order in which they came.

    Raises:
        av.error.FFmpegError: FFmpeg cannot write them.
    """
    import av  # noqa: PLC0415 - help must not wait for what only the work needs

    kept = list(packets)
    name, options = _muxer(kind, streams, kept)
    file = io.BytesIO()
    with av.open(file, "w", format=name, options=options) as output:
        added = []
        for stream in streams:
            copy = output.add_stream_from_template(stream, opaque=True)  # no encoder of its codec is needed
            copy.time_base = stream.time_base
            added.append(copy)
        for held in kept:
            held.packet.stream = added[held.stream]
            output.mux(held.packet)
    return file.getvalue()


def _muxer(kind: ChunkFormat, streams: Sequence[Any], packets: Sequence[Held]) -> tuple[str, dict[str, str]]:
    name = kind.name
    if name == "mpegts":
        ticks = [held.dts / TRANSPORT_TICK for held in packets]
        if all(0 <= tick < MAX_TRANSPORT_TICKS - 1 for tick in ticks):
            return name, {**KEEP_TIMES, "mpegts_copyts": "1"}
        name = "mp4"
    if name == "matroska":
        return name, KEEP_TIMES
    # An edit list says where a track begins, in ticks of the whole file: they have to hit each track's own ticks.
    timescale = math.lcm(*(_timescale(stream) for stream in streams))
    if timescale <= MAX_TIMESCALE:
        return name, {**KEEP_TIMES, "movie_timescale": str(timescale)}
    return name, {**KEEP_TIMES, **FRAGMENTED}


def _timescale(stream: Any) -> int:
    """Ticks of a second in an mp4's track of the stream: a sound's are its samples."""
    if stream.type == "audio":
        return int(stream.codec_context.sample_rate)
    return int(Fraction(stream.time_base).denominator)
