from __future__ import annotations

import os
from collections.abc import Sequence

import pytest

from benchmarks.bombs import Blast, explode
from benchmarks.hostile.bomb_files import many_samples, packed_header, silent_opus, tracks_of_many_samples, wav
from benchmarks.hostile.bombs import BOMBS, Bomb
from benchmarks.hostile.requests import Request
from benchmarks.hostile.targets import Reply, Target, WorkerTarget
from tests.media import gif


@pytest.mark.parametrize(
    ("request_of", "code"),
    [
        ({"video": many_samples()}, "undecodable_media"),
        ({"video": packed_header(80 * 10**6)}, "limit_memory"),
        ({"video": gif(16_000, 16_000, 2_000)}, "limit_frame_pixels"),
        ({"image": gif(16_000, 16_000, 2_000)}, "limit_image_pixels"),
        ({"audio": wav(1)}, "limit_seconds"),
        ({"audio": silent_opus(declares=True)}, "limit_seconds"),
        ({"tabular": b"[" * 100_000}, "undecodable_media"),
    ],
)
def test_a_bomb_is_refused_at_once_and_for_little(worker: WorkerTarget, request_of: Request, code: str) -> None:
    blast = explode(worker, Bomb("one", lambda: request_of))
    assert (blast.code, blast.broken) == (code, [])
    assert blast.seconds < 5.0


def test_cheap_bombs_of_the_script_are_refused(worker: WorkerTarget) -> None:
    cheap = [bomb for bomb in BOMBS if not bomb.is_slow and ("overlap" in bomb.name or "fragment" in bomb.name)]
    assert len(cheap) == 3
    assert {blast.name: blast.broken for bomb in cheap if (blast := explode(worker, bomb)).broken} == {}
    assert len({bomb.name for bomb in BOMBS}) == len(BOMBS) >= 36


def test_what_a_bomb_takes_is_seen() -> None:
    class Bloated:
        batch_size = 1

        def __init__(self) -> None:
            self.held: list[bytearray] = []

        def worker_pid(self) -> int:
            return os.getpid()

        def ask(self, requests: Sequence[Request]) -> list[Reply]:
            self.held.append(bytearray(b"x") * 200_000_000)
            return [Reply(200, b"{}") for _ in requests]

    target: Target = Bloated()
    blast = explode(target, Bomb("one", lambda: {"video": b"x"}))
    assert 195 < blast.rise_megabytes < 260
    assert blast.broken == [f"memory rose by {blast.rise_megabytes:.0f} MB"]


def test_promises_that_break_are_told() -> None:
    blast = Blast("one", 1, 503, "503 without JSON", 11.0, 10.0, False, most_seconds=10.0, most_megabytes=150.0)
    assert blast.broken == ["answered 503 without JSON (503)", "took 11.0 s", "the worker is another one"]


def test_a_header_that_grows_track_by_track_is_small() -> None:
    assert len(tracks_of_many_samples()) < 12_000
