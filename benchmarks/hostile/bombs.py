"""Small requests that ask for much memory or time."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.hostile.bomb_files import (
    crowded_cues,
    flac_of_nothing,
    fragment_of_many_samples,
    large_frames,
    large_png,
    many_boxes,
    many_samples,
    many_tags,
    many_tracks,
    packed_blocks,
    packed_header,
    progressive_jpeg,
    silent_opus,
    staggered_cues,
    tracks_of_many_samples,
    wav,
)
from benchmarks.hostile.files import SOUNDS
from benchmarks.hostile.requests import Request, parquet_bytes
from tests.media import gif, render, with_cover


@dataclass(frozen=True)
class Bomb:
    """A request that asks for much."""

    name: str
    make: Callable[[], Request]
    is_slow: bool = False
    """It takes seconds to make or to refuse."""
    lasts_seconds: float = 0.0
    """How long its clip truly is: a decoder has so much time, besides that for any request."""
    most_megabytes: float = 150.0
    """What memory may rise by."""


def _json(value: Any) -> bytes:
    return json.dumps(value).encode()


def _wide_table() -> bytes:
    return parquet_bytes({f"c{place}": [0.0] for place in range(50_000)})


def _long_table() -> bytes:
    return parquet_bytes({"x": np.zeros(4_000_000), "y": np.zeros(4_000_000), "z": np.zeros(4_000_000)})


def _video(make: Callable[[], bytes]) -> Callable[[], Request]:
    return lambda: {"video": make()}


BOMBS = (
    Bomb("mp4 that declares 50 M samples", _video(many_samples)),
    Bomb("mov whose packed header has 900 MB", _video(packed_header), is_slow=True),
    Bomb(
        "mp3 with a cover of 16000 x 16000",
        lambda: {"audio": with_cover(render("mp3", SOUNDS["mp3"]), large_png(16_000, 16_000))},
        is_slow=True,
    ),
    Bomb("GIF of 2000 frames of 16000 x 16000", _video(lambda: gif(16_000, 16_000, 2_000))),
    Bomb("H.264, 60 frames of 8192 x 8192", _video(lambda: large_frames(8192, 8192, 60, 25)), is_slow=True),
    Bomb("WAV at 1 Hz", lambda: {"audio": wav(1)}),
    Bomb("WAV at 8 Hz", lambda: {"audio": wav(8)}),
    Bomb("Opus, 10 h of silence", lambda: {"audio": silent_opus(declares=True)}),
    Bomb("Opus, 10 h of silence that declare 1 s", lambda: {"audio": silent_opus()}),
    Bomb("mp4 fragment of 50 M samples", _video(fragment_of_many_samples)),
    Bomb("mp4 fragments of 64 x 2 M samples", _video(lambda: fragment_of_many_samples(2_000_000, 64))),
    Bomb("mp4 of 16 tracks of 2.6 M samples", _video(tracks_of_many_samples), most_megabytes=600.0),
    Bomb("mp4 of 1 M empty boxes", _video(many_boxes)),
    Bomb("matroska of 900 tracks", _video(many_tracks)),
    Bomb("matroska of 600 blocks that grow to 9 MB", _video(packed_blocks), is_slow=True),
    Bomb("Ogg of 150,000 tags", lambda: {"audio": many_tags()}, is_slow=True),
    Bomb("FLAC of 590 s, 192 kHz, 8 channels", lambda: {"audio": flac_of_nothing()}, is_slow=True, lasts_seconds=590.0),
    Bomb(
        "H.264, 18,000 frames of 1920 x 1088 in 4 s",
        _video(lambda: large_frames(1920, 1088, 18_000, 4_500)),
        is_slow=True,
    ),
    Bomb(
        "H.264, 2,000 frames of 1920 x 1088 in 590 s",
        _video(lambda: large_frames(1920, 1088, 2_000, 25, 590.0)),
        is_slow=True,
        lasts_seconds=590.0,
    ),
    Bomb("picture of 16000 x 16000", lambda: {"image": large_png(16_000, 16_000)}, is_slow=True),
    Bomb("picture of 4000 x 4000", lambda: {"image": large_png(4_000, 4_000)}),
    Bomb("picture with 900 MB of packed text", lambda: {"image": large_png(64, 64, 900 * 10**6)}, is_slow=True),
    Bomb("picture, GIF of 16000 x 16000", lambda: {"image": gif(16_000, 16_000, 2_000)}),
    Bomb("picture, JPEG of 2000 scans", lambda: {"image": progressive_jpeg()}, is_slow=True),
    Bomb("4,900 cues of 590 s", lambda: {"text": crowded_cues()}),
    Bomb("80 long cues that overlap", lambda: {"text": staggered_cues(), "audio": wav(4_000, 300 * 4_000)}),
    Bomb(
        "95,000 characters on each second of 590 s",
        lambda: {"text": b"word " * 19_000, "audio": wav(4_000, 590 * 4_000)},
        lasts_seconds=590.0,
    ),
    Bomb("500,000 cues", lambda: {"text": crowded_cues() * 100}),
    Bomb("100,000 open brackets as options", lambda: {"text": b"stir", "options": b"[" * 100_000}),
    Bomb("100,000 open brackets as the body", lambda: {"body": b'{"video":' + b"[" * 100_000}),
    Bomb("100,000 open brackets as a row", lambda: {"tabular": b"[" * 100_000}),
    Bomb("a number of 4 M digits", lambda: {"tabular": b'{"guests": ' + b"9" * 4_000_000 + b"}"}),
    Bomb("a body of 300,000 fields", lambda: {"body": _json({f"f{place}": 0 for place in range(300_000)})}),
    Bomb(
        "6 MB of base64 that is a 4.4 MB WAV at 1 Hz",
        lambda: {"body": _json({"audio": base64.b64encode(wav(1)).decode()})},
    ),
    Bomb("Parquet of 50,000 columns", lambda: {"tabular": _wide_table()}, is_slow=True),
    Bomb("Parquet of 4 M rows in a few bytes", lambda: {"imu": _long_table()}),
    Bomb("CSV of 3 M cells", lambda: {"imu": b"x,y,z\n" + b"1,2,3\n" * 1_000_000}),
    Bomb(
        "JSON of 3 M cells",
        lambda: {"imu": b"[" + b"[1,2,3]," * 999_999 + b"[1,2,3]]"},
        most_megabytes=200.0,  # the server parses it before anybody is asked
    ),
)
