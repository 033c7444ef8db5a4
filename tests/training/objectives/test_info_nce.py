"""InfoNCE in one direction: against loops, in chunks, and what it holds in memory."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from training.objectives.info_nce import Pairing, info_nce


def reference(queries: Tensor, keys: Tensor, pairing: Pairing) -> list[float]:
    """The definition, one product at a time."""
    losses = []
    for row, own in enumerate(pairing.own.tolist()):
        total = 0.0
        for column in range(len(keys)):
            negative = pairing.query_clips[row] != pairing.key_clips[column] and bool(pairing.key_counted[column])
            if negative or column == own:
                total += math.exp((queries[row] @ keys[column]).item())
        losses.append(math.log(total) - (queries[row] @ keys[own]).item())
    return losses


def draw(n: int = 9, total: int = 14, width: int = 5, seed: int = 0) -> tuple[Tensor, Tensor, Pairing]:
    generator = torch.Generator().manual_seed(seed)
    queries = torch.randn(n, width, generator=generator, dtype=torch.float64).requires_grad_()
    keys = torch.randn(total, width, generator=generator, dtype=torch.float64).requires_grad_()
    clips = torch.randint(0, 6, (total,), generator=generator)
    own = torch.randperm(total, generator=generator)[:n]
    counted = torch.rand(total, generator=generator) < 0.7
    return queries, keys, Pairing(clips[own], clips, counted, own)


def gradients(loss: Tensor, *inputs: Tensor) -> tuple[Tensor, ...]:
    weights = torch.linspace(0.5, 2.0, len(loss), dtype=loss.dtype)
    return torch.autograd.grad((loss * weights).sum(), inputs)


@pytest.mark.parametrize("chunk_size", [None, 4])
def test_the_loss_is_the_definition(chunk_size: int | None) -> None:
    queries, keys, pairing = draw()
    losses = info_nce(queries, keys, pairing, chunk_size)
    torch.testing.assert_close(
        losses, torch.tensor(reference(queries, keys, pairing), dtype=torch.float64), rtol=0, atol=1e-12
    )
    assert losses.min() >= 0.0


@pytest.mark.parametrize("chunk_size", [1, 3, 9, 100])
@pytest.mark.parametrize("seed", [0, 1])
def test_chunks_change_neither_loss_nor_gradients(chunk_size: int, seed: int) -> None:
    queries, keys, pairing = draw(seed=seed)
    whole, chunked = info_nce(queries, keys, pairing), info_nce(queries, keys, pairing, chunk_size)
    torch.testing.assert_close(chunked, whole, rtol=0, atol=1e-10)
    expected, found = gradients(whole, queries, keys), gradients(chunked, queries, keys)
    for one, other in zip(expected, found, strict=True):
        assert one.abs().max() > 0.1
        torch.testing.assert_close(other, one, rtol=0, atol=1e-10)


def test_the_gradients_of_chunks_are_those_of_finite_differences() -> None:
    queries, keys, pairing = draw(n=4, total=6, width=3)
    assert torch.autograd.gradcheck(lambda q, k: info_nce(q, k, pairing, 2), (queries, keys))


@pytest.mark.parametrize("chunk_size", [None, 4])
def test_what_does_not_count_changes_nothing(chunk_size: int | None) -> None:
    """Keys of the query's own clip and keys that are absent, but for the query's own."""
    queries, keys, pairing = draw()
    before = info_nce(queries, keys, pairing, chunk_size)
    for row, own in enumerate(pairing.own.tolist()):
        unseen = ~pairing.key_counted | (pairing.key_clips == pairing.query_clips[row])
        unseen[own] = False
        assert unseen.any()
        changed = torch.where(unseen[:, None], 50.0, keys)
        assert info_nce(queries, changed, pairing, chunk_size)[row] == before[row]


@pytest.mark.parametrize("chunk_size", [None, 2])
def test_large_similarities_do_not_overflow(chunk_size: int | None) -> None:
    queries = torch.tensor([[1000.0], [-1000.0]])
    pairing = Pairing(torch.arange(2), torch.arange(2), torch.ones(2, dtype=torch.bool), torch.arange(2))
    losses = info_nce(queries, torch.tensor([[1.0], [-1.0]]), pairing, chunk_size)
    assert losses.tolist() == [0.0, 0.0]


class LargestTensor(TorchDispatchMode):
    """Records the most elements that any operation's result has."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.elements: int = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        del types
        result = func(*args, **(kwargs or {}))
        for value in result if isinstance(result, tuple | list) else (result,):
            if isinstance(value, Tensor):
                self.elements = max(self.elements, value.numel())
        return result


def largest_tensor(num_windows: int, chunk_size: int | None) -> int:
    """The most elements of any tensor, forward and backward, with E = 8."""
    queries, keys = torch.randn(2, num_windows, 8, requires_grad=True).unbind()
    index = torch.arange(num_windows)
    pairing = Pairing(index, index, torch.ones(num_windows, dtype=torch.bool), index)
    recorder = LargestTensor()
    with recorder:
        info_nce(queries, keys, pairing, chunk_size).sum().backward()
    return recorder.elements


def test_chunks_never_hold_all_similarities() -> None:
    assert largest_tensor(512, None) == 512 * 512
    assert largest_tensor(512, 64) == 2 * 512 * 8  # the inputs themselves, whose halves' gradients are put together
    assert largest_tensor(1024, 64) == 2 * 1024 * 8
