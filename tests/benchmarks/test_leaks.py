"""The measurement of leaks sees those that are made on purpose, and none where there is none."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks.bad_neighbours import save_every
from benchmarks.footprint import Footprint, Sample, find_leaks, growth, memory_slope
from benchmarks.known_requests import make_requests
from benchmarks.leaks import Asked, measure, mix, pipeline_target
from handler.pipeline import ActivityPipeline

STEADY = Footprint(memory_mb=400.0, descriptors=40, threads=9, processes=4, shared_segments=6)
BAD = [{"video": b"no media"}, {"nonsense": b"x"}, {"text": b"hello", "options": b'{"topk": 1}'}]


def samples_of(*footprints: Footprint) -> list[Sample]:
    return [Sample(100 * place, footprint) for place, footprint in enumerate(footprints, start=1)]


def memory_of(megabytes: Iterable[float]) -> list[Sample]:
    return samples_of(*(replace(STEADY, memory_mb=float(each)) for each in megabytes))


def test_what_stays_is_no_leak() -> None:
    assert find_leaks(samples_of(*[STEADY] * 40), max_slope_mb=0.0) == []
    warming = [*np.linspace(300, 400, 20), *[400.0] * 20]
    assert find_leaks(memory_of(warming), max_slope_mb=0.0) == []
    jumps = [400.0] * 30 + [460.0] + [400.0] * 9
    assert memory_slope(memory_of(jumps)) == 0.0
    to_and_fro = [replace(STEADY, processes=4 + place % 2) for place in range(40)]
    assert find_leaks(samples_of(*to_and_fro), max_slope_mb=0.0) == []


def test_what_grows_is_named() -> None:
    noise = np.random.default_rng(0).normal(0.0, 0.1, 40)
    growing = memory_of(400 + 0.2 * np.arange(40) + noise)
    assert memory_slope(growing) == pytest.approx(2.0, abs=0.2)
    assert len(find_leaks(growing, max_slope_mb=1.0)) == 1
    for name in ("descriptors", "threads", "processes", "shared_segments"):
        late = [replace(STEADY, **{name: 50 + (place >= 35)}) for place in range(40)]
        assert growth(samples_of(*late), name) == 1
        assert find_leaks(samples_of(*late), max_slope_mb=0.0) == [f"{name.replace('_', ' ')}: 1 more"]


def test_few_samples_say_nothing() -> None:
    with pytest.raises(ValueError, match="at least 8 samples, got 7"):
        memory_slope(samples_of(*[STEADY] * 7))


def test_a_footprint_counts_what_there_is() -> None:
    before = Footprint.of(os.getpid())
    descriptor = os.memfd_create("footprint")
    try:
        after = Footprint.of(os.getpid())
    finally:
        os.close(descriptor)
    assert after.descriptors == before.descriptors + 1
    assert after.shared_segments == before.shared_segments + 1
    assert after.threads >= after.processes >= 1
    assert after.memory_mb > 10


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_every(tmp_path_factory.mktemp("every"))


@pytest.mark.parametrize(("leak", "found"), [(None, []), ("megabyte", ["memory"])])
def test_a_pipeline_leaks_nothing_and_a_leaking_one_is_found(
    checkpoint: Path, leak: str | None, found: list[str]
) -> None:
    """The short form of ``python -m benchmarks.leaks --here``."""
    known = make_requests(ActivityPipeline.from_checkpoint(checkpoint), 6)
    with pipeline_target(checkpoint, leak) as target:
        target.ask([Asked(request.parts, request.options) for request in known])
        report = measure(target, mix(known, BAD), count=80, every=8)
    assert report.wrong == {}
    assert [what.split()[0].rstrip(":") for what in report.broken(max_slope_mb=200.0)] == found
