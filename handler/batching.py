"""Fixed-shape micro-batches of ONE request.

A kernel may add numbers in another order for another shape. Every forward therefore has the same shape, the last
micro-batch padded, and never mixes requests: what a request is answered depends on nothing but the request.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from itertools import count

import torch
from torch import Tensor

from handler.measures import Item, note_micro_batches, note_seconds
from handler.runtime import Runtime


def run_micro_batches(
    forward: Callable[..., Tensor],
    inputs: Sequence[Tensor],
    *,
    size: int,
    runtime: Runtime,
    item: Item | None = None,
    transform: Callable[..., Sequence[Tensor]] | None = None,
    report: Callable[[int, int], None] | None = None,
) -> Tensor:
    """Apply ``forward`` to micro-batches of exactly ``size`` items.

    Args:
        forward: takes one micro-batch of each input and gives ``(size, ...)``.
        inputs: tensors with the same first axis of N items, N at least 1.
        size: items in a micro-batch.
        runtime: says the device, and how many micro-batches run at a time.
        item: what they are, for the measures; by default they are not measured.
        transform: from a micro-batch of the inputs to what ``forward`` takes, before autocast begins, so that neither
            the whole clip's float tensors exist at once nor a spectrogram is computed in half precision.
        report: is told after each micro-batch how many are done, of how many; by several threads.

    Returns:
        ``(N, ...)`` float32 on the CPU.
    """
    num_items = inputs[0].shape[0]
    starts = list(range(0, num_items, size))
    done = count(1)  # counts whole, whichever thread asks
    spent: list[tuple[float, float]] = []  # seconds of each micro-batch's transform, and of all of it
    began = time.perf_counter()

    def run(start: int) -> Tensor:
        batch: Sequence[Tensor]
        started = time.perf_counter()
        batch = [_padded(tensor[start : start + size], size).to(runtime.device) for tensor in inputs]
        if transform is not None:
            batch = transform(*batch)
        transformed = time.perf_counter()
        with runtime.forward_context():
            result = forward(*batch).float().cpu()
        spent.append((transformed - started, time.perf_counter() - started))
        if report is not None:
            report(next(done), len(starts))
        return result

    results = torch.cat(runtime.map(run, starts))[:num_items]
    if item is not None:
        note_micro_batches(item, asked=num_items, computed=len(starts) * size)
    if transform is not None:  # of the time that has passed its part, as of what the threads have spent
        share = sum(seconds for seconds, _ in spent) / max(sum(seconds for _, seconds in spent), 1e-9)
        note_seconds("transform", share * (time.perf_counter() - began))
    return results


def _padded(batch: Tensor, size: int) -> Tensor:
    """Repeat the last item up to ``size`` items: real values, so that no padding makes a NaN or a denormal."""
    lacking = size - batch.shape[0]
    return batch if lacking == 0 else torch.cat((batch, batch[-1:].expand(lacking, *batch.shape[1:])))
