"""Where and how the model runs: device, autocast's dtype, and threads.

One thread a forward, several forwards at a time: each torch operation runs on a single thread and the parallelism is
over micro-batches. The order in which numbers are added then depends neither on the number of cores nor on the
number of workers, so neither do the answer's bytes.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

import torch

Item = TypeVar("Item")
Result = TypeVar("Result")

THREADS_VARIABLE = "ACTIVITY_THREADS"
WORKERS_VARIABLE = "ACTIVITY_WORKERS"


@dataclass(frozen=True)
class Runtime:
    """How the model runs."""

    device: torch.device
    dtype: torch.dtype
    """What autocast computes in; float32 means that autocast is off."""
    threads: int
    """Micro-batches, and clips in decode, at a time."""

    @contextmanager
    def forward_context(self) -> Iterator[None]:
        """Inference mode and autocast. Both belong to a thread, so each thread enters this for itself."""
        enabled = self.dtype != torch.float32
        with torch.inference_mode(), torch.autocast(self.device.type, dtype=self.dtype, enabled=enabled):
            yield

    def map(self, function: Callable[[Item], Result], items: list[Item]) -> list[Result]:
        """Apply ``function`` to each item, up to ``threads`` at a time; results in the order of the items."""
        if self.threads == 1 or len(items) <= 1:
            return [function(item) for item in items]
        with ThreadPoolExecutor(max_workers=min(self.threads, len(items))) as pool:
            return list(pool.map(function, items))


def choose_runtime(gpu_id: int | None = None, *, threads: int | None = None) -> Runtime:
    """Choose device, dtype and threads for this process.

    On CUDA bfloat16, or float16 where the card has no bfloat16; on the CPU bfloat16 only where the processor has
    instructions for it (without them it was measured 5 to 17 times slower than float32).

    Args:
        gpu_id: the card TorchServe assigned, or None for the CPU.
        threads: how many; by default the variable ``ACTIVITY_THREADS``, else the cores that this process may use
            divided by the number of workers (``ACTIVITY_WORKERS``, 1 by default).
    """
    torch.set_num_threads(1)
    if gpu_id is not None and torch.cuda.is_available():
        device = torch.device("cuda", gpu_id)
        return Runtime(device, torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16, threads=1)
    capabilities = torch.cpu.get_capabilities()
    has_bfloat16 = capabilities.get("amx_bf16", False) or capabilities.get("avx512_bf16", False)
    dtype = torch.bfloat16 if has_bfloat16 else torch.float32
    return Runtime(torch.device("cpu"), dtype, threads=threads or _default_threads())


def _default_threads() -> int:
    configured = os.environ.get(THREADS_VARIABLE, "")
    if configured.isdigit() and int(configured) >= 1:
        return int(configured)
    workers = os.environ.get(WORKERS_VARIABLE, "")
    num_workers = int(workers) if workers.isdigit() and int(workers) >= 1 else 1
    return max(1, len(os.sched_getaffinity(0)) // num_workers)
