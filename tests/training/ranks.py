"""What ``torchrun`` runs in each process: a training, of which each process then writes down its weights.

torchrun --nproc-per-node 2 -m tests.training.ranks MANIFEST OUTPUT
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import torch

from tests.training.clips import TINY, decode_once
from training.dataset import RunBatch
from training.learner import Learner
from training.objectives.gather import Processes
from training.recipe import Recipe
from training.train import train


def main() -> None:
    """Train on this process's part of the runs."""
    torch.set_num_threads(1)
    manifest, output = Path(sys.argv[1]), Path(sys.argv[2])
    rank = os.environ["RANK"]
    seen: list[list[int]] = []
    gathered: list[tuple[int, ...]] = []
    step, ask = Learner.training_step, Processes.of_rows.__func__  # type: ignore[attr-defined]  # a class method

    def training_step(learner: Learner, batch: RunBatch, index: int) -> torch.Tensor:
        seen.append(batch.clips.tolist())
        return step(learner, batch, index)

    def of_rows(cls: type[Processes], num_rows: int, device: torch.device) -> Processes:
        processes: Processes = ask(cls, num_rows, device)
        gathered.append(processes.sizes)
        return processes

    def on_fit_end(learner: Learner) -> None:
        torch.save(learner.state_dict(), output / f"rank{rank}.pt")
        record = {"seen": seen, "gathered": gathered, "val_loss": float(learner.trainer.callback_metrics["val_loss"])}
        (output / f"rank{rank}.json").write_text(json.dumps(record), encoding="utf-8")

    Learner.training_step = training_step  # type: ignore[method-assign, assignment]
    Learner.on_fit_end = on_fit_end  # type: ignore[method-assign, assignment]
    Processes.of_rows = classmethod(of_rows)  # type: ignore[method-assign, assignment]
    values = {
        "model": TINY.model_dump(mode="json"),
        "training": {"epochs": 1, "clips_per_batch": 2, "hops_per_run": 5, "seed": 5, "gradient_balance": {}},
        "objectives": {"contrastive": {"width": 8}},
    }
    train(Recipe.read(values, source="r"), manifest, output, command="torchrun", decode=decode_once)


if __name__ == "__main__":
    main()
