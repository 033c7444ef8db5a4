"""A small file of each container and codec that a request may have, as far as PyAV here can write it."""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import av
from av.video.frame import VideoFrame

from handler.container import AUDIO_CODECS, CONTAINERS, VIDEO_CODECS
from handler.image import CODECS as PICTURE_CODECS
from handler.image import FORMATS as PICTURE_FORMATS
from tests.media import X264, X265, Picture, Sound, frame_image, overwrite, render, with_cover
from tests.media import png as plain_png


@dataclass(frozen=True)
class Seed:
    """A file that is as it should be."""

    name: str
    part: str
    """Of the request: "video", "audio", "image", "text", "tabular", "imu", "options", "state" or "body"."""
    content: bytes


@dataclass(frozen=True)
class Unwritten:
    """A file that PyAV here cannot write."""

    name: str
    reason: str


_PICTURE = Picture(width=48, height=32, num_frames=5, options=X264)


def _picture(codec: str, pix_fmt: str = "yuv420p", width: int = 48, height: int = 32) -> Picture:
    return Picture(codec, width, height, 5, pix_fmt=pix_fmt)


def _sound(codec: str, rate: int = 16_000, channels: int = 1) -> Sound:
    return Sound(codec, rate, channels, seconds=0.2)


_VPX = Picture("libvpx", 48, 32, 5, options=(("deadline", "realtime"), ("cpu-used", "8")))
_AV1 = Picture("libsvtav1", 64, 64, 3, options=(("preset", "12"), ("svtav1-params", "lp=1")))

PICTURES: dict[str, Picture] = {
    "h264": _PICTURE,
    "hevc": Picture("libx265", 64, 64, 4, options=X265),
    "av1": _AV1,
    "vp8": _VPX,
    "vp9": replace(_VPX, codec="libvpx-vp9"),
    "mpeg4": _picture("mpeg4"),
    "mpeg1video": _picture("mpeg1video"),
    "mpeg2video": _picture("mpeg2video"),
    "h263": _picture("h263", width=128, height=96),
    "flv": _picture("flv"),
    "msmpeg4": _picture("msmpeg4"),
    "msmpeg4v2": _picture("msmpeg4v2"),
    "wmv1": _picture("wmv1"),
    "wmv2": _picture("wmv2"),
    "mjpeg": _picture("mjpeg", "yuvj420p"),
    "prores": _picture("prores", "yuv422p10le"),
    "dnxhd": Picture("dnxhd", 256, 128, 5, pix_fmt="yuv422p", options=(("profile", "dnxhr_lb"),)),
    "ffv1": _picture("ffv1"),
    "huffyuv": _picture("huffyuv", "yuv422p"),
    "ffvhuff": _picture("ffvhuff"),
    "rawvideo": _picture("rawvideo", width=16, height=16),
    "gif": _picture("gif", "rgb8"),
}
"""By the name of the decoder."""

SOUNDS: dict[str, Sound] = {
    "aac": _sound("aac"),
    "mp3": _sound("libmp3lame"),
    "mp2": _sound("mp2"),
    "opus": _sound("libopus", 48_000),
    "vorbis": Sound("vorbis", channels=2, seconds=0.2, options=(("strict", "experimental"),)),
    "flac": _sound("flac"),
    "alac": _sound("alac"),
    "ac3": _sound("ac3", 32_000),
    "eac3": _sound("eac3", 32_000),
    "amrnb": _sound("libopencore_amrnb", 8_000),
    **{name: Sound(name, 44_100, seconds=0.2, bit_rate=64_000) for name in ("wmav1", "wmav2")},
    **{name: _sound(name) for name in ("adpcm_ms", "adpcm_ima_wav", "adpcm_ima_qt", "pcm_alaw", "pcm_mulaw")},
    **{f"pcm_{name}": _sound(f"pcm_{name}", 8_000) for name in ("u8", "s8", "s16le", "s16be", "s24le", "s24be")},
    **{f"pcm_{name}": _sound(f"pcm_{name}", 8_000) for name in ("s32le", "s32be", "f32le", "f32be", "f64le", "f64be")},
}
"""By the name of the decoder."""

