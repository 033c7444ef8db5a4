"""Recordings with picture and sound interleaved, and the ways to cut them into the chunks of a stream."""

from __future__ import annotations

import io
import re
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from itertools import pairwise
from typing import Any

import av
import numpy as np

from tests.media import X264, Picture, add_picture, build_frame, priority_kept

LONG_GOP = (*X264, ("bf", "3"), ("g", "250"))
"""One long group of pictures with B frames: any cut is inside it."""
SHORT_GOP = (*X264, ("bf", "0"), ("g", "20"))
VP8 = (("deadline", "realtime"), ("cpu-used", "8"), ("g", "250"))
FRAGMENTS = (("movflags", "frag_keyframe+delay_moov+default_base_moof"), ("frag_duration", "300000"))
CLUSTERS = (("cluster_time_limit", "400"), ("live", "1"))

_NO_EDIT_LIST = {"movflags": "empty_moov+default_base_moof+frag_discont+skip_trailer", "use_editlist": "0"}
"""FFmpeg leaves out what comes before the first key frame of an mp4 that says where its tracks begin."""


@dataclass(frozen=True)
class Tones:
    """A sound whose pitch and loudness change all the time, so that a sample out of place is seen."""

    codec: str = "aac"
    rate: int = 48_000
    seconds: float = 6.0
    channels: int = 2


@lru_cache(maxsize=32)
def record(
    container: str,
    picture: Picture | None,
    sound: Tones | None,
    options: tuple[tuple[str, str], ...] = (),
) -> bytes:
    """A recording whose picture and sound come in the order of their times, as a camera writes them."""
    file = io.BytesIO()
    with priority_kept(), av.open(file, "w", format=container, options=dict(options)) as output:
        video: Any = None if picture is None else add_picture(output, picture)
        audio: Any = None if sound is None else _add_sound(output, sound)
        times = [] if picture is None else picture.times_seconds.tolist()
        steps = [(seconds, "video", place) for place, seconds in enumerate(times)]
        if sound is not None:
            steps += [(place / 10, "audio", place) for place in range(round(sound.seconds * 10))]
        for _, kind, place in sorted(steps):
            if kind == "video" and picture is not None:
                output.mux(video.encode(build_frame(picture, place)))
            elif sound is not None:
                output.mux(audio.encode(_block(sound, place)))
        for stream in (video, audio):
            if stream is not None:
                output.mux(stream.encode(None))
    return file.getvalue()


def _add_sound(output: Any, sound: Tones) -> Any:
    # Noise that the decoder makes up (AAC's PNS) depends on all that came before: no cut gives the same again.
    stream = output.add_stream(sound.codec, rate=sound.rate, options={"aac_pns": "0"} if sound.codec == "aac" else {})
    stream.layout = {1: "mono", 2: "stereo"}[sound.channels]
    return stream


def _block(sound: Tones, place: int) -> av.AudioFrame:
    """100 ms of sound."""
    length = sound.rate // 10
    times = (np.arange(length) + place * length) / sound.rate
    wave = 0.4 * np.sin(2 * np.pi * (300 * times + 40 * times**2)) * (0.6 + 0.4 * np.sin(5 * times))
    frame = av.AudioFrame.from_ndarray(
        np.ascontiguousarray(np.stack([wave] * sound.channels), dtype=np.float32),
        format="fltp",
        layout={1: "mono", 2: "stereo"}[sound.channels],
    )
    frame.sample_rate, frame.pts, frame.time_base = sound.rate, place * length, Fraction(1, sound.rate)
    return frame


def fragment_starts(recording: bytes) -> list[int]:
    """Where the fragments of an mp4 or the clusters of a WebM begin, but for the first."""
    if recording[4:8] != b"ftyp":
        return [found.start() for found in re.finditer(b"\x1f\x43\xb6\x75", recording)][1:]
    starts, place = [], 0
    while place < len(recording):
        size, kind = struct.unpack_from(">I4s", recording, place)
        if kind == b"moof":
            starts.append(place)
        place += size
    return starts[1:]


def split(recording: bytes, starts: Sequence[int]) -> list[bytes]:
    """The recording's bytes, cut at some places."""
    edges = [0, *sorted(starts), len(recording)]
    return [recording[start:stop] for start, stop in pairwise(edges)]


