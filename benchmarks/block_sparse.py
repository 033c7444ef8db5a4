"""Does block-sparse attention save the work that its pattern leaves out?

    python -m benchmarks.block_sparse

Dense attention under the pattern's mask and block-sparse attention, one thread, taken in turns, for growing lengths;
their results are compared first. Milliseconds are the median of the rounds.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Mapping

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from models.fusion.block_sparse import block_pattern, block_sparse_attention

HEADS, HEAD_WIDTH = 4, 32
TOLERANCE = 1e-5  # float32 sums in another order


def interleaved(ways: Mapping[str, Callable[[], Tensor]], rounds: int) -> dict[str, float]:
    """The median of each way's milliseconds, after one round that is not counted; the ways take turns."""
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for counted in [False] + [True] * rounds:
        for name, way in ways.items():
            started = time.perf_counter()
            way()
            if counted:
                taken[name].append(1000 * (time.perf_counter() - started))
    return {name: statistics.median(times) for name, times in taken.items()}


def measure(length: int, block_size: int, neighbours: int, rounds: int) -> dict[str, float]:
    """Milliseconds of both ways on one window of ``length`` tokens, every tenth of them masked.

    Raises:
        RuntimeError: when the two differ.
    """
    query, key, value = (torch.randn(1, HEADS, length, HEAD_WIDTH) for _ in range(3))
    mask = torch.arange(length)[None] % 10 != 0
    allowed = (block_pattern(length, block_size, neighbours) & mask[:, None, :])[:, None]
    ways: dict[str, Callable[[], Tensor]] = {
        "dense": lambda: scaled_dot_product_attention(query, key, value, attn_mask=allowed),
        "block-sparse": lambda: block_sparse_attention(
            query, key, value, mask, block_size=block_size, neighbours=neighbours
        ),
    }
    difference = float((ways["dense"]() - ways["block-sparse"]()).abs().max())
    if difference > TOLERANCE:
        raise RuntimeError(f"at length {length} the two differ by {difference}")
    return interleaved(ways, rounds)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lengths", type=int, nargs="+", default=[100, 250, 500, 1000, 2000, 4000])
    parser.add_argument("--block-size", type=int, default=64)
    parser.add_argument("--neighbours", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=15)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    table = Table(title=f"{HEADS} heads of {HEAD_WIDTH}, blocks of {arguments.block_size}, float32, 1 thread")
    for column in ("tokens", "pattern keeps", "dense ms", "block-sparse ms", "dense / block-sparse"):
        table.add_column(column, justify="right")
    with torch.inference_mode():
        for length in arguments.lengths:
            kept = float(block_pattern(length, arguments.block_size, arguments.neighbours).float().mean())
            taken = measure(length, arguments.block_size, arguments.neighbours, arguments.rounds)
            dense, sparse = taken["dense"], taken["block-sparse"]
            table.add_row(str(length), f"{kept:.1%}", f"{dense:.2f}", f"{sparse:.2f}", f"{dense / sparse:.2f}")
    Console().print(table)


if __name__ == "__main__":
    main()
