"""How does the cost of the Perceiver's fusion grow with the number of tokens, beside that of early fusion?

    python -m benchmarks.perceiver

Both fuse one window of three modalities, as deep and as wide as each other, one thread, taken in turns. Work is
counted, in multiplications and additions. Milliseconds are the median of the rounds.
"""

from __future__ import annotations

import argparse
from functools import partial

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.block_sparse import interleaved
from models.fusion.build import build_fusion
from models.fusion_config import EarlyConfig, PerceiverConfig

MODALITIES = ("video", "audio", "text")
HOPS = 10


def window(num_tokens: int, width: int) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """One window of about ``num_tokens`` tokens, a third of each modality."""
    per_hop = max(1, num_tokens // (HOPS * len(MODALITIES)))
    tokens = {name: torch.randn(1, HOPS, per_hop, width) for name in MODALITIES}
    return tokens, {name: torch.ones(1, HOPS, dtype=torch.bool) for name in MODALITIES}


def count_work(fusion: nn.Module, tokens: dict[str, Tensor], masks: dict[str, Tensor]) -> int:
    """Multiplications and additions of a forward pass; the plain kernel, because the counter cannot see into others."""
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        fusion(tokens, masks)
    return int(counter.get_total_flops())


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokens", type=int, nargs="+", default=[30, 120, 480, 960, 1920, 3840])
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--depth", type=int, default=4)
    parser.add_argument("--latents", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=7)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    configs = (
        EarlyConfig(depth=arguments.depth),
        PerceiverConfig(depth=arguments.depth, num_latents=arguments.latents),
    )
    fusions = {
        config.kind: build_fusion(config, MODALITIES, width=arguments.width, dropout=0.0).eval() for config in configs
    }
    table = Table(
        title=f"width {arguments.width}, depth {arguments.depth}, {arguments.latents} latents, float32, 1 thread"
    )
    for column in ("tokens", "early MFLOP", "perceiver MFLOP", "early ms", "perceiver ms", "early / perceiver ms"):
        table.add_column(column, justify="right")
    with torch.no_grad():
        for num_tokens in arguments.tokens:
            tokens, masks = window(num_tokens, arguments.width)
            work = {kind: count_work(fusion, tokens, masks) / 1e6 for kind, fusion in fusions.items()}
            ways: dict[str, partial[Tensor]] = {
                kind: partial(_fused, fusion, tokens, masks) for kind, fusion in fusions.items()
            }
            taken = interleaved(ways, arguments.rounds)
            table.add_row(
                str(sum(tensor.shape[1] * tensor.shape[2] for tensor in tokens.values())),
                *(f"{work[kind]:.1f}" for kind in fusions),
                *(f"{taken[kind]:.2f}" for kind in fusions),
                f"{taken['early'] / taken['perceiver']:.2f}",
            )
    Console().print(table)


def _fused(fusion: nn.Module, tokens: dict[str, Tensor], masks: dict[str, Tensor]) -> Tensor:
    fused: Tensor = fusion(tokens, masks).fused
    return fused


if __name__ == "__main__":
    main()
