"""Requests that are broken in their form: JSON, base64, options, names of parts, states, KServe's protocols."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from typing import Any

from tests.hostile.item import OK, Item, Path, body, parts
from tests.hostile.media import movie, wav

_REQUEST = (400, "invalid_request")
_OPTIONS = (400, "invalid_options")
_PART = (400, "unknown_part")
_BROKEN = (422, "undecodable_media")
JSON = "application/json"


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode()


def json_bodies() -> Iterator[Item]:
    """JSON of a clip, as its content type says and as the bytes show without it."""
    video, sound = _base64(movie()), _base64(wav())
    url = base64.urlsafe_b64encode(b"\xff\xfe" * 300).decode()
    bodies: dict[str, tuple[Any, int, str]] = {
        "all parts": ({"video": video, "audio": sound, "text": "stir", "options": {"top_k": 1}}, 200, OK),
        "base64 in lines": ({"audio": base64.encodebytes(wav()).decode()}, 200, OK),
        "nulls beside text": ({"video": None, "audio": None, "text": "stir", "options": None}, 200, OK),
        "right-to-left text": ({"text": "\u202estir\u200f"}, 200, OK),
        "nothing": ({}, *_REQUEST),
        "nulls alone": ({"video": None, "text": None}, *_REQUEST),
        "options alone": ({"options": {}}, *_REQUEST),
        "an unknown field": ({"clip": video}, *_PART),
        "a field of another case": ({"Video": video}, *_PART),
        "text as a number": ({"text": 7}, *_REQUEST),
        "text as a list": ({"text": ["stir"]}, *_REQUEST),
        "video as a number": ({"video": 7}, *_REQUEST),
        "video as a list": ({"video": [0, 1, 2]}, *_REQUEST),
        "video as an object": ({"video": {"bytes": video}}, *_REQUEST),
        "video as a truth": ({"video": True}, *_REQUEST),
        "half a surrogate pair": ({"text": "stir \ud83d"}, *_REQUEST),
        "halves in the wrong order": ({"text": "\ude00\ud83d"}, *_REQUEST),
        "half a surrogate pair in an option": ({"text": "a", "options": {"include_labels": ["\ud800"]}}, *_OPTIONS),
        "half a surrogate pair as a name": ({"\ud800": 1}, *_PART),
        "letters that are no base64": ({"video": "@@@@"}, *_REQUEST),
        "base64 for addresses": ({"video": url}, *_REQUEST),
        "base64 that is cut": ({"video": video[:-3]}, *_REQUEST),
        "too much padding": ({"audio": sound + "===="}, *_REQUEST),
        "padding within": ({"audio": "AA==AA=="}, *_REQUEST),
        "base64 that is not ASCII": ({"audio": "ÄÖÜß"}, *_REQUEST),
        "a data address": ({"video": "data:video/mp4;base64," + video}, *_REQUEST),
        "empty base64": ({"video": ""}, *_BROKEN),
        "base64 of text": ({"video": _base64(b"stir the soup " * 30)}, *_BROKEN),
        "options as a list": ({"text": "a", "options": []}, *_OPTIONS),
        "options as a number": ({"text": "a", "options": 7}, *_OPTIONS),
        "state as a number": ({"text": "a", "state": 7}, 400, "state_invalid"),
        "a table as a number": ({"imu": 7}, *_REQUEST),
        "a table as a truth": ({"tabular": True}, *_REQUEST),
        "1 MB of text": ({"text": "stir " * 200_000}, 413, "limit_text"),
        "17 KB of options": ({"text": "a", "options": {"include_labels": ["a" * 17_000]}}, 413, "limit_options"),
    }
    for name, (value, status, code) in bodies.items():
        yield body(f"JSON: {name}", status, code, json.dumps(value).encode(), JSON)
    for value in ([{"text": "stir"}], 7, None, True):  # without its type it could be anything
        yield Item(f"JSON: {value}", (("body", json.dumps(value).encode()),), *_REQUEST, JSON, only_rest=True)
    texts: dict[str, tuple[bytes, int, str]] = {
        "byte order mark": (b'\xef\xbb\xbf{"text": "stir"}', 200, OK),
        "spaces around": (b' \n {"text": "stir"} \n', 200, OK),
        "broken off": (b'{"text": "stir', *_REQUEST),
        "a comma too many": (b'{"text": "stir",}', *_REQUEST),
        "single quotes": (b"{'text': 'stir'}", *_REQUEST),
        "a comment": (b'{"text": "stir"} // good', *_REQUEST),
        "two objects": (b'{"text": "stir"}{"text": "stir"}', *_REQUEST),
        "a key twice": (b'{"text": "stir", "text": "chop"}', *_REQUEST),
        "NaN": (b'{"text": "a", "options": {"threshold": NaN}}', *_REQUEST),
        "infinity": (b'{"text": "a", "options": {"threshold": -Infinity}}', *_REQUEST),
        "a number beyond floats": (b'{"text": "a", "options": {"threshold": 1e999}}', *_OPTIONS),
        "a number of 5000 digits": (b'{"text": "a", "options": {"top_k": ' + b"9" * 5_000 + b"}}", *_REQUEST),
        "deep lists": (b'{"text": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", *_REQUEST),
        "deep objects": (b'{"a":' * 50_000 + b"1" + b"}" * 50_000, *_REQUEST),
        "no UTF-8": (b'{"text": "stir \xff"}', *_REQUEST),
        "a raw control character": (b'{"text": "stir\0"}', *_REQUEST),
    }
    for name, (content, status, code) in texts.items():
        yield body(f"JSON: {name}", status, code, content, JSON)
        yield body(f"JSON without its type: {name}", status, code, content)
    yield body("JSON: empty", *_REQUEST, b"", JSON)
    yield body("JSON: UTF-16", *_BROKEN, '{"text": "stir"}'.encode("utf-16"), JSON)
    yield body("empty body", *_REQUEST, b"")


def options() -> Iterator[Item]:
    """Options as a part beside words."""
    ranges: dict[str, tuple[Any, ...]] = {
        "top_k": (0, -1, 1_001, 2.5, "3", True, [], 10**30),
        "threshold": (-0.1, 1.1, "0.5", True, 10**400),
        "stride_seconds": (0, -1, 0.3, 1e9, 1e-300),
        "smoothing_windows": (0, 102, 1.0, "5"),
        "min_segment_seconds": (-1, 3_601, "1"),
        "format": ("xml", "", None, 1, "json\0"),
        "extras": (["nothing"], "windows", [1], {"windows": True}),
        "include_labels": (["fry"], [], "stir", [1], [[]]),
        "stream": (1, "true"),
        "chunk": (1, [], {"offset": 1}, {"last": 1}),
    }
    wrong: dict[str, dict[str, Any]] = {
        **{f"{name} {value!r}": {name: value} for name, values in ranges.items() for value in values},
        "unknown": {"topk": 3},
        "unknown, of a dangerous name": {"__class__": 1},
        "lookahead of as many windows": {"smoothing_windows": 3, "lookahead_windows": 3},
        "lookahead below zero": {"lookahead_windows": -1},
        "extras that have no place": {"extras": ["windows"], "format": "srt"},
        "all labels excluded": {"exclude_labels": ["stir", "chop", "pour"]},
        "labels of a model whose own they are": {"labels": ["a", "b"]},
        "weights": {"weights": {"video": 1}},
        "templates": {"templates": ["{}"]},
        "stream and chunk": {"stream": True, "chunk": {}},
        "chunk without end": {"chunk": {"offset_seconds": 1e999}},
        "chunk backwards": {"chunk": {"start_seconds": 2.0, "stop_seconds": 1.0}},
        "chunk as VTT": {"chunk": {}, "format": "vtt"},
        "chunk with an explanation": {"chunk": {}, "extras": ["explanation"]},
        "transcribe as text": {"transcribe": "yes"},
        "words of the sound, of a model that hears none": {"transcribe": True},
        "descriptions of a model that has none": {"extras": ["descriptions"]},
    }
    for name, value in wrong.items():
        yield parts(f"options: {name}", *_OPTIONS, {"text": b"stir", "options": json.dumps(value).encode()})
    texts: dict[str, tuple[bytes, int, str]] = {
        "empty": (b"", 200, OK),
        "spaces": (b" \n", 200, OK),
        "byte order mark": (b'\xef\xbb\xbf{"top_k": 1}', 200, OK),
        "null": (b"null", 200, OK),
        "a list": (b"[]", *_OPTIONS),
        "text": (b"top_k=3", *_OPTIONS),
        "broken off": (b'{"top_k": ', *_OPTIONS),
        "a key twice": (b'{"top_k": 1, "top_k": 2}', *_OPTIONS),
        "NaN": (b'{"threshold": NaN}', *_OPTIONS),
        "deep": (b"[" * 16_000, *_OPTIONS),
        "deep within": (b'{"extras": ' + b"[" * 8_000 + b"]" * 8_000 + b"}", *_OPTIONS),
        "no UTF-8": (b'{"format": "\xff"}', *_OPTIONS),
        "UTF-16": ('{"top_k": 1}'.encode("utf-16"), *_OPTIONS),
        "NUL": (b"\0", *_OPTIONS),
        "half a surrogate pair": (b'{"include_labels": ["\\ud800"]}', *_OPTIONS),
        "an escape of a terminal": (b'{"\\u001b[2J": 1}', *_OPTIONS),
        "a number of 5000 digits": (b'{"top_k": ' + b"9" * 5_000 + b"}", *_OPTIONS),
        "too long": (b" " * 16_385, 413, "limit_options"),
        "a movie": (movie(), *_OPTIONS),
        "1 MB": (b'{"include_labels": ["' + b"a" * 1_000_000 + b'"]}', 413, "limit_options"),
    }
    for name, (content, status, code) in texts.items():
        yield parts(f"options: {name}", status, code, {"text": b"stir", "options": content})


def names() -> Iterator[Item]:
    """Parts whose names are none that is known, some of which have a meaning elsewhere."""
    strange = (
        *("clip", "Video", "video[]", "video\n", "vidéo", "\u202eoediv", "a" * 5_000, "file", "data"),
        *("body", "inputs", "instances", "request", "__class__", "../../etc/passwd", "model_name", "parameters"),
        *("Host", "host", "Content-Type", "content-type", "Content-Length", "Authorization", "explain", "describe"),
        *("Transfer-Encoding", "X-Request-Id", "url_path", "requestId", "open_inference_grpc", "status", "{}", "%s"),
    )
    for name in strange:
        yield parts(f"part: {name[:40]!r}", *_PART, {name: b"True", "text": b"stir"})
    for name in ("Host", "explain", "Content-Type", "open_inference_grpc", "instances"):
        yield parts(f"part alone: {name}", *_PART, {name: b"{}"})
    twice = (("text", b"\xff"), ("options", b"{}"), ("text", b"stir"))
    yield Item("part twice: the last one counts", twice, 200, OK)
    yield Item("part twice: the last one is broken", twice[::-1], *_BROKEN)
    yield parts("options and no part", *_REQUEST, {"options": b"{}"})
    yield parts("model's parts by turns", 200, OK, {"audio": movie(), "video": movie(), "text": b"stir"})
    for name, content in {"empty": b"", "text": b"stir", "not ASCII": "é".encode(), "NUL": bytes(99)}.items():
        state = {"text": b"stir", "options": b'{"chunk": {}}', "state": content}
        yield parts(f"state: {name}", 400, "state_invalid", state)
    forged = base64.urlsafe_b64encode(bytes(range(256)) * 4)
    yield parts("state: forged", 400, "state_invalid", {"text": b"a", "options": b'{"chunk": {}}', "state": forged})
    yield parts(
        "state: too long", 413, "limit_state", {"text": b"a", "options": b'{"chunk": {}}', "state": b"A" * 262_145}
    )
    yield parts("state: of no stream", *_OPTIONS, {"text": b"a", "state": forged})


def kserve() -> Iterator[Item]:
    """Bodies of KServe's protocols, on their own paths."""
    sound, broken = _base64(wav()), _base64(b"no media")
    good = {"text": "stir"}
    v1: dict[str, tuple[Any, int, str]] = {
        "one": ({"instances": [good]}, 200, OK),
        "bytes": ({"instances": [{"b64": sound}]}, 200, OK),
        "a good one and a bad one": ({"instances": [good, {"video": broken}, {"clip": 1}]}, 200, OK),
        "none": ({"instances": []}, *_REQUEST),
        "null": ({"instances": None}, *_REQUEST),
        "an object": ({"instances": {"0": good}}, *_REQUEST),
        "a number": ({"instances": [7]}, *_REQUEST),
        "empty ones": ({"instances": [{}, {}]}, *_REQUEST),
        "broken ones": ({"instances": [{"b64": broken}, {"b64": broken}]}, *_BROKEN),
        "wrong base64": ({"instances": [{"b64": "@"}]}, *_REQUEST),
        "an unknown part": ({"instances": [{"clip": sound}]}, *_PART),
        "unknown options": ({"instances": [good], "parameters": {"topk": 1}}, *_OPTIONS),
        "options that are none": ({"instances": [good], "parameters": [1]}, *_REQUEST),
        "an unknown field": ({"instances": [good], "signature": "a"}, *_REQUEST),
        "nine": ({"instances": [good] * 9}, 413, "limit_instances"),
        "two with explanations": (
            {"instances": [good] * 2, "parameters": {"extras": ["explanation"]}},
            413,
            "limit_instances",
        ),
        "half a surrogate pair": ({"instances": [{"text": "\ud800"}]}, *_REQUEST),
    }

    def tensor(name: Any = "text", data: Any = ("stir",), **changed: Any) -> dict[str, Any]:
        count = len(data) if isinstance(data, list | tuple) else 1
        return {"name": name, "datatype": "BYTES", "shape": [count], "data": data, **changed}

    shapes: tuple[Any, ...] = ([], [2], [0], [-1], [True], "1", [1, 1, 1], [1, 2], None)
    v2: dict[str, tuple[Any, int, str]] = {
        "one": ({"inputs": [tensor()]}, 200, OK),
        "bytes": ({"inputs": [tensor("video", [sound])]}, 200, OK),
        "a row each": ({"inputs": [tensor(data=[["stir"], ["chop"]], shape=[2, 1])]}, 200, OK),
        "a good one and a bad one": ({"inputs": [tensor("video", [sound, broken])]}, 200, OK),
        "none": ({"inputs": []}, *_REQUEST),
        "null": ({"inputs": None}, *_REQUEST),
        "text": ({"inputs": "stir"}, *_REQUEST),
        "a number": ({"inputs": [7]}, *_REQUEST),
        "an unknown part": ({"inputs": [tensor("clip")]}, *_PART),
        "a name that is none": ({"inputs": [tensor(7)]}, *_PART),
        "a name of another kind": ({"inputs": [tensor(["text"])]}, *_PART),
        "a part twice": ({"inputs": [tensor(), tensor()]}, *_REQUEST),
        "floats": ({"inputs": [tensor(datatype="FP32", data=[1.0])]}, *_REQUEST),
        "a type that is none": ({"inputs": [tensor(datatype=["BYTES"])]}, *_REQUEST),
        **{f"shape {shape}": ({"inputs": [tensor(shape=shape)]}, *_REQUEST) for shape in shapes},
        "a shape of millions": ({"inputs": [tensor(shape=[2**31])]}, 413, "limit_instances"),
        "a shape beyond all": ({"inputs": [tensor(shape=[10**30])]}, *_REQUEST),
        "data as text": ({"inputs": [tensor(data="stir", shape=[1])]}, *_REQUEST),
        "numbers as data": ({"inputs": [tensor(data=[7])]}, *_REQUEST),
        "wrong base64": ({"inputs": [tensor("video", ["@"])]}, *_REQUEST),
        "parts of other lengths": ({"inputs": [tensor(), tensor("video", [sound, sound])]}, *_REQUEST),
        "an id of 2000 characters": ({"id": "a" * 2_000, "inputs": [tensor()]}, *_REQUEST),
        "an id that is a number": ({"id": 7, "inputs": [tensor()]}, *_REQUEST),
        "parameters as a list": ({"inputs": [tensor()], "parameters": []}, *_REQUEST),
        "unknown options": ({"inputs": [tensor()], "parameters": {"topk": 1}}, *_OPTIONS),
        "an unknown output": ({"inputs": [tensor()], "outputs": [{"name": "scores"}]}, *_REQUEST),
        "an unknown field": ({"inputs": [tensor()], "signature": "a"}, *_REQUEST),
        "nine": ({"inputs": [tensor(data=["stir"] * 9)]}, 413, "limit_instances"),
        "binary data that is not there": (
            {"inputs": [{**tensor(), "data": None, "parameters": {"binary_data_size": 9}}]},
            *_REQUEST,
        ),
        "binary data of a wrong size": (
            {"inputs": [{**tensor(), "data": None, "parameters": {"binary_data_size": -1}}]},
            *_REQUEST,
        ),
    }
    paths: tuple[tuple[Path, dict[str, tuple[Any, int, str]]], ...] = (("v1", v1), ("v2", v2))
    for path, bodies in paths:
        for name, (value, status, code) in bodies.items():
            yield body(f"KServe {path}: {name}", status, code, json.dumps(value).encode(), JSON, path)
    head = json.dumps({"inputs": [{**tensor(), "data": None, "parameters": {"binary_data_size": 8}}]}).encode()
    for name, tail, status, code in (
        ("as it should be", b"\4\0\0\0stir", 200, OK),
        ("longer than it says", b"\4\0\0\0stir\0\0", *_REQUEST),
        ("shorter than it says", b"\4\0\0\0sti", *_REQUEST),
        ("an element that is longer", b"\5\0\0\0stir", *_REQUEST),
        ("an element of 4 GB", b"\xff\xff\xff\xffstir", *_REQUEST),
        ("no UTF-8", b"\4\0\0\0st\xffr", *_BROKEN),
    ):
        yield body(f"KServe v2: binary data {name}", status, code, head + tail, path="v2")
