"""Small files that ask for much memory or time, each made by code in a moment."""

from __future__ import annotations

import ctypes
import io
import re
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
from av.packet import Packet

from benchmarks.hostile.files import SOUNDS
from benchmarks.hostile.mutators import with_checksums
from handler.container import MAX_ALLOCATION_BYTES
from tests.media import X264, Picture, overwrite, render

MEBIBYTE = 2**20


def deflate(num_bytes: int) -> bytes:
    """Zeros as zlib packs them best."""
    packer = zlib.compressobj(9)
    parts = [packer.compress(bytes(min(MEBIBYTE, num_bytes - place))) for place in range(0, num_bytes, MEBIBYTE)]
    return b"".join((*parts, packer.flush()))


def _atom(kind: bytes, *contents: bytes) -> bytes:
    body = b"".join(contents)
    return struct.pack(">I", 8 + len(body)) + kind + body


def _mp4() -> bytes:
    return render("mp4", Picture(width=48, height=32, num_frames=5, options=X264))


def many_samples(count: int = 50_000_000) -> bytes:
    """An mp4 of a few KB that declares as many samples, of a byte each."""
    content = overwrite(_mp4(), b"stsz", 4, struct.pack(">II", 1, count))
    content = overwrite(content, b"stts", 4, struct.pack(">III", 1, count, 1))
    return overwrite(content, b"stsc", 4, struct.pack(">IIII", 1, 1, count, 1))


def fragment_of_many_samples(count: int = 50_000_000, runs: int = 1) -> bytes:
    """A fragment whose runs take no byte for each of their samples."""
    header = _atom(b"tfhd", struct.pack(">IIII", 0x020018, 1, 1, 1))  # a default duration and size of 1
    run = _atom(b"trun", struct.pack(">III", 1, count, 0))
    sequence = _atom(b"mfhd", struct.pack(">II", 0, 1))
    return _fragmented() + _atom(b"moof", sequence, _atom(b"traf", header, run * runs)) + _atom(b"mdat", bytes(64))


def _fragmented() -> bytes:
    file = io.BytesIO()
    with av.open(file, "w", format="mp4", options={"movflags": "frag_keyframe+empty_moov+default_base_moof"}) as output:
        stream: Any = output.add_stream("libx264", rate=25, options=dict(X264))
        stream.width, stream.height = 48, 32
        output.mux(stream.encode(av.VideoFrame(48, 32, "yuv420p")))
        output.mux(stream.encode(None))
    content = file.getvalue()
    return content[: content.index(b"moof") - 4]


def packed_header(num_bytes: int = 900 * 10**6) -> bytes:
    """A mov whose header is packed (cmov) and grows to as much."""
    packed = _atom(b"cmvd", struct.pack(">I", num_bytes), deflate(num_bytes))
    header = _atom(b"moov", _atom(b"cmov", _atom(b"dcom", b"zlib"), packed))
    return _atom(b"ftyp", b"qt  \0\0\0\0qt  ") + header + _atom(b"mdat", bytes(8))


