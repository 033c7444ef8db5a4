"""Files that ask a decoder to read other files, or to call somebody: each names a file and an address."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks.hostile.files import PICTURES, SOUNDS
from benchmarks.hostile.requests import Request
from tests.media import render


@dataclass(frozen=True)
class Reaching:
    """A request that reaches for what it is not given."""

    name: str
    request: Request
    file_name: str | None = None
    """What the client calls the file, which a decoder must never learn."""


def _svg(url: str) -> bytes:
    image = f'<image xlink:href="{url}"/>'
    return f'<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink">{image}</svg>'.encode()


def _mpd(url: str) -> bytes:
    segments = f'<BaseURL>{url}</BaseURL><SegmentTemplate media="{url}" initialization="{url}" duration="1"/>'
    inner = f'<AdaptationSet mimeType="video/mp4"><Representation id="1">{segments}</Representation></AdaptationSet>'
    return (
        '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static" '
        f'mediaPresentationDuration="PT2S"><Period>{inner}</Period></MPD>'
    ).encode()


def _m3u8(*urls: str) -> bytes:
    lines = "".join(f"#EXTINF:1.0,\n{url}\n" for url in urls)
    return f"#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:1\n{lines}#EXT-X-ENDLIST\n".encode()


def _sdp(port: int) -> bytes:
    head = "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=x\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n"
    return f"{head}m=video {port} RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\n".encode()


def _mov_that_refers(path: Path) -> bytes:
    """A mov whose data lie in another file, as its ``dref`` says in the two ways that there are."""
    content = render("mov", PICTURES["mpeg4"])
    start = content.index(b"dref") - 4
    size = int.from_bytes(content[start : start + 4])
    name = str(path).encode()
    record = struct.pack(">HH", 2, 0) + bytes(146) + struct.pack(">HH", 2, len(name)) + name + bytes(len(name) % 2)
    alias = struct.pack(">I4sI", 12 + len(record) + 4, b"alis", 0) + record + struct.pack(">hH", -1, 0)
    url = struct.pack(">I4sI", 13 + len(name) + 7, b"url ", 0) + b"file://" + name + b"\0"
    dref = struct.pack(">I4sII", 16 + len(alias) + len(url), b"dref", 0, 2) + alias + url
    grown = bytearray(content[:start] + dref + content[start + size :])
    for kind in (b"moov", b"trak", b"mdia", b"minf", b"dinf"):
        place = grown.index(kind) - 4
        length = int.from_bytes(grown[place : place + 4]) + len(dref) - size
        grown[place : place + 4] = length.to_bytes(4)
    return bytes(grown)


def _avi_with_words(words: bytes) -> bytes:
    """An AVI with a stream of words, in each of whose packets a file is hidden (GAB2) that is opened on its own."""
    content = render("avi", PICTURES["mpeg4"])
    hidden = b"GAB2\0" + struct.pack("<HI", 2, 2) + b"x\0" + struct.pack("<HI", 4, len(words)) + words
    header = b"txts" + bytes(44) + struct.pack("<4H", 0, 0, 0, 0)
    strl = b"strl" + b"strh" + struct.pack("<I", len(header)) + header + b"strf" + struct.pack("<I", 0)
    listed = b"LIST" + struct.pack("<I", len(strl)) + strl
    packet = b"01tx" + struct.pack("<I", len(hidden)) + hidden + bytes(len(hidden) % 2)
    movi = content.index(b"movi")
    headers = content.index(b"hdrl")
    grown = bytearray(content[: movi - 8] + listed + content[movi - 8 : movi + 4] + packet + content[movi + 4 :])
    for place, added in ((headers - 4, len(listed)), (movi - 4 + len(listed), len(packet)), (4, len(listed + packet))):
        size = int.from_bytes(grown[place : place + 4], "little") + added
        grown[place : place + 4] = size.to_bytes(4, "little")
    return bytes(grown)


def reaching_requests(secret: Path, tcp_port: int, udp_port: int) -> Iterator[Reaching]:
    """The requests.

    Args:
        secret: a media file that nobody sends.
        tcp_port: where somebody listens on the loopback interface.
        udp_port: where a description of a session says that its packets come.
    """
    url = f"http://127.0.0.1:{tcp_port}/secret.mp4"
    names = (secret.name, str(secret), f"file:{secret}", f"file://{secret}", url, f"concat:{secret}|{secret}")
    others = (
        f"tcp://127.0.0.1:{tcp_port}",
        f"rtmp://127.0.0.1:{tcp_port}/a/b",
        f"crypto+file:{secret}",
        f"subfile,,start,0,end,0,,:{secret}",
    )
    for place, name in enumerate((*names, *others)):
        yield Reaching(f"ffconcat {place}", {"video": f"ffconcat version 1.0\nfile '{name}'\n".encode()})
    data = f"data:text/plain,ffconcat%20version%201.0%0Afile%20{secret.name}"
    yield Reaching("ffconcat in data:", {"video": f"ffconcat version 1.0\nfile '{data}'\n".encode()})
    yield Reaching("ffconcat as sound", {"audio": f"ffconcat version 1.0\nfile {secret.name}\n".encode()})
    yield Reaching("ffconcat as a picture", {"image": f"ffconcat version 1.0\nfile {secret.name}\n".encode()})
    yield Reaching("ffconcat as depth", {"depth": f"ffconcat version 1.0\nfile {secret.name}\n".encode()})
    yield Reaching("SDP", {"video": _sdp(udp_port)})
    yield Reaching("m3u8 of files", {"video": _m3u8(secret.name, str(secret))}, "upload.m3u8")
    yield Reaching("m3u8 of an address", {"video": _m3u8(url)}, "upload.m3u8")
    yield Reaching("m3u8 without a name", {"video": _m3u8(url, str(secret))})
    yield Reaching("DASH", {"video": _mpd(url)}, "upload.mpd")
    yield Reaching("a list of names", {"video": f"{secret}\n{url}\n".encode()}, "upload.txt")
    yield Reaching("a pattern of names", {"image": str(secret).encode()}, "%03d.png")
    yield Reaching("mov that refers", {"video": _mov_that_refers(secret)})
    yield Reaching("AVI with words of m3u8", {"video": _avi_with_words(_m3u8(url, str(secret)))})
    yield Reaching(
        "AVI with words of ffconcat", {"video": _avi_with_words(f"ffconcat version 1.0\nfile {secret}\n".encode())}
    )
    yield Reaching("SVG", {"image": _svg(url)}, "upload.svg")
    yield Reaching("SVG of a file", {"image": _svg(f"file://{secret}")}, "upload.svg")
    yield Reaching(
        "ASX", {"video": f'<asx version="3.0"><entry><ref href="{url}"/></entry></asx>'.encode()}, "upload.asx"
    )
    yield Reaching("SMIL", {"video": f'<smil><body><video src="{url}"/></body></smil>'.encode()}, "upload.smil")
    yield Reaching("PLS", {"audio": f"[playlist]\nFile1={url}\nNumberOfEntries=1\n".encode()}, "upload.pls")
    yield Reaching("RTSP's redirection", {"video": f"RTSP/1.0 302 Moved\r\nLocation: {url}\r\n\r\n".encode()})
    yield Reaching("a name as a table", {"tabular": str(secret).encode()})
    yield Reaching("a name as base64", {"body": json.dumps({"video": f"file://{secret}", "text": "x"}).encode()})
    sound = render("ogg", SOUNDS["flac"])
    yield Reaching("sound whose tags name an address", {"audio": sound.replace(b"encoder=", b"METADATA")})
