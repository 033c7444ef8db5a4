"""Media files that are broken, that lie, or that are only odd: what to do with each stands beside it."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator
from fractions import Fraction
from functools import lru_cache
from typing import Any

import av
import numpy as np

from tests.hostile.item import OK, Item, body, parts
from tests.media import X264, Picture, Sound, frame_image, gif, overwrite, png, render, with_cover, with_display_matrix

_PICTURE = Picture(num_frames=12, width=32, height=32, options=X264)
_SOUND = Sound(seconds=0.5)
_PCM = Sound(codec="pcm_s16le", seconds=0.5)


@lru_cache
def movie(container: str = "mp4") -> bytes:
    """Half a second of picture and sound."""
    return render(container, _PICTURE, _SOUND)


@lru_cache
def wav() -> bytes:
    """Half a second of sound."""
    return render("wav", _PCM)


def waveform(rate: int, channels: int, bits: int, samples: bytes, kind: int = 1) -> bytes:
    """A WAV of any header; kind 1 is PCM, 3 floats."""
    width = channels * bits // 8
    layout = struct.pack("<HHIIHH", kind, channels, rate, (rate * width) & 0xFFFFFFFF, width & 0xFFFF, bits)
    chunks = b"fmt " + struct.pack("<I", len(layout)) + layout + b"data" + struct.pack("<I", len(samples)) + samples
    return b"RIFF" + struct.pack("<I", 4 + len(chunks)) + b"WAVE" + chunks


def floats(*values: float, kind: str = "<f4") -> bytes:
    """A WAV of half a second at 16 kHz: a sine with these values at its beginning."""
    samples = np.sin(np.arange(8_000) / 6.0).astype(kind)
    samples[: len(values)] = values
    return waveform(16_000, 1, samples.itemsize * 8, samples.tobytes(), kind=3)


def boxes(mp4: bytes) -> dict[bytes, bytes]:
    """The boxes of the first level."""
    found, place = {}, 0
    while place < len(mp4):
        size = int.from_bytes(mp4[place : place + 4], "big")
        found[mp4[place + 4 : place + 8]] = mp4[place : place + size]
        place += size
    return found


def many_streams(count: int) -> bytes:
    """A Matroska file of this many streams of sound, and a picture first."""
    short = Sound(codec="pcm_s16le", seconds=0.1, rate=8_000)
    return render("matroska", _PICTURE, *[short] * (count - 1))


@lru_cache
def with_attached_picture() -> bytes:
    """An mp4 with a picture, and a cover beside it."""
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as output:
        stream: Any = output.add_stream("libx264", rate=25, options=dict(X264))
        stream.width = stream.height = 32
        stream.pix_fmt = "yuv420p"
        cover: Any = output.add_stream("mjpeg", rate=1)
        cover.width = cover.height = 16
        cover.pix_fmt = "yuvj420p"
        cover.disposition = av.stream.Disposition.attached_pic
        for place in range(12):
            frame = av.VideoFrame.from_ndarray(frame_image(place, 32, 32), format="rgb24")
            frame.pts, frame.time_base = place, Fraction(1, 25)
            output.mux(stream.encode(frame))
        still = av.VideoFrame.from_ndarray(frame_image(0, 16, 16), format="rgb24").reformat(format="yuvj420p")
        output.mux(cover.encode(still))
        output.mux([*cover.encode(None), *stream.encode(None)])
    return file.getvalue()


def wrapping(mpegts: bytes, shift: int) -> bytes:
    """An MPEG transport stream whose 33-bit clock is moved on, so that it passes its end."""

    def moved(stamp: bytes) -> bytes:
        value = ((stamp[0] >> 1 & 7) << 30) | (int.from_bytes(stamp[1:3], "big") >> 1) << 15
        value = (value | int.from_bytes(stamp[3:5], "big") >> 1) + shift & (1 << 33) - 1
        first = stamp[0] & 0xF1 | (value >> 30) << 1
        return (
            bytes([first])
            + ((value >> 15 & 0x7FFF) << 1 | 1).to_bytes(2, "big")
            + ((value & 0x7FFF) << 1 | 1).to_bytes(2, "big")
        )

    found = bytearray(mpegts)
    for start in range(0, len(found), 188):
        payload = start + 4 + (1 + found[start + 4] if found[start + 3] & 0x20 else 0)
        if found[start + 1] & 0x40 and found[payload : payload + 3] == b"\0\0\1":
            flags = found[payload + 7] >> 6
            for place in range(payload + 9, payload + 9 + 5 * flags.bit_count(), 5):
                found[place : place + 5] = moved(bytes(found[place : place + 5]))
    return bytes(found)


def declared_png(width: int, height: int) -> bytes:
    """A PNG that declares more pixels than it has."""
    large, small = struct.pack(">II", width, height), png(8, 8)
    header = b"IHDR" + large + small[24:29]
    return small[:12] + header + struct.pack(">I", zlib.crc32(header)) + small[33:]


def any_png(width: int, height: int, bit_depth: int, colour: int) -> bytes:
    """A PNG of any kind of pixel, which are all zero."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    channels = {0: 1, 2: 3, 4: 2, 6: 4}[colour]
    row = 1 + width * channels * bit_depth // 8
    header = struct.pack(">IIBBBBB", width, height, bit_depth, colour, 0, 0, 0)
    pixels = zlib.compress(bytes(row * height))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def odd_media() -> Iterator[Item]:
    """Files that decode, each odd in one way: all of them are answered."""

    def film(name: str, content: bytes) -> Item:
        return parts(f"odd: {name}", 200, OK, {"video": content})

    def lossless(pix_fmt: str, width: int = 32, height: int = 32) -> bytes:
        return render("matroska", Picture("ffv1", width, height, 4, pix_fmt=pix_fmt))

    for pix_fmt in ("yuv420p10le", "yuv444p", "yuva420p", "yuv444p16le", "gray", "gray16le", "bgra", "gbrp10le"):
        yield film(pix_fmt, lossless(pix_fmt))
    yield film("odd size", lossless("yuv420p", 37, 23))
    yield film("one pixel", lossless("yuv444p", 1, 1))
    yield film("palette", render("gif", Picture("gif", 32, 32, 4, pix_fmt="rgb8")))
    yield film("one frame", render("mp4", Picture(num_frames=1, width=32, height=32, options=X264)))
    yield film("rotated", with_display_matrix(render("mp4", _PICTURE), (0, 1, -1, 0)))
    yield film("slanted", with_display_matrix(render("mp4", _PICTURE), (1, 1, -1, 1)))
    yield film("no rotation at all", with_display_matrix(render("mp4", _PICTURE), (0, 0, 0, 0)))
    shown = tuple(range(-400, 80, 40))
    yield film("negative timestamps", render("matroska", Picture("ffv1", 32, 32, 12, pts_ms=shown)))
    yield film("variable rate", render("matroska", Picture("ffv1", 32, 32, 4, pts_ms=(0, 10, 400, 410))))
    ts = render("mpegts", Picture(num_frames=25, width=32, height=32, options=X264))
    yield film("clock that wraps", wrapping(ts, (1 << 33) - 90_000 * 2))
    later = Picture(num_frames=5, width=64, height=48, options=X264, pts_ms=tuple(range(480, 680, 40)))
    yield film("size that changes", render("mpegts", _PICTURE) + render("mpegts", later))
    adts = [render("adts", Sound(seconds=0.3, rate=rate)) for rate in (16_000, 44_100)]
    yield parts("odd: rate that changes", 200, OK, {"audio": adts[0] + adts[1]})
    stereo = render("adts", Sound(seconds=0.3, channels=2))
    yield parts("odd: channels that change", 200, OK, {"audio": adts[0] + stereo})
    yield film("16 streams", many_streams(16))
    yield film("attached picture", with_attached_picture())
    mp3 = render("mp3", Sound(codec="libmp3lame"))
    yield film("sound with a huge cover", with_cover(mp3, declared_png(16_000, 16_000)))
    yield body("odd: sound as a body", 200, OK, wav(), "audio/wav")
    tags = overwrite(render("matroska", _PICTURE), b"\x4d\x80", 1, b"\xff\xfe\x80")
    yield film("writer's name that is not UTF-8", tags)
    title = b"TIT2" + struct.pack(">I", 6) + b"\0\0" + b"\x03\xff\xfe\x80\xc0\xed"
    id3 = b"ID3\x03\0\0" + bytes([0, 0, 0, len(title)]) + title
    yield film("title that is not UTF-8", id3 + mp3)
    yield film("bytes after the end", movie() + bytes(5_000))
    yield film("transport stream that is cut", ts[: len(ts) * 2 // 3 // 188 * 188 + 77])
    yield film("Matroska that is cut", movie("matroska")[: len(movie("matroska")) * 3 // 4])
    yield parts("odd: sound that is cut", 200, OK, {"audio": wav()[: len(wav()) // 2 + 1]})
    yield parts("odd: as many channels as are allowed", 200, OK, {"audio": waveform(16_000, 8, 16, bytes(32_000))})
    yield parts("odd: 8 bits", 200, OK, {"audio": waveform(16_000, 1, 8, bytes(range(256)) * 30)})
    for name, values in {"NaN": (np.nan,), "infinity": (np.inf, -np.inf), "huge": (3e38, -3e38)}.items():
        yield parts(f"odd: {name} in samples", 200, OK, {"audio": floats(*values)})
    yield parts("odd: 1e300 in samples", 200, OK, {"audio": floats(1e300, -1e300, kind="<f8")})
    yield parts("odd: nothing but NaN", 200, OK, {"audio": floats(*[np.nan] * 8_000)})
    for bits, colour in ((16, 2), (8, 0), (8, 4), (8, 6), (16, 6)):
        yield parts(f"odd: PNG of kind {colour} with {bits} bits", 200, OK, {"image": any_png(5, 7, bits, colour)})
    yield parts("odd: GIF that moves as a picture", 200, OK, {"image": gif(5, 3, 9)})
    yield parts("odd: colours as depth", 200, OK, {"depth": movie()})


def broken_media() -> Iterator[Item]:
    """Files that are refused."""
    broken, unsupported = (422, "undecodable_media"), (415, "unsupported_media")
    neither = (422, "no_usable_modality")
    mp4 = boxes(movie())
    start = movie().index(b"mdat") + 4
    stop = start - 8 + len(mp4[b"mdat"])
    webm = movie("matroska")
    films = {
        "empty": (b"", *broken),
        "one byte": (b"\0", *broken),
        "zeros": (bytes(5_000), *broken),
        "random bytes": (np.random.default_rng(0).bytes(5_000), *broken),
        "cut": (movie()[: len(movie()) // 2], *broken),
        "no moov": (mp4[b"ftyp"] + mp4[b"mdat"], *broken),
        "no mdat": (mp4[b"ftyp"] + mp4[b"moov"], *neither),
        "ftyp alone": (mp4[b"ftyp"], *broken),
        "frames of zeros": (movie()[:start] + bytes(stop - start) + movie()[stop:], *neither),
        "no clusters": (webm[: webm.index(b"\x1f\x43\xb6\x75")], *broken),
        "text": (b"stir the soup, " * 40, *broken),
        "HTML": (b"<!DOCTYPE html><html><body>" + b"<p>video</p>" * 50, *broken),
        "PNG": (png(8, 8), *unsupported),
        "PDF": (b"%PDF-1.7\n1 0 obj << /Type /Catalog >> endobj\n" * 20, *broken),
        "ZIP": (b"PK\x03\x04\x14\0\0\0\x08\0" + bytes(200), *broken),
        "ELF": (b"\x7fELF\x02\x01\x01" + bytes(500), *broken),
        "SVG": (b'<svg xmlns="http://www.w3.org/2000/svg"><image href="file:///etc/passwd"/></svg>', *unsupported),
        "playlist": (b"#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\nfile:///etc/passwd\n", *broken),
        "ffconcat": (b"ffconcat version 1.0\nfile /etc/passwd\n", *unsupported),
        "SDP": (b"v=0\no=- 0 0 IN IP4 127.0.0.1\nc=IN IP4 127.0.0.1\nm=video 5004 RTP/AVP 96\n", *unsupported),
        "codec that is not allowed": (render("mov", Picture("png", 16, 16, 3, pix_fmt="rgb24")), *unsupported),
        "cover and no sound": (with_cover(b"", png(8, 8)), *broken),
        "17 streams": (many_streams(17), 413, "limit_streams"),
        "16000 x 16000": (gif(16_000, 16_000, 3), 413, "limit_frame_pixels"),
        "no size": (gif(0, 0, 3), *broken),
    }
    for name, (content, status, code) in films.items():
        yield parts(f"video: {name}", status, code, {"video": content})
        if content:
            yield body(f"body: {name}", status, code, content, "video/mp4")
    late = Sound(codec="pcm_s16le", seconds=0.3, pts_ms=(700_000, 700_100, 700_200))
    yield parts("video: 700 s long", 413, "limit_seconds", {"video": render("matroska", _PICTURE, late)})
    sounds = {
        "empty": (b"", *broken),
        "text": (b"stir the soup, " * 40, *broken),
        "header alone": (wav()[:44], *broken),
        "no samples": (waveform(16_000, 1, 16, b""), *broken),
        "0 Hz": (waveform(0, 1, 16, bytes(3_200)), *broken),
        "1 Hz": (waveform(1, 1, 16, bytes(20)), 413, "limit_sample_rate"),
        "1 Hz for long": (waveform(1, 1, 16, bytes(3_200)), 413, "limit_seconds"),
        "8 Hz": (waveform(8, 1, 16, bytes(3_200)), 413, "limit_sample_rate"),
        "1 GHz": (waveform(10**9, 1, 16, bytes(3_200)), 413, "limit_sample_rate"),
        "9 channels": (waveform(16_000, 9, 16, bytes(18_000)), 413, "limit_channels"),
        "no channels": (waveform(16_000, 0, 16, bytes(3_200)), *broken),
        "picture alone": (render("mp4", _PICTURE), *neither),
    }
    for name, (content, status, code) in sounds.items():
        yield parts(f"audio: {name}", status, code, {"audio": content})
    images = {
        "empty": (b"", *broken),
        "text": (b"stir the soup, " * 40, *broken),
        "video": (movie(), *unsupported),
        "sound": (wav(), *unsupported),
        "cut": (png(50, 50)[:60], *broken),
        "header alone": (png(50, 50)[:33], *broken),
        "16000 x 16000": (declared_png(16_000, 16_000), 413, "limit_image_pixels"),
        "SVG": (b'<svg xmlns="http://www.w3.org/2000/svg"/>', *unsupported),
    }
    for name, (content, status, code) in images.items():
        yield parts(f"image: {name}", status, code, {"image": content})
    yield parts("depth: sound alone", *neither, {"depth": wav()})
    yield parts("depth: empty", *broken, {"depth": b""})
    yield parts("several: all broken", 422, "no_usable_modality", {"video": b"no", "audio": b"no", "image": b"no"})
    yield parts("several: one good", 200, OK, {"video": b"no", "audio": b"no", "image": b"no", "text": b"stir"})
