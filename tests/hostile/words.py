"""Words and tables that are broken, that lie, or that are only odd."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import pairwise

import pyarrow as pa

from tests.handler.tables import as_csv, as_parquet
from tests.hostile.item import OK, Item, body, parts, text_body
from tests.hostile.media import wav
from tests.media import png

_BROKEN = (422, "undecodable_media")
_VTT = "WEBVTT\n\n00:00.000 --> 00:01.000\n"
_ROW = {"guests": [120], "hour": [7], "place": ["hall"]}
_SWING = {"seconds": [0.0, 0.5, 1.0], "x": [0.0, 1.0, 2.0], "y": [0.0, 1.0, 2.0], "z": [0.0, 1.0, 2.0]}


def _cues(count: int, seconds: float = 0.1) -> bytes:
    """Cues one after the other, with as few characters as they take."""
    edges = [f"{int(edge // 60)}:{edge % 60:06.3f}" for edge in (place * seconds for place in range(count + 1))]
    lines = [f"{start}-->{stop}\na\n" for start, stop in pairwise(edges)]
    return b"WEBVTT\n\n" + "".join(lines).encode()


def words() -> Iterator[Item]:
    """Texts, each sent as the part ``text``."""
    answered = {
        "NUL": b"stir\0 the\0soup",
        "byte order mark": b"\xef\xbb\xbfstir the soup",
        "byte order mark before cues": b"\xef\xbb\xbf" + (_VTT + "stir\n").encode(),
        "marks of the right-to-left": "\u202estir\u202c \u200f\u200e\u2066the\u2069 soup".encode(),
        "Arabic and Hebrew": "حرّك الحساء \u05d1\u05d7\u05e9".encode(),
        "joined emoji": "👩‍🍳🏳️‍🌈".encode() * 50,
        "10000 marks on one letter": ("a" + "\u0301" * 10_000).encode(),
        "no characters": "\ufffe\uffff\U0010ffff".encode(),
        "control characters": bytes(range(1, 32)) + b"stir\x7f",
        "escapes of a terminal": b"\x1b[2J\x1b]0;stir\x07",
        "line ends of all kinds": "stir\r\nchop\rpour\u2028mix\x0b\x0c\x85".encode("utf-8", "replace"),
        "zero width": "\u200b\u200c\u200d\u2060".encode(),
        "as many characters as are allowed": b"stir " * 20_000,
        "one word of 90000 letters": b"s" * 90_000,
        "HTML": b"<script>alert(1)</script> &amp; stir",
        "template and format signs": b"{} %s %n ${jndi:ldap://a} {{7*7}} \\u0000",
        "markup in a cue": (_VTT + "<v Ann><c.red>stir</c> &amp; &lt;chop&gt; &unknown;</v>\n").encode(),
        "cues that overlap": (_VTT + "stir\n\n00:00.000 --> 00:01.000\nchop\n").encode(),
        "a cue backwards beside a good one": (_VTT + "stir\n\n00:02.000 --> 00:01.000\nchop\n").encode(),
        "4000 cues": _cues(4_000, 0.005),
        "arrows alone": b"stir --> chop --> pour",
        "JSON": b'{"no part": 1}',
    }
    for name, content in answered.items():
        yield parts(f"text: {name}", 200, OK, {"text": content})
    refused = {
        "empty": (b"", *_BROKEN),
        "spaces": (b" \t\r\n" * 9, *_BROKEN),
        "NUL alone": (bytes(50), *_BROKEN),
        "byte order mark alone": (b"\xef\xbb\xbf", *_BROKEN),
        "half a surrogate pair": (b"stir \xed\xa0\x80", *_BROKEN),
        "too long a form of a character": (b"stir \xc0\xaf", *_BROKEN),
        "beyond Unicode": (b"stir \xf4\x90\x80\x80", *_BROKEN),
        "Latin-1": ("rühren".encode("latin-1"), *_BROKEN),
        "UTF-16": ("stir the soup".encode("utf-16"), *_BROKEN),
        "cut within a character": ("rü".encode()[:-1], *_BROKEN),
        "PNG": (png(8, 8), *_BROKEN),
        "sound": (wav(), *_BROKEN),
        "1 MB": (b"stir " * 200_000, 413, "limit_text"),
        "1 MB of one letter": (b"a" * 1_000_000, 413, "limit_text"),
        "100001 characters": (("ü" * 100_001).encode(), 413, "limit_text"),
        "700 s of cues": (_cues(8, 100.0), 413, "limit_seconds"),
        "a cue at 999999 h": (
            f"{_VTT}a\n\n999999:00:00.000 --> 999999:00:01.000\nb\n".encode(),
            413,
            "limit_seconds",
        ),
        "WEBVTT without cues": (b"WEBVTT\n\nNOTE stir\n", *_BROKEN),
        "cues without words": ((_VTT + "\n").encode(), *_BROKEN),
        "cues backwards": (b"1\n00:00:02,000 --> 00:00:01,000\nstir\n", *_BROKEN),
    }
    for name, (content, status, code) in refused.items():
        yield parts(f"text: {name}", status, code, {"text": content})
    yield text_body("text as a body", 200, OK, b"stir the soup")
    yield text_body("text as a body, with a byte order mark", 200, OK, b"\xef\xbb\xbfstir the soup")
    yield text_body("text as a body, that is empty but for spaces", *_BROKEN, b"  \n")
    yield text_body("text as a body, that is no UTF-8", *_BROKEN, b"stir \xff the soup")
    yield body("cues as a body without their type", 200, OK, (_VTT + "stir\n").encode())


def tables() -> Iterator[Item]:
    """Rows of a table and sequences of vectors."""
    row, swing = as_csv(_ROW), as_csv(_SWING)
    good = {
        "tabular": {
            "CSV": row,
            "quotes, and ends of all kinds": b'\xef\xbb\xbf"guests","place"\r\n\r\n"12","ha""\nll"\r\n',
            "nothing known of it": b"guests,hour,place\n,,\n",
            "a category that nobody knows": b"guests,place\n1,moon\n",
            "a column that nobody knows": b"guests,moon\n1,7\n",
            "JSON": b'{"guests": 1, "hour": null, "place": "hall"}',
            "Parquet": as_parquet(_ROW),
            "the largest number": b"guests\n3.4e38\n",
        },
        "imu": {
            "CSV": swing,
            "JSON": json.dumps({"values": [[0, 1, 2]] * 9}).encode(),
            "Parquet": as_parquet(_SWING),
            "one row": b"x,y,z\n1,2,3\n",
            "times before zero": as_csv({**_SWING, "seconds": [-2.0, -1.0, 0.0]}),
            "times since 1970": as_csv({**_SWING, "seconds": [1.7e9, 1.7e9 + 0.5, 1.7e9 + 1]}),
            "times that stand still": as_csv({**_SWING, "seconds": [1.0, 1.0, 1.0]}),
        },
    }
    for part, named in good.items():
        for name, content in named.items():
            yield parts(f"{part}: {name}", 200, OK, {part: content})
    nested = as_parquet({"guests": pa.array([[1]], pa.list_(pa.int64()))})
    bad: dict[str, dict[str, tuple[bytes, int, str]]] = {
        "tabular": {
            "empty": (b"", *_BROKEN),
            "a header alone": (b"guests,hour\n", *_BROKEN),
            "two rows": (row + b"1,2,hall\n", 413, "limit_table_rows"),
            "no column that is known": (b"moon\n1\n", *_BROKEN),
            "a column twice": (b"guests,guests\n1,2\n", *_BROKEN),
            "a number that is none": (b"guests\nmany\n", *_BROKEN),
            "NaN in JSON": (b'{"guests": NaN}', *_BROKEN),
            "infinity": (b"guests\ninf\n", *_BROKEN),
            "more than float32": (b"guests\n1.7e308\n", *_BROKEN),
            "a key twice": (b'{"guests": 1, "guests": 2}', *_BROKEN),
            "broken JSON": (b'{"guests": ', *_BROKEN),
            "deep JSON": (b"[" * 100_000, *_BROKEN),
            "an object as a number": (b'{"guests": {"a": 1}}', *_BROKEN),
            "quotes that are open": (b'guests\n"1\n', *_BROKEN),
            "NUL": (b"guests\n1\0\n", *_BROKEN),
            "no UTF-8": (b"guests\n\xff\n", *_BROKEN),
            "rows of other lengths": (b"guests,hour\n1\n", *_BROKEN),
            "cut Parquet": (as_parquet(_ROW)[:-20], *_BROKEN),
            "nested Parquet": (nested, 415, "unsupported_media"),
            "3000 columns": (b",".join(b"c%d" % n for n in range(3_000)) + b"\n", 413, "limit_table_columns"),
            "a picture": (png(8, 8), *_BROKEN),
            "9 MB": (b"guests\n" + b"1" * 9_000_000, 413, "limit_table_bytes"),
        },
        "imu": {
            "empty": (b"", *_BROKEN),
            "a channel too few": (b"x,y\n1,2\n", *_BROKEN),
            "NaN": (b"x,y,z\n1,2,nan\n", *_BROKEN),
            "infinity": (b"x,y,z\n1,2,-inf\n", *_BROKEN),
            "more than float32": (b"x,y,z\n1,2,1e39\n", *_BROKEN),
            "words": (b"x,y,z\n1,2,three\n", *_BROKEN),
            "times that fall": (as_csv({**_SWING, "seconds": [0.0, 1.0, 0.5]}), *_BROKEN),
            "times without end": (as_csv({**_SWING, "seconds": [0.0, 1.0, "inf"]}), *_BROKEN),
            "700 s": (as_csv({**_SWING, "seconds": [0.0, 1.0, 700.0]}), 413, "limit_seconds"),
            "too many seconds": (b'{"seconds": [1, 2], "values": [[1, 2, 3]]}', *_BROKEN),
            "unknown keys": (b'{"values": [[1, 2, 3]], "rate": 5}', *_BROKEN),
            "rows that are none": (b'{"values": [1, 2, 3]}', *_BROKEN),
            "truths": (b'{"values": [[true, false, true]]}', *_BROKEN),
            "null": (b'{"values": [[null, 1, 2]]}', *_BROKEN),
            "a number": (b"7", *_BROKEN),
            "words in Parquet": (as_parquet({"x": ["a"], "y": ["b"], "z": ["c"]}), 415, "unsupported_media"),
            "200001 rows": (b"x,y,z\n" + b"1,2,3\n" * 200_001, 413, "limit_table_rows"),
        },
    }
    for part, refused in bad.items():
        for name, (content, status, code) in refused.items():
            yield parts(f"{part}: {name}", status, code, {part: content})
