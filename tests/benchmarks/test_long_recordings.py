from __future__ import annotations

import mmap
from pathlib import Path

import pytest

from benchmarks.long_media import make_long_clip
from benchmarks.long_recordings import Memory, measure_here, read_lines


def have_for_a_moment(num_bytes: int) -> None:
    """Memory from the system and back to it, where an array's could come from what the process has already."""
    with mmap.mmap(-1, num_bytes) as pages:
        for start in range(0, num_bytes, mmap.PAGESIZE):
            pages[start] = 1


def test_memory_tells_the_most_that_a_process_had_since() -> None:
    memory = Memory()
    have_for_a_moment(50_000_000)
    memory.forget_peak()
    before = memory.megabytes()
    assert memory.megabytes(peak=True) - before < 20
    have_for_a_moment(50_000_000)
    assert 30 < memory.megabytes(peak=True) - before < 90


def test_an_answer_without_an_end_is_none() -> None:
    calls: list[None] = []
    lines = ['{"type":"header"}', '{"type":"window"}', '{"type":"end"}']
    assert read_lines(lines, lambda: calls.append(None)) == 1
    assert len(calls) == 1
    with pytest.raises(RuntimeError, match=r"the answer ends with .*window"):
        read_lines(lines[:2], lambda: None)


def test_a_recording_is_measured(tmp_path: Path) -> None:
    make_long_clip(tmp_path / "clip.mp4", 48)
    measured = measure_here(tmp_path / "clip.mp4", 0.8, "stream", tmp_path / "clip.mp4")
    assert measured.num_windows == 93
    assert measured.request_megabytes == (tmp_path / "clip.mp4").stat().st_size / 1e6
    assert measured.processor_seconds > 0
