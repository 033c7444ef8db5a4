"""What can be watched: a file, a camera, an address, opened on the client's side, packet by packet."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from client.chunk_files import Held
from client.closing import Closing
from client.errors import SourceUnusable

CAMERA_FOLDER = "/dev/"
CAMERA_FORMAT = "v4l2"
OPEN_SECONDS, READ_SECONDS = 10.0, 15.0
"""How long an address may take to be opened, and to say something more."""
ADDRESS_OPTIONS: dict[str, dict[str, str]] = {
    "rtsp": {"rtsp_transport": "tcp"},  # UDP loses packets, and few firewalls let it back in
    "rtsps": {"rtsp_transport": "tcp"},
}
PROBE_OPTIONS = {"analyzeduration": "1000000"}
"""Microseconds of an address that FFmpeg reads to find its streams; its own 5 s would be the first answer's latency."""
UNKNOWN_DECODE_SECONDS = 1
"""How long before it is shown a packet is decoded at the earliest that does not say when."""


@dataclass(frozen=True)
class Address:
    """Where a source is, and how FFmpeg opens it."""

    text: str
    """As it was given."""
    format: str | None = None
    """FFmpeg's demuxer or device; None: FFmpeg finds it out."""
    options: Mapping[str, str] = field(default_factory=dict)
    """Of the demuxer."""
    is_file: bool = False
    """Its packets are there already, and its clock is the recording's own."""


def read_address(source: str, *, format: str | None = None, options: Mapping[str, str] | None = None) -> Address:  # noqa: A002
    """What a source's name means: a file, a camera such as ``/dev/video0``, or an address such as ``rtsp://HOST/PATH``.

    Args:
        source: the name.
        format: FFmpeg's demuxer or device, where it cannot be told from the name.
        options: further options of it; they go before those that a kind of address has by itself.

    Raises:
        SourceUnusable: there is no such file.
    """
    scheme, has_scheme, _ = source.partition("://")
    if has_scheme and scheme != "file":
        by_kind = {**PROBE_OPTIONS, **ADDRESS_OPTIONS.get(scheme.lower(), {})}
        return Address(source, format, {**by_kind, **(options or {})})
    if format is None and source.startswith(CAMERA_FOLDER):
        format = CAMERA_FORMAT  # noqa: A001 - as the argument
    if format is not None:
        return Address(source, format, dict(options or {}), is_file=Path(source).is_file())
    path = Path(source.removeprefix("file://"))
    if not path.is_file():
        raise SourceUnusable(
            f"There is no file {source}.",
            remedy="Give a file, a camera such as /dev/video0, or an address such as rtsp://HOST/PATH.",
        )
    return Address(str(path), None, dict(options or {}), is_file=True)


class Source(Closing):
    """An open source.

    Attributes:
        address: where it is.
        streams: PyAV's streams that are sent: the best picture, then the best sound, each where there is one.
        ended_by: why packets ended before the source's end, "" where they did not.
        is_read: another thread has its packets in hand, which would be gone with it.
    """

    def __init__(self, address: Address, opened: Any) -> None:
        self.address = address
        self.streams: tuple[Any, ...] = tuple(
            stream for stream in (_best(opened, "video"), _best(opened, "audio")) if stream is not None
        )
        self.ended_by = ""
        self._opened = opened
        self.is_read = False
        self._is_stopped = False

    @property
    def container(self) -> str:
        """FFmpeg's names of its container."""
        return str(self._opened.format.name)

    @property
    def codecs(self) -> tuple[str, ...]:
        """FFmpeg's decoders of the streams."""
        contexts = (stream.codec_context for stream in self.streams)
        return tuple("unknown" if context is None else str(context.name) for context in contexts)

    @property
    def duration_seconds(self) -> float | None:
        """As the container declares it."""
        declared = self._opened.duration
        return None if declared is None else declared / 1_000_000

    def stop(self) -> None:
        """Let the packets end with the next one, from whichever thread: what has been read is still cut."""
        self._is_stopped = True

    def packets(self) -> Iterator[Any]:
        """PyAV's packets of the streams; a fault in mid-stream ends them, as it does for a player."""
        import av  # noqa: PLC0415 - help must not wait for what only the work needs

        reader = self._opened.demux(*self.streams)
        while not self._is_stopped:
            try:
                packet = next(reader)
            except StopIteration:
                return
            except av.FFmpegError as exc:
                self.ended_by = str(exc.strerror or exc)
                return
            if packet.size:
                yield packet

    def held(self) -> Iterator[Held]:
        """The packets with their times, without those that go back in time or have none."""
        places = {stream.index: place for place, stream in enumerate(self.streams)}
        packets = self.packets()
        if self.container == "rtsp":
            packets = settled(packets, self.streams)
        return hold(packets, lambda packet: places[packet.stream_index], self.streams)

    def close(self) -> None:
        """Free what FFmpeg holds, unless a thread still reads it: then the process's end does."""
        if not self.is_read:
            self._opened.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


