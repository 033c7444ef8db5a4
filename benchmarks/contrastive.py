"""What the contrastive loss costs, whole and in chunks, as the batch grows.

    python -m benchmarks.contrastive --windows 1024 2048 4096 8192 --chunk 512 --device cpu

Both directions, forward and backward, on random embeddings. Memory is the most that tensors hold at once, beyond the
embeddings themselves: on a GPU as its allocator counts it, on a CPU by following every tensor that an operation makes.
"""

from __future__ import annotations

import argparse
import time
import weakref
from collections.abc import Callable
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from training.objectives.info_nce import Pairing, info_nce

MIB = 2**20


class PeakMemory(TorchDispatchMode):
    """Counts the bytes of the tensors that are alive among those made inside it."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.alive = 0
        self.peak = 0
        self._known: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run the operation, and count the storages that it made."""
        del types
        result = func(*args, **(kwargs or {}))
        for value in result if isinstance(result, tuple | list) else (result,):
            if isinstance(value, Tensor):
                self._follow(value.untyped_storage())
        return result

    def _follow(self, storage: torch.UntypedStorage) -> None:
        address, size = storage.data_ptr(), storage.nbytes()
        if not size or address in self._known:
            return
        self._known.add(address)
        self.alive += size
        self.peak = max(self.peak, self.alive)
        weakref.finalize(storage, self._forget, address, size)

    def _forget(self, address: int, size: int) -> None:
        self._known.discard(address)
        self.alive -= size


def make_step(num_windows: int, width: int, chunk_size: int | None, device: torch.device) -> Callable[[], None]:
    """Both directions of one pair of modalities, forward and backward; windows are four a clip."""
    drawn = torch.nn.functional.normalize(torch.randn(2, num_windows, width, device=device), dim=-1)
    one, other = drawn[0].clone().requires_grad_(), drawn[1].clone().requires_grad_()
    index = torch.arange(num_windows, device=device)
    pairing = Pairing(index // 4, index // 4, torch.ones(num_windows, dtype=torch.bool, device=device), index)

    def step() -> None:
        there, back = (info_nce(a / 0.07, b, pairing, chunk_size) for a, b in ((one, other), (other, one)))
        (there.mean() + back.mean()).backward()
        one.grad = other.grad = None

    return step


def measure(step: Callable[[], None], device: torch.device) -> tuple[float, float]:
    """Peak MiB of one step, and the seconds of the faster of two others."""
    if device.type == "cuda":
        before = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        step()
        peak = torch.cuda.max_memory_allocated(device) - before
    else:
        with PeakMemory() as memory:
            step()
        peak = memory.peak
    seconds = []
    for _ in range(2):
        start = time.perf_counter()
        step()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        seconds.append(time.perf_counter() - start)
    return peak / MIB, min(seconds)


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--windows", type=int, nargs="+", default=[1024, 2048, 4096, 8192])
    parser.add_argument("--width", type=int, default=128, help="of the embeddings")
    parser.add_argument("--chunk", type=int, default=512, help="windows in a block's rows and columns")
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()
    device = torch.device(arguments.device)
    table = Table(title=f"{device}, width {arguments.width}, chunks of {arguments.chunk}")
    for heading in ("windows", "whole, MiB", "chunked, MiB", "whole, s", "chunked, s"):
        table.add_column(heading, justify="right")
    for num_windows in arguments.windows:
        found = []
        for chunk_size in (None, arguments.chunk):
            torch.manual_seed(0)
            found.append(measure(make_step(num_windows, arguments.width, chunk_size, device), device))
        (whole, whole_seconds), (chunked, chunked_seconds) = found
        numbers = (f"{whole:.1f}", f"{chunked:.1f}", f"{whole_seconds:.3f}", f"{chunked_seconds:.3f}")
        table.add_row(str(num_windows), *numbers)
    Console().print(table)


if __name__ == "__main__":
    main()
