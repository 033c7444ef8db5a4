"""What a request holds beside media: words, tables, options, whole bodies; and ways to spoil what is made of words."""

from __future__ import annotations

import base64
import io
import json
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import parquet

from benchmarks.hostile.files import PICTURES, Seed, media_files, picture_files
from benchmarks.hostile.mutators import mutate
from tests.media import render

Request = dict[str, bytes]
"""By the parts' names; a body without parts is named "body"."""

_VTT = (
    b"WEBVTT\n\n00:00.000 --> 00:01.000\n<v Ann>stir &amp; chop\n\n2\n00:01.000 --> 00:02.500 align:start\npour milk\n"
)
_SRT = b"1\r\n00:00:00,000 --> 00:00:01,000\r\nstir the soup\r\n\r\n2\r\n00:00:01,000 --> 00:00:02,000\r\nchop\r\n"
_ROW = {"guests": 120.0, "hour": 13.0, "place": "hall"}
_MOTION: dict[str, list[float]] = {
    "seconds": [0.05 * place for place in range(20)],
    "x": [0.1 * place for place in range(20)],
    "y": [0.0] * 20,
    "z": [9.81] * 20,
}
_OPTIONS: dict[str, Any] = {
    "top_k": 2,
    "threshold": 0.5,
    "smoothing_windows": 3,
    "lookahead_windows": 1,
    "min_segment_seconds": 0.5,
    "extras": ["windows", "timing"],
    "format": "json",
}
_CHUNK: dict[str, Any] = {"chunk": {"offset_seconds": 0.0, "start_seconds": 0.0, "stop_seconds": 1.0, "last": False}}

_HOSTILE_JSON: tuple[Any, ...] = (
    *(None, True, 0, -1, 1, 2**31, 2**63, 10**400, 1e308, -0.0, 5e-324, float("nan"), float("inf"), "", "x" * 5000),
    *("\ud800", "\u202e", "\0", "a\nb", [], {}, [[]], [None] * 500, {"": ""}, {"__proto__": 1}, "1e999", "-->"),
)
_HOSTILE_WORDS = (
    *(b"nan", b"inf", b"-1e309", b"", b"0x10", b'"', b"'", b",", b",,,,", b"\0", b"\xff\xfe", b"\xef\xbb\xbf", b"-->"),
    *(b"WEBVTT", b"<", b"&amp;", b"{\\", b"9" * 400, b"x" * 3000, b"\xed\xa0\x80", b"99:59:59.999", b"\xe2\x80\xae"),
    *(b"00:00:00.000 --> 999999:59:59.999", b"\r", b"\n\n", b"1 --> 2", b"\xf4\x90\x80\x80", b"[" * 300, b'{"a":' * 90),
)


def parquet_bytes(columns: dict[str, Any], **options: Any) -> bytes:
    """Columns as a Parquet file."""
    target = io.BytesIO()
    parquet.write_table(pa.table(columns), target, **options)
    return target.getvalue()


def written_parts() -> tuple[Seed, ...]:
    """Parts that are no media, each in all its forms; the tables are those of the model of all modalities."""
    rows = {name: [value] for name, value in _ROW.items()}
    lines = [",".join(_MOTION), *(",".join(map(str, row)) for row in zip(*_MOTION.values(), strict=True))]
    seconds, *channels = _MOTION.values()
    values = list(zip(*channels, strict=True))
    video = base64.b64encode(render("mp4", PICTURES["h264"])).decode()
    element = {"datatype": "BYTES", "shape": [1], "parameters": {"content_type": "base64"}}
    kserve = {"id": "1", "inputs": [{"name": "video", **element, "data": [video]}]}
    return (
        Seed("words, WebVTT", "text", _VTT),
        Seed("words, SRT", "text", _SRT),
        Seed("words, plain", "text", "Rühren, schneiden \u4e2d\u6587 \U0001f372".encode()),
        Seed("row, CSV", "tabular", b"guests,hour,place\n120.0,13.0,hall\n"),
        Seed("row, JSON", "tabular", json.dumps(_ROW).encode()),
        Seed("row, Parquet", "tabular", parquet_bytes(rows, compression="snappy")),
        Seed("motion, CSV", "imu", "\n".join(lines).encode()),
        Seed("motion, JSON", "imu", json.dumps({"seconds": seconds, "values": values}).encode()),
        Seed("motion, Parquet", "imu", parquet_bytes(_MOTION, compression="snappy")),
        Seed("motion, Parquet plain", "imu", parquet_bytes(_MOTION, compression="none", use_dictionary=False)),
        Seed("options", "options", json.dumps(_OPTIONS).encode()),
        Seed("options, chunk", "options", json.dumps(_CHUNK).encode()),
        Seed("body, JSON", "body", json.dumps({"video": video, "text": "stir", "options": _OPTIONS}).encode()),
        Seed("body, KServe", "body", json.dumps(kserve).encode()),
    )