def open_source(address: Address) -> Source:
    """Open a source.

    Raises:
        SourceUnusable: it is not there, refuses, or holds neither picture nor sound.
    """
    import av  # noqa: PLC0415 - as above

    timeout = None if address.is_file or address.format == CAMERA_FORMAT else (OPEN_SECONDS, READ_SECONDS)
    try:
        opened = av.open(address.text, format=address.format, options=dict(address.options), timeout=timeout)
    except (av.FFmpegError, ValueError) as exc:
        raise _unusable(address, exc) from exc
    source = Source(address, opened)
    if not source.streams:
        source.close()
        raise SourceUnusable(
            f"{address.text} holds neither picture nor sound.", remedy="Give a recording, a camera or a stream."
        )
    return source


def settled(packets: Iterator[Any], streams: Sequence[Any]) -> Iterator[Any]:
    """The packets of an RTSP session from where all have their times.

    The first ones have none, or none to be decoded at, until the session's clock is known: what comes before the
    picture's first key frame with both is left out; of a sound alone what comes before its first packet with both.

    Args:
        packets: PyAV's.
        streams: PyAV's.
    """
    picture = next((stream.index for stream in streams if stream.type == "video"), None)
    has_begun = False
    for packet in packets:
        if not has_begun and packet.pts is not None and packet.dts is not None:
            has_begun = picture is None or (packet.stream_index == picture and bool(packet.is_keyframe))
        if has_begun:
            yield packet


def hold(packets: Iterator[Any], place_of: Any, streams: Sequence[Any]) -> Iterator[Held]:
    """Give packets their times in seconds.

    Args:
        packets: PyAV's.
        place_of: the place of a packet's stream among ``streams``.
        streams: PyAV's.
    """
    decoded: dict[int, Fraction] = {}
    whole: dict[int, Fraction] = {}
    for packet in packets:
        ticks = packet.pts if packet.pts is not None else packet.dts
        if ticks is None:
            continue
        place = place_of(packet)
        stream = streams[place]
        base = packet.time_base or stream.time_base
        pts, before = ticks * base, decoded.get(place)
        if packet.dts is not None:
            dts = packet.dts * base
            if before is not None and dts <= before:
                continue
            decoded[place] = dts
        else:
            dts = pts - UNKNOWN_DECODE_SECONDS if before is None else before
        if packet.pts is None:
            packet.pts = ticks
        lead, tail = _skipped(packet, stream)
        duration = _duration(packet, stream)
        whole[place] = max(whole.get(place, duration), duration)
        yield Held(
            packet=packet,
            stream=place,
            pts=pts,
            dts=min(dts, pts),
            start=pts + lead,
            # Some demuxers have shortened a packet with padding already.
            stop=pts + min(duration, whole[place] - tail),
            has_memory=stream.type == "audio" and not str(stream.codec_context.name).startswith("pcm_"),
            is_key=bool(packet.is_keyframe),
            is_shown=not packet.is_discard,
            size=packet.size,
        )


def _duration(packet: Any, stream: Any) -> Fraction:
    """Seconds that a packet lasts; of a picture that does not say so those of its rate."""
    if packet.duration:
        return Fraction(packet.duration * packet.time_base)
    rate = stream.average_rate if stream.type == "video" else None
    return 1 / Fraction(rate) if rate else Fraction(0)


def _skipped(packet: Any, stream: Any) -> tuple[Fraction, Fraction]:
    """Seconds at a packet's start and end that are an encoder's delay and padding: two little-endian uint32."""
    if stream.type != "audio" or not packet.has_sidedata("skip_samples"):
        return Fraction(0), Fraction(0)
    from av.packet import PacketSideData  # noqa: PLC0415 - as above

    lead, tail = struct.unpack_from("<II", bytes(PacketSideData.from_packet(packet, "skip_samples")))
    rate = stream.codec_context.sample_rate
    return Fraction(lead, rate), Fraction(tail, rate)


def _best(opened: Any, kind: str) -> Any:
    """The stream that FFmpeg prefers, and never a cover picture."""
    from av.stream import Disposition  # noqa: PLC0415 - as above

    no_picture = Disposition.attached_pic | Disposition.timed_thumbnails
    streams = [stream for stream in opened.streams if stream.type == kind and not stream.disposition & no_picture]
    preferred = opened.streams.best(kind)
    if preferred is not None and any(stream.index == preferred.index for stream in streams):
        return preferred
    return streams[0] if streams else None


def _unusable(address: Address, error: Exception) -> SourceUnusable:
    text = address.text
    if address.format == CAMERA_FORMAT:
        return SourceUnusable(
            f"The camera {text} cannot be opened: {getattr(error, 'strerror', None) or error}.",
            remedy="List the cameras with `ls /dev/video*`; one that is there may be in use, or closed to you: "
            "then join the group video.",
        )
    if isinstance(error, ConnectionRefusedError | TimeoutError):
        return SourceUnusable(
            f"Nobody serves {text}: {getattr(error, 'strerror', None) or error}.",
            remedy="Check host and port, and that what is to be watched is running.",
        )
    if address.is_file:
        return SourceUnusable(
            f"{text} does not open as a media file.",
            remedy="Give a recording such as mp4, WebM, MPEG-TS or wav; say its kind with --input-format.",
        )
    return SourceUnusable(
        f"{text} cannot be opened: {getattr(error, 'strerror', None) or error}.",
        remedy="Check the address, and that what it names may be read without a login, or has one in it.",
    )
