from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from models.fusion.block_sparse import block_pattern, block_sparse_attention, dense_attention


def heads_of(length: int, *, batch: int = 2, heads: int = 2, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    torch.manual_seed(seed)
    query, key, value = torch.randn(3, batch, heads, length, 4, dtype=torch.float64)
    return query, key, value


def slow(query: Tensor, key: Tensor, value: Tensor, allowed: Tensor) -> Tensor:
    """Softmax over the allowed keys alone, query by query; ``allowed`` is ``(B, n, n)``."""
    result = torch.zeros_like(query)
    batch, heads, length, size = query.shape
    for b in range(batch):
        for i in range(length):
            chosen = allowed[b, i].nonzero()[:, 0]
            for h in range(heads if len(chosen) else 0):
                weights = (key[b, h, chosen] @ query[b, h, i] / size**0.5).softmax(0)
                result[b, h, i] = weights @ value[b, h, chosen]
    return result


def test_the_pattern_is_local_blocks_and_a_global_first_one() -> None:
    rows = ["".join("x" if kept else "." for kept in row) for row in block_pattern(7, 2, 1).tolist()]
    assert rows == ["xxxxxxx", "xxxxxxx", "xxxxxx.", "xxxxxx.", "xxxxxxx", "xxxxxxx", "xx..xxx"]
    rows = ["".join("x" if kept else "." for kept in row) for row in block_pattern(5, 2, 0).tolist()]
    assert rows == ["xxxxx", "xxxxx", "xxxx.", "xxxx.", "xx..x"]


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 23), st.integers(1, 7), st.integers(0, 3), st.integers(0, 2**31), st.floats(0, 1))
def test_it_equals_dense_attention_under_its_pattern(
    length: int, block_size: int, neighbours: int, seed: int, kept: float
) -> None:
    query, key, value = heads_of(length, seed=seed)
    mask = torch.rand(2, length) < kept
    sparse = block_sparse_attention(query, key, value, mask, block_size=block_size, neighbours=neighbours)
    allowed = block_pattern(length, block_size, neighbours) & mask[:, None, :]
    torch.testing.assert_close(sparse, dense_attention(query, key, value, allowed[:, None]), atol=1e-12, rtol=0)


@pytest.mark.parametrize(("length", "block_size", "neighbours"), [(1, 4, 1), (8, 4, 0), (11, 3, 1), (13, 4, 2)])
def test_both_equal_the_slow_reference(length: int, block_size: int, neighbours: int) -> None:
    query, key, value = heads_of(length)
    mask = torch.rand(2, length) < 0.6
    mask[1] = False
    allowed = block_pattern(length, block_size, neighbours) & mask[:, None, :]
    expected = slow(query, key, value, allowed)
    sparse = block_sparse_attention(query, key, value, mask, block_size=block_size, neighbours=neighbours)
    torch.testing.assert_close(sparse, expected, atol=1e-12, rtol=0)
    torch.testing.assert_close(dense_attention(query, key, value, allowed[:, None]), expected, atol=1e-12, rtol=0)


def test_gradients_equal_those_of_dense_attention() -> None:
    mask = torch.rand(2, 14, generator=torch.Generator().manual_seed(1)) < 0.6
    mask[1] = False
    gradients = []
    for sparse in (True, False):
        query, key, value = (part.requires_grad_() for part in heads_of(14))
        if sparse:
            result = block_sparse_attention(query, key, value, mask, block_size=4, neighbours=1)
        else:
            result = dense_attention(query, key, value, (block_pattern(14, 4, 1) & mask[:, None, :])[:, None])
        result.square().sum().backward()
        gradients.append([query.grad, key.grad, value.grad])
    for one, other in zip(*gradients, strict=True):
        assert one is not None
        assert torch.isfinite(one).all()
        torch.testing.assert_close(one, other, atol=1e-12, rtol=0)


def test_the_work_grows_with_the_length_and_not_with_its_square() -> None:
    def work(length: int) -> int:
        query, key, value = heads_of(length, batch=1)
        with (
            FlopCounterMode(display=False) as counter,
            torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH),
        ):
            block_sparse_attention(query, key, value, torch.ones(1, length).bool(), block_size=16, neighbours=1)
        return int(counter.get_total_flops())

    # 2 products of 2 multiply-adds, 2 heads of 4: the first block by all, each other by four blocks
    assert work(256) == 2 * 2 * 2 * 4 * (16 * 256 + 240 * 64)
    assert work(1024) == 2 * 2 * 2 * 4 * (16 * 1024 + 1008 * 64)
    assert work(1024) < 2 * 2 * 2 * 4 * 1024**2 / 12