_QUICKTIME_SOUND = ("alac", "adpcm_ima_qt", "pcm_s8", "pcm_s16be", "pcm_s24le", "pcm_s32be", "pcm_f32be", "pcm_f64le")
_MUXED: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "mov": (("h264", "mpeg4", "mjpeg", "prores", "dnxhd", "rawvideo"), _QUICKTIME_SOUND),
    "mp4": (("h264", "hevc", "av1", "vp9", "mpeg4", "mpeg2video"), ("aac", "mp3", "ac3", "eac3", "opus", "flac")),
    "ipod": ((), ("aac", "alac")),
    "3gp": (("h263", "h264"), ("aac", "amrnb")),
    "3g2": (("h263", "mpeg4"), ("aac", "amrnb")),
    "matroska": (
        ("h264", "hevc", "av1", "vp8", "mpeg1video", "ffv1", "prores", "rawvideo"),
        ("vorbis", "flac", "pcm_f32le", "pcm_f64le", "pcm_s24le", "eac3", "alac", "mp2"),
    ),
    "webm": (("vp8", "vp9", "av1"), ("opus", "vorbis")),
    "avi": (
        ("mpeg4", "msmpeg4", "msmpeg4v2", "wmv1", "wmv2", "huffyuv", "ffvhuff", "ffv1", "mjpeg", "h263", "rawvideo"),
        ("mp3", "pcm_s16le", "pcm_u8", "adpcm_ms", "ac3"),
    ),
    "mpegts": (("h264", "hevc", "mpeg2video"), ("aac", "mp2", "mp3", "ac3", "opus")),
    "mpeg": (("mpeg1video", "mpeg2video"), ("mp2", "ac3")),
    "flv": (("flv", "h264"), ("aac", "pcm_s16le")),
    "asf": (("wmv1", "wmv2", "msmpeg4"), ("wmav1", "wmav2", "mp3")),
    "gif": (("gif",), ()),
    "ogg": ((), ("vorbis", "opus", "flac")),
    "wav": (
        (),
        (
            *("pcm_u8", "pcm_s16le", "pcm_s24le", "pcm_s32le", "pcm_f32le", "pcm_f64le"),
            *("pcm_alaw", "pcm_mulaw", "adpcm_ms", "adpcm_ima_wav", "wmav2", "mp3"),
        ),
    ),
    "w64": ((), ("pcm_s16le", "pcm_f32le")),
    "aiff": ((), ("pcm_s8", "pcm_s16be", "pcm_s24be", "pcm_s32be", "pcm_f32be", "pcm_f64be")),
    "au": ((), ("pcm_s16be", "pcm_f64be", "pcm_mulaw")),
    "caf": ((), ("pcm_s16be", "pcm_s32le", "alac", "flac")),
    "flac": ((), ("flac",)),
    "mp3": ((), ("mp3",)),
    "adts": ((), ("aac",)),
    "amr": ((), ("amrnb",)),
}
"""By FFmpeg's muxer: what it is written with."""

_DEMUXERS = {"ipod": "m4a", "adts": "aac"}
"""Where it has another name than the muxer."""


@lru_cache(maxsize=1)
def media_files() -> tuple[tuple[Seed, ...], tuple[Unwritten, ...]]:
    """The files with picture or sound, and those that cannot be written."""
    seeds: list[Seed] = []
    missing: list[Unwritten] = []
    for muxer, (pictures, sounds) in _MUXED.items():
        streams: list[tuple[str, tuple[Picture | Sound, ...]]] = [
            *((name, (PICTURES[name],)) for name in pictures),
            *((name, (SOUNDS[name],)) for name in sounds),
        ]
        if pictures and sounds:
            streams.append((f"{pictures[0]} + {sounds[0]}", (PICTURES[pictures[0]], SOUNDS[sounds[0]])))
        for name, parts in streams:
            label = f"{_DEMUXERS.get(muxer, muxer)}, {name}"
            try:
                content = render(muxer, *parts)
            except Exception as exc:  # noqa: BLE001 - whatever a build of FFmpeg lacks
                missing.append(Unwritten(label, str(exc)))
                continue
            seeds.append(Seed(label, "video" if isinstance(parts[0], Picture) else "audio", content))
    return (*seeds, *_by_hand()), tuple(missing)


