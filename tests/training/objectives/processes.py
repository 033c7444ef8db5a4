"""The contrastive objective in two processes, each with a share of the windows."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import distributed
from torch.multiprocessing.spawn import spawn

from tests.training.objectives.windows import make_windows
from training.objectives.base import ObjectiveInput
from training.objectives.config import ContrastiveConfig
from training.objectives.contrastive import Contrastive

NAMES = ("video", "audio", "text")
BORDERS = (0, 7, 12)
"""Where the processes' shares of the twelve windows begin; one clip has a window in either."""


def make_objective(chunk_size: int | None, pairs: tuple[tuple[str, str], ...] | None = None) -> Contrastive:
    """A seeded objective over three modalities, in float64."""
    torch.manual_seed(7)
    return Contrastive(ContrastiveConfig(width=6, chunk_size=chunk_size, pairs=pairs), NAMES, width=4).double()


def share_of(inputs: ObjectiveInput, start: int, stop: int) -> ObjectiveInput:
    """The windows of one process."""
    tokens = {name: t[start:stop].clone().requires_grad_() for name, t in inputs.tokens.items()}
    masks = {name: mask[start:stop] for name, mask in inputs.masks.items()}
    return ObjectiveInput(tokens, masks, inputs.clips[start:stop], inputs.fuse)


def _work(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    results: dict[str, Any] = {}
    for chunk_size in (None, 3):
        objective = make_objective(chunk_size)
        share = share_of(make_windows(), *list(pairwise(BORDERS))[rank])
        loss = objective(share)
        loss.backward()
        results[str(chunk_size)] = {
            "loss": loss.item(),
            "parameters": {name: parameter.grad for name, parameter in objective.named_parameters()},
            "tokens": {name: share.tokens[name].grad for name in NAMES},
        }
    torch.save(results, Path(folder) / f"{rank}.pt")
    distributed.destroy_process_group()


def run_processes(folder: Path) -> list[dict[str, Any]]:
    """Start both, wait, and give what each of them found."""
    spawn(_work, args=(str(folder),), nprocs=2)
    return [torch.load(folder / f"{rank}.pt") for rank in range(2)]
