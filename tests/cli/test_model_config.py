from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from handler.limits import Limits

PROJECT = Path(__file__).parents[2]

# What TorchServe reads from an archive's configuration; a key it does not know is ignored in silence.
KNOWN = {"minWorkers", "maxWorkers", "batchSize", "maxBatchDelay", "responseTimeout", "startupTimeout", "handler"}


def shipped() -> dict[str, Any]:
    values = yaml.safe_load((PROJECT / "config" / "model-config.yaml").read_text(encoding="utf-8"))
    assert isinstance(values, dict)
    return values


def test_every_key_is_one_that_something_reads() -> None:
    assert shipped().keys() == KNOWN


def test_the_handlers_limits_validate() -> None:
    assert Limits.read(shipped()["handler"]["limits"], source="model-config.yaml") == Limits()


def test_batches_are_of_eight_and_wait_less_than_a_request_takes() -> None:
    values = shipped()
    assert values["batchSize"] == 8
    assert values["maxBatchDelay"] <= 50
    assert values["minWorkers"] == 1
