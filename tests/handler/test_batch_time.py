from __future__ import annotations

import math
import time
from pathlib import Path

import pytest
import yaml

from handler.batch_time import batch_end, within_batch
from handler.limits import Limits
from handler.runtime import choose_runtime

MODEL_CONFIG = Path(__file__).parents[2] / "config" / "model-config.yaml"


def test_all_items_end_at_one_time_in_whichever_thread() -> None:
    before = time.monotonic()
    step = within_batch(lambda item: (item, batch_end()), 100.0)
    time.sleep(0.05)
    found = choose_runtime(threads=3).map(step, [1, 2, 3])
    assert [item for item, _ in found] == [1, 2, 3]
    assert len({end for _, end in found}) == 1
    assert found[0][1] == pytest.approx(before + 100.0, abs=0.04)
    assert batch_end() == math.inf


def test_after_a_step_that_fails_there_is_no_end() -> None:
    with pytest.raises(ZeroDivisionError):
        within_batch(lambda _: 1 // 0, 1.0)(None)
    assert batch_end() == math.inf


def test_a_batch_is_given_up_before_its_worker_is() -> None:
    section = yaml.safe_load(MODEL_CONFIG.read_text(encoding="utf-8"))
    assert Limits().max_duration_seconds + Limits().max_decode_seconds > section["responseTimeout"]
    assert Limits().max_batch_seconds <= section["responseTimeout"] - 60
