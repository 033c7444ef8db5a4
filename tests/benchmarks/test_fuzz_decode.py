from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from benchmarks.fuzz_decode import (
    CORPUS,
    KINDS,
    MAX_CORPUS_BYTES,
    MAX_KEPT_BYTES,
    as_unit,
    decode_unit,
    fuzz,
    keep_units,
    kept_units,
    seed_units,
)


def test_the_corpus_that_is_kept_ends_in_answers_and_errors_of_requests() -> None:
    units = kept_units()
    assert len(units) > 50
    assert CORPUS.stat().st_size <= MAX_CORPUS_BYTES
    assert max(map(len, units)) <= MAX_KEPT_BYTES
    for unit in units:
        decode_unit(unit)


def test_seeds_are_of_every_kind() -> None:
    kinds = Counter(KINDS[unit[0]] for unit in seed_units())
    assert kinds.keys() >= {"video", "audio", "image", "text", "tabular", "imu", "options", "body"}


def test_the_corpus_grows_by_what_is_small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.fuzz_decode.CORPUS", tmp_path / "corpus.txt")
    keep_units([b"\x04bb", b"\x04a", b"\x04" * 500])
    assert kept_units() == [b"\x04a", b"\x04bb"]
    keep_units([b"\x04a", b"\x05"])
    assert kept_units() == [b"\x04a", b"\x04bb", b"\x05"]


def test_noise_breaks_nothing_and_a_fault_that_is_planted_is_found(tmp_path: Path) -> None:
    pytest.importorskip("atheris", reason="atheris has wheels for Linux on x86-64 alone")
    with ThreadPoolExecutor(2) as threads:
        sound = threads.submit(fuzz, 2, tmp_path, keep=False)
        faulty = threads.submit(fuzz, 2, tmp_path, keep=False, entry="break_on_arrows")
        assert sound.result() == 0
        assert faulty.result() != 0
    found = [path.read_bytes() for path in tmp_path.iterdir()]
    assert len(found) == 1
    assert b"-->" in found[0]


def test_a_unit_says_its_part() -> None:
    assert as_unit("audio", b"x") == b"\x01x"
    decode_unit(b"")