def large_png(width: int, height: int, text_bytes: int = 0) -> bytes:
    """A black PNG of colours; ``text_bytes`` of packed text stand before its pixels."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    text = chunk(b"zTXt", b"a\0\0" + deflate(text_bytes)) if text_bytes else b""
    pixels = chunk(b"IDAT", deflate((3 * width + 1) * height))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + text + pixels + chunk(b"IEND", b"")


@contextmanager
def _any_allocation() -> Iterator[None]:
    """Without the cap that :mod:`handler.container` sets: to encode such frames takes more."""
    maps = Path("/proc/self/maps").read_text(encoding="utf-8")
    libraries = [ctypes.CDLL(path) for path in sorted(set(re.findall(r"\S*/libavutil\S*", maps)))]
    try:
        for library in libraries:
            library.av_max_alloc(ctypes.c_size_t(2**31 - 1))
        yield
    finally:
        for library in libraries:
            library.av_max_alloc(ctypes.c_size_t(MAX_ALLOCATION_BYTES))


def large_frames(width: int, height: int, num_frames: int, rate: int, seconds: float | None = None) -> bytes:
    """An mp4 of one picture, encoded once, and of many that repeat it."""
    file, encoded = io.BytesIO(), []
    with _any_allocation(), av.open(file, "w", format="mp4") as output:
        stream: Any = output.add_stream("libx264", rate=rate, options={**dict(X264), "g": "1000000"})
        stream.width, stream.height = width, height
        for place in range(2):
            frame = av.VideoFrame(width, height, "yuv420p")
            for plane in frame.planes:
                plane.update(bytes([128]) * plane.buffer_size)
            frame.pts = place
            encoded += stream.encode(frame)
        encoded += stream.encode(None)
        tick = Fraction(1, rate) if seconds is None else Fraction(seconds) / num_frames
        for place in range(num_frames):
            packet: Any = Packet(bytes(encoded[min(place, 1)]))
            packet.pts = packet.dts = round(place * tick * 90_000)
            packet.time_base, packet.is_keyframe, packet.stream = Fraction(1, 90_000), place == 0, stream
            output.mux(packet)
    return file.getvalue()


def wav(rate: int, num_bytes: int = 4 * MEBIBYTE) -> bytes:
    """A WAV of 8 bits that declares any rate."""
    form = struct.pack("<HHIIHH", 1, 1, rate, rate, 1, 8)
    body = b"WAVEfmt " + struct.pack("<I", len(form)) + form + b"data" + struct.pack("<I", num_bytes) + bytes(num_bytes)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def silent_opus(seconds: int = 36_000, *, declares: bool = False) -> bytes:
    """Opus of 120 ms a packet in Ogg, whose pages declare its length or that they end within a second."""
    packets_a_page, serial = 255, 7

    def page(number: int, flags: int, place: int, packets: list[bytes]) -> bytes:
        head = struct.pack("<4sBBqIIIB", b"OggS", 0, flags, place, serial, number, 0, len(packets))
        return head + bytes(len(packet) for packet in packets) + b"".join(packets)

    num_pages = int(seconds / 0.12 / packets_a_page)
    head = b"OpusHead" + struct.pack("<BBHIhB", 1, 1, 0, 48_000, 0, 0)
    tags = b"OpusTags" + struct.pack("<I", 1) + b"x" + struct.pack("<I", 0)
    packet = bytes([0xF8 | 3, 6])  # CELT, 20 ms, six frames of one length, which is none
    pages = [page(0, 2, 0, [head]), page(1, 0, 0, [tags])]
    for number in range(num_pages):
        place = (number + 1) * packets_a_page * 5760 if declares else min(48_000, (number + 1) * 48_000 // num_pages)
        pages.append(page(number + 2, 4 * (number == num_pages - 1), place, [packet] * packets_a_page))
    return bytes(with_checksums(bytearray(b"".join(pages))))


def many_tags(count: int = 150_000) -> bytes:
    """An Ogg whose comments all have another name: each is compared with all before it."""
    comments = b"".join(struct.pack("<I", len(tag)) + tag for tag in (b"k%d=v" % place for place in range(count)))
    tags = b"OpusTags" + struct.pack("<I", 1) + b"x" + struct.pack("<I", count) + comments
    segments = [tags[place : place + 255 * 255] for place in range(0, len(tags), 255 * 255)]
    good = render("ogg", SOUNDS["opus"])
    first, second = (place for place in range(len(good)) if good[place : place + 4] == b"OggS" and place)
    serial = good[14:18]
    pages = []
    for number, segment in enumerate(segments):
        full, rest = divmod(len(segment), 255)
        lacing = bytes([255] * full) + (bytes([rest]) if number == len(segments) - 1 else b"")
        flags = 0 if number == 0 else 1
        head = struct.pack("<4sBBq4sIIB", b"OggS", 0, flags, 0, serial, number + 1, 0, len(lacing))
        pages.append(head + lacing + segment)
    last = bytearray(good[second:])
    struct.pack_into("<I", last, 18, len(segments) + 1)
    return bytes(with_checksums(bytearray(good[:first] + b"".join(pages) + bytes(last))))


def _element(kind: bytes, *contents: bytes) -> bytes:
    body = b"".join(contents)
    return kind + (len(body) | 1 << 56).to_bytes(8) + body


def packed_blocks(num_blocks: int = 600, num_bytes: int = 9 * 10**6) -> bytes:
    """A matroska file, each block of which is packed and grows to as much."""
    encoding = _element(
        b"\x6d\x80",
        _element(b"\x62\x40", _element(b"\x50\x33", b"\0"), _element(b"\x50\x34", _element(b"\x42\x54", b"\0"))),
    )
    sound = _element(
        b"\xe1",
        _element(b"\xb5", struct.pack(">d", 48_000.0)),
        _element(b"\x9f", b"\1"),
        _element(b"\x62\x64", b"\x08"),
    )
    track = _element(
        b"\xae",
        _element(b"\xd7", b"\1"),
        _element(b"\x73\xc5", b"\1"),
        _element(b"\x83", b"\2"),
        _element(b"\x86", b"A_PCM/INT/LIT"),
        sound,
        encoding,
    )
    block = _element(b"\xa3", b"\x81\0\0\x80", deflate(num_bytes))
    cluster = _element(b"\x1f\x43\xb6\x75", _element(b"\xe7", b"\0"), block * num_blocks)
    head = _element(b"\x1a\x45\xdf\xa3", _element(b"\x42\x82", b"matroska"))
    return head + _element(b"\x18\x53\x80\x67", _element(b"\x16\x54\xae\x6b", track), cluster)


def many_tracks(count: int = 900) -> bytes:
    """A matroska file of as many tracks without a packet."""
    track = b"".join(
        _element(
            b"\xae",
            _element(b"\xd7", struct.pack(">H", place + 1)),
            _element(b"\x83", b"\1"),
            _element(b"\x86", b"V_MPEG4/ISO/AVC"),
        )
        for place in range(count)
    )
    head = _element(b"\x1a\x45\xdf\xa3", _element(b"\x42\x82", b"matroska"))
    return head + _element(b"\x18\x53\x80\x67", _element(b"\x16\x54\xae\x6b", track))


def tracks_of_many_samples(num_tracks: int = 16, count: int = 2_600_000) -> bytes:
    """An mp4 whose tracks each declare what the cap on one piece of memory just lets pass."""
    content = many_samples(count)
    start = content.index(b"moov") - 4
    stop = start + int.from_bytes(content[start : start + 4])
    track_at = content.index(b"trak") - 4
    track = content[track_at : track_at + int.from_bytes(content[track_at : track_at + 4])]
    moov = _atom(b"moov", content[start + 8 : track_at] + track * num_tracks)
    return content[:start] + moov + content[stop:]


def progressive_jpeg(side: int = 4000, num_scans: int = 2000) -> bytes:
    """A JPEG that is drawn again and again: each scan goes over all of its pixels."""

    def segment(marker: int, content: bytes) -> bytes:
        return bytes([0xFF, marker]) + struct.pack(">H", len(content) + 2) + content

    tables = segment(0xDB, b"\0" + bytes([1] * 64))
    frame = segment(0xC2, struct.pack(">BHHB", 8, side, side, 1) + bytes([1, 0x11, 0]))
    huffman = segment(0xC4, b"\0" + bytes([1] + [0] * 15) + b"\0") + segment(
        0xC4, b"\x10" + bytes([1, 1] + [0] * 14) + b"\0\xe0"
    )
    first = segment(0xDA, bytes([1, 1, 0x00, 0, 0, 0x00])) + bytes(side * side // 64 // 8)
    scan = segment(0xDA, bytes([1, 1, 0x00, 1, 63, 0x00])) + b"\xbf" * 8
    return b"\xff\xd8" + tables + frame + huffman + first + scan * num_scans + b"\xff\xd9"


def staggered_cues(count: int = 80, seconds: int = 590) -> bytes:
    """Long cues that begin one after the other and all last until the end: on each hop stands another text."""
    words = "\U0001f372" * 1_100
    starts = (f"00:{place // 60:02}:{place % 60:02}.000" for place in range(count))
    stop = f"00:{seconds // 60:02}:{seconds % 60:02}.000"
    return ("WEBVTT\n\n" + "".join(f"{start} --> {stop}\n{start} {words}\n\n" for start in starts)).encode()


def many_boxes(count: int = 1_000_000) -> bytes:
    """An mp4 with as many empty boxes after it."""
    return _mp4() + _atom(b"free") * count


def crowded_cues(count: int = 4_900, seconds: int = 590) -> bytes:
    """Cues that all last as long as the clip: each stands on every hop."""
    time = f"00:{seconds // 60:02}:{seconds % 60:02}.000"
    return ("WEBVTT\n\n" + "".join(f"00:00.000 --> {time}\n{place:x}\n\n" for place in range(count))).encode()[:99_000]


def flac_of_nothing(rate: int = 192_000, channels: int = 8, seconds: int = 590) -> bytes:
    """FLAC in which 65,535 samples of each channel take a few bytes."""
    block = 65_535
    num_frames = seconds * rate // block
    info = struct.pack(">HH", block, block) + bytes(6)
    info += ((rate << 44) | ((channels - 1) << 41) | (15 << 36) | (num_frames * block)).to_bytes(8) + bytes(16)
    frames = []
    for number in range(num_frames):
        head = (
            bytes([0xFF, 0xF8, 0x7C, (channels - 1) << 4 | 0x08])
            + _utf8(number)
            + struct.pack(">HB", block - 1, rate // 1000)
        )
        head += bytes([_crc(head, 0x07, 8)])
        body = head + bytes(3) * channels  # a constant subframe: its kind, and 16 bits
        frames.append(body + _crc(body, 0x8005, 16).to_bytes(2))
    return b"fLaC\x80" + len(info).to_bytes(3) + info + b"".join(frames)


def _utf8(number: int) -> bytes:
    return chr(number).encode("utf-8", "surrogatepass")


def _crc(data: bytes, polynomial: int, width: int) -> int:
    total = 0
    for byte in data:
        total ^= byte << (width - 8)
        for _ in range(8):
            total = (total << 1) ^ (polynomial if total >> (width - 1) else 0)
            total &= (1 << width) - 1
    return total