def all_seeds() -> tuple[Seed, ...]:
    """Every file and part that is spoilt."""
    return (*media_files()[0], *picture_files()[0], *written_parts())


def build_request(seed: Seed, content: bytes, random: np.random.Generator) -> Request:
    """A request with a spoilt file where its kind is expected, at times elsewhere."""
    part = seed.part
    if part == "options":
        return {"text": _VTT, "options": content}
    if part == "state":
        return {"text": _VTT, "options": json.dumps(_CHUNK).encode(), "state": content}
    if part in ("video", "audio", "image") and random.random() < 0.25:
        part = str(random.choice(["video", "audio", "image", "depth", "body"]))
    request = {part: content}
    if part in ("video", "audio") and random.random() < 0.2:
        request["text"] = _VTT
    return request


def is_json(part: str, content: bytes) -> bool:
    """Whether a part is sent with JSON's content type, upon which the server parses it."""
    return part in ("tabular", "imu", "options", "body") and content.lstrip()[:1] in (b"{", b"[")


def spoil(seed: Seed, random: np.random.Generator, others: Sequence[bytes]) -> bytes:
    """A mutant of a seed; of what is written in words by words as well as by bytes."""
    is_written = seed.part in ("text", "tabular", "imu", "options", "body", "state") and "Parquet" not in seed.name
    if not is_written or random.random() < 0.3:
        return mutate(seed.content, random, others)
    if seed.content.startswith(b"{") and random.random() < 0.7:
        return _spoil_json(seed.content, random)
    return _spoil_words(seed.content, random)


def _spoil_words(content: bytes, random: np.random.Generator) -> bytes:
    words = re.split(rb"([\s,:\".]+)", content)
    for _ in range(int(random.integers(1, 5))):
        place = int(random.integers(len(words)))
        match int(random.integers(4)):
            case 0:
                words[place] = _HOSTILE_WORDS[int(random.integers(len(_HOSTILE_WORDS)))]
            case 1:
                words[place : place + 1] = [words[place]] * int(random.integers(2, 200))
            case 2:
                del words[place : place + int(random.integers(1, 4))]
                words = words or [b""]
            case _:
                other = int(random.integers(len(words)))
                words[place], words[other] = words[other], words[place]
    return b"".join(words)


def _spoil_json(content: bytes, random: np.random.Generator) -> bytes:
    value = json.loads(content)
    for _ in range(int(random.integers(1, 4))):
        _spoil_value(value, random)
    return json.dumps(value, ensure_ascii=bool(random.random() < 0.5)).encode("utf-8", "surrogatepass")


def _spoil_value(value: Any, random: np.random.Generator) -> None:
    """Change one thing somewhere in a JSON value."""
    node = value
    while True:
        keys: list[Any] = list(node) if isinstance(node, dict) else list(range(len(node)))
        if not keys:
            return
        key = keys[int(random.integers(len(keys)))]
        if not isinstance(node[key], dict | list) or random.random() < 0.3:
            break
        node = node[key]
    hostile = _HOSTILE_JSON[int(random.integers(len(_HOSTILE_JSON)))]
    match int(random.integers(5)):
        case 0 if isinstance(node, dict):
            node[f"{key}_"] = node.pop(key)
        case 1:
            del node[key]
        case 2:
            node[key] = [node[key]] * int(random.integers(2, 20))
        case _:
            node[key] = hostile
