"""Two processes train one model: each its part of the runs, one result."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from itertools import chain
from pathlib import Path

import torch

from training.loop import Ranks

ROOT = Path(__file__).resolve().parents[2]


def test_two_processes_end_with_the_same_weights(tiny_manifest: Path, tmp_path: Path) -> None:
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    subprocess.run(
        [sys.executable, *launcher, "-m", "tests.training.ranks", str(tiny_manifest), str(tmp_path)],
        check=True,
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1", "ACTIVITY_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
        timeout=120,
    )
    records = [json.loads((tmp_path / f"rank{rank}.json").read_text(encoding="utf-8")) for rank in (0, 1)]
    one, other = (torch.load(tmp_path / f"rank{rank}.pt", weights_only=True) for rank in (0, 1))
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert records[0]["val_loss"] == records[1]["val_loss"]
    # Four clips give two runs each: four for each process, in two batches of two.
    seen = [[len(batch) for batch in record["seen"]] for record in records]
    assert seen == [[2, 2], [2, 2]]
    assert sorted(chain(*records[0]["seen"], *records[1]["seen"])) == [0, 0, 1, 1, 2, 2, 3, 3]
    # The contrastive loss asks both processes for their windows: two runs of two windows each.
    assert records[0]["gathered"] == records[1]["gathered"]
    assert {tuple(sizes) for sizes in records[0]["gathered"]} == {(4, 4)}
    assert (tmp_path / "model.safetensors").is_file()
    assert len((tmp_path / "metrics.csv").read_text(encoding="utf-8").splitlines()) == 2


def test_alone_there_is_one_process() -> None:
    assert Ranks.of_environment() == Ranks(0, 1, 1)