def cut_files(recording: bytes, cuts: Sequence[float], container: str = "mp4") -> list[bytes]:
    """Files of their own, each with the packets that are decoded between two times and with their times."""
    with av.open(io.BytesIO(recording), "r") as source:
        packets = [packet for packet in source.demux() if packet.size]
        groups: list[list[Any]] = [[] for _ in range(len(cuts) + 1)]
        for packet in packets:
            groups[sum(_decoded(packet) >= cut for cut in cuts)].append(packet)
        return [_write(source, group, container, is_first=not place) for place, group in enumerate(groups)]


def cut_from_zero(
    recording: bytes, cuts: Sequence[float], container: str = "mp4"
) -> list[tuple[bytes, Mapping[str, float]]]:
    """Files as :func:`cut_files` makes them, whose own times begin at zero, and the option that says where they lie."""
    with av.open(io.BytesIO(recording), "r") as source:
        packets = [packet for packet in source.demux() if packet.size]
        found: list[tuple[bytes, Mapping[str, float]]] = []
        for start, stop in zip([0.0, *cuts], [*cuts, np.inf], strict=True):
            kept = [packet for packet in packets if start <= _decoded(packet) < stop]
            piece = _write(source, kept, container, is_first=True, earlier=start)
            found.append((piece, {"offset_seconds": start}))
        return found


def cut_with_lead_in(
    recording: bytes, cuts: Sequence[float], container: str = "mp4"
) -> list[tuple[bytes, Mapping[str, float]]]:
    """Files with all that their part of the recording needs to be decoded, and the option that says which part."""
    edges = [-np.inf, *cuts, np.inf]
    found: list[tuple[bytes, Mapping[str, float]]] = []
    with av.open(io.BytesIO(recording), "r") as source:
        packets = [packet for packet in source.demux() if packet.size]
        for start, stop in pairwise(edges):
            kept: list[Any] = []
            for stream in source.streams:
                own = [packet for packet in packets if packet.stream_index == stream.index]
                kept += _needed(own, start, stop) if stream.type == "video" else _heard(own, start, stop)
            kept.sort(key=_decoded)
            chunk = {"start_seconds": start} if np.isfinite(start) else {}
            chunk |= {"stop_seconds": stop} if np.isfinite(stop) else {}
            found.append((_write(source, kept, container, is_first=not np.isfinite(start)), chunk))
    return found


def _needed(packets: Sequence[Any], start: float, stop: float) -> list[Any]:
    """From the key frame before ``start`` to the last one in decode order that is shown before ``stop``."""
    keys = [place for place, packet in enumerate(packets) if packet.is_keyframe and _shown(packet) <= start + 1e-9]
    last = [place for place, packet in enumerate(packets) if _shown(packet) < stop]
    return list(packets[max(keys, default=0) : max(last) + 1])


def _heard(packets: Sequence[Any], start: float, stop: float) -> list[Any]:
    return [packet for packet in packets if start - 0.7 <= _shown(packet) < stop + 0.05]


def _shown(packet: Any) -> float:
    return float(packet.pts * packet.time_base)


def _decoded(packet: Any) -> float:
    return float((packet.pts if packet.dts is None else packet.dts) * packet.time_base)


def _write(source: Any, packets: Sequence[Any], container: str, *, is_first: bool, earlier: float = 0.0) -> bytes:
    options = {"avoid_negative_ts": "disabled", **({} if is_first or container != "mp4" else _NO_EDIT_LIST)}
    file = io.BytesIO()
    with av.open(file, "w", format=container, options=options) as output:
        added = {stream.index: output.add_stream_from_template(stream) for stream in source.streams}
        for stream in source.streams:
            added[stream.index].time_base = stream.time_base
        for packet in packets:
            copy: Any = av.Packet(bytes(packet))
            ticks = round(earlier / packet.time_base)
            copy.pts, copy.time_base = packet.pts - ticks, packet.time_base
            copy.dts = None if packet.dts is None else packet.dts - ticks
            copy.duration, copy.is_keyframe = packet.duration, packet.is_keyframe
            copy.stream = added[packet.stream_index]
            output.mux(copy)
    return file.getvalue()
