"""Times with a clock that is set by hand: decode takes 1 s, the model 3 s, and the first clip is not counted."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.training.test_evaluate import make_pipeline
from training.evaluation import latency
from training.evaluation.latency import measure_latency
from training.manifest import read_manifest


def test_times_by_hand(tiny_manifest: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = iter(tick + 10 * number for number in range(100) for tick in (0.0, 1.0, 4.0))
    monkeypatch.setattr(latency, "time", SimpleNamespace(perf_counter=lambda: next(ticks)))  # nobody else's clock
    monkeypatch.setattr(latency, "MAX_CLIPS", 3)
    calls: list[tuple[int, int]] = []
    entries = read_manifest(tiny_manifest)
    result = measure_latency(make_pipeline(), entries, progress=lambda *call: calls.append(call))
    assert calls == [(1, 3), (2, 3), (3, 3)]
    assert (result.decode_seconds.p50, result.decode_seconds.p99) == (1.0, 1.0)
    assert (result.model_seconds.p50, result.model_seconds.p99) == (3.0, 3.0)
    assert result.clip_seconds == pytest.approx(5.5, abs=0.5)
    assert result.real_time_factor == pytest.approx(result.clip_seconds / 4.0)
    assert (result.num_clips, result.device, result.dtype, result.threads) == (3, "cpu", "float32", 1)