def _by_hand() -> Iterator[Seed]:
    """Files of what nothing here encodes: the labels are right, what is inside is another codec's."""
    avi, wav = render("avi", PICTURES["mpeg4"]), render("wav", SOUNDS["wmav2"])
    for name, tag in (("msmpeg4v1", b"MP41"), ("wmv3", b"WMV3"), ("vc1", b"WVC1"), ("theora", b"theo")):
        yield Seed(f"avi, {name}", "video", avi.replace(b"FMP4", tag))
    yield Seed("wav, wmapro", "audio", overwrite(wav, b"fmt ", 4, struct.pack("<H", 0x0162)))
    amr = render("amr", SOUNDS["amrnb"])
    yield Seed("amr, amrwb", "audio", amr.replace(b"#!AMR\n", b"#!AMR-WB\n"))
    yield Seed("mp3, mp1", "audio", (b"\xff\xff\x18\xc0" + bytes(range(44))) * 20)  # 32 kbit/s, 32 kHz
    yield Seed("mp3 with a cover", "audio", with_cover(render("mp3", SOUNDS["mp3"]), plain_png(32, 32)))
    latm = io.BytesIO()
    with (
        av.open(latm, "w", format="mpegts", options={"mpegts_flags": "latm"}) as output,
        av.open(io.BytesIO(render("mp4", SOUNDS["aac"])), "r") as source,
    ):
        stream = output.add_stream_from_template(source.streams.audio[0])
        for packet in source.demux(source.streams.audio[0]):
            if packet.size:
                packet.stream = stream
                output.mux(packet)
    yield Seed("mpegts, aac_latm", "audio", latm.getvalue())


@lru_cache(maxsize=1)
def picture_files() -> tuple[tuple[Seed, ...], tuple[Unwritten, ...]]:
    """Pictures of each format."""
    seeds: list[Seed] = []
    missing: list[Unwritten] = []
    wanted = {"png": "rgb24", "mjpeg": "yuvj420p", "bmp": "bgr24", "libwebp": "yuv420p", "apng": "rgb24", "gif": "rgb8"}
    for codec, pix_fmt in wanted.items():
        name = {"libwebp": "webp"}.get(codec, codec)
        try:
            seeds.append(Seed(f"picture, {name}", "image", _still(codec, pix_fmt)))
        except Exception as exc:  # noqa: BLE001 - whatever a build of FFmpeg lacks
            missing.append(Unwritten(f"picture, {name}", str(exc)))
    return tuple(seeds), tuple(missing)


def _still(codec: str, pix_fmt: str) -> bytes:
    file = io.BytesIO()
    muxer = {"apng": "apng", "gif": "gif"}.get(codec, "image2pipe")
    with av.open(file, "w", format=muxer) as output:
        stream: Any = output.add_stream(codec, rate=25)
        stream.width, stream.height, stream.pix_fmt = 40, 30, pix_fmt
        for place in range(3 if codec == "apng" else 1):  # one picture would make it a plain PNG
            frame = VideoFrame.from_ndarray(frame_image(place, 40, 30), format="rgb24")
            frame.pts = place
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    return file.getvalue()


def uncovered() -> dict[str, set[str]]:
    """What is allowed and has no file here that a decoder takes for it, by kind."""
    seen: dict[str, set[str]] = {"containers": set(), "codecs": set()}
    for seed in (*media_files()[0], *picture_files()[0]):
        try:
            with av.open(io.BytesIO(seed.content), metadata_errors="replace") as opened:
                seen["containers"].update(opened.format.name.split(","))
                contexts = [stream.codec_context for stream in opened.streams]
                seen["codecs"].update(context.name for context in contexts if context is not None)
        except Exception:  # noqa: BLE001, S112 - what is written by hand need not decode
            continue
    return {
        "containers": {*CONTAINERS, *PICTURE_FORMATS} - seen["containers"],
        "codecs": {*VIDEO_CODECS, *AUDIO_CODECS, *PICTURE_CODECS} - seen["codecs"],
    }
