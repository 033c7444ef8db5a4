from __future__ import annotations

import math

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from models.transformer import (
    Attention,
    TransformerBlock,
    grid_positions,
    masked_mean,
    sinusoidal_at,
    sinusoidal_positions,
)


@torch.no_grad()
def slow_attention(attention: Attention, queries: Tensor, keys: Tensor, key_mask: Tensor) -> Tensor:
    """Attention with loops, in float64, straight from arXiv 1706.03762, equation 1."""
    width = queries.shape[-1]
    size = width // attention.heads
    query = queries.double() @ attention.query.weight.double().T + attention.query.bias.double()
    both = keys.double() @ attention.key_value.weight.double().T + attention.key_value.bias.double()
    key, value = both[..., :width], both[..., width:]
    result = torch.zeros_like(query)
    for b in range(queries.shape[0]):
        for h in range(attention.heads):
            part = slice(h * size, (h + 1) * size)
            for i in range(queries.shape[1]):
                kept = [j for j in range(keys.shape[1]) if key_mask[b, j]]
                if not kept:
                    continue
                logits = [float(query[b, i, part] @ key[b, j, part]) / math.sqrt(size) for j in kept]
                weights = torch.tensor(logits, dtype=torch.float64).softmax(0)
                for weight, j in zip(weights, kept, strict=True):
                    result[b, i, part] += weight * value[b, j, part]
    projected = result @ attention.output.weight.double().T + attention.output.bias.double()
    projected[~key_mask.any(dim=1)] = 0.0
    return projected


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 2**31), st.integers(1, 5), st.integers(1, 6))
def test_attention_equals_the_slow_reference(seed: int, num_queries: int, num_keys: int) -> None:
    torch.manual_seed(seed)
    attention = Attention(8, 2)
    queries, keys = torch.randn(3, num_queries, 8), torch.randn(3, num_keys, 8)
    mask = torch.rand(3, num_keys) < 0.6
    expected = slow_attention(attention, queries, keys, mask)
    torch.testing.assert_close(attention(queries, keys, mask).detach().double(), expected, atol=2e-6, rtol=1e-5)


def test_a_row_that_keeps_nothing_is_zero_and_has_a_gradient_without_nan() -> None:
    torch.manual_seed(0)
    attention = Attention(8, 2)
    tokens = torch.randn(2, 3, 8, requires_grad=True)
    mask = torch.tensor([[True, False, True], [False, False, False]])
    result = attention(tokens, tokens, mask)
    assert torch.equal(result[1], torch.zeros(3, 8))
    result.sum().backward()
    assert tokens.grad is not None
    assert torch.isfinite(tokens.grad).all()


def test_masked_tokens_cannot_change_the_others() -> None:
    torch.manual_seed(0)
    block = TransformerBlock(8, 2, 0.0).eval()
    tokens = torch.randn(1, 4, 8)
    mask = torch.tensor([[True, True, True, False]])
    changed = tokens.clone()
    changed[0, 3] = 1e6
    assert torch.equal(block(tokens, mask)[0, :3], block(changed, mask)[0, :3])
    assert not torch.equal(block(tokens)[0, :3], block(changed)[0, :3])  # without the mask they do


def test_samples_of_a_batch_do_not_mix() -> None:
    torch.manual_seed(0)
    block = TransformerBlock(8, 2, 0.0).eval()
    tokens = torch.randn(2, 4, 8)
    changed = tokens.clone()
    changed[1] += 1.0
    assert torch.equal(block(tokens)[0], block(changed)[0])


def test_sinusoidal_positions_have_the_papers_values() -> None:
    positions = sinusoidal_positions(3, 4)
    expected = [[math.sin(p), math.cos(p), math.sin(p / 100), math.cos(p / 100)] for p in range(3)]
    torch.testing.assert_close(positions, torch.tensor(expected))
    assert sinusoidal_positions(5000, 6).shape == (5000, 6)


def test_sinusoidal_positions_exist_between_whole_numbers() -> None:
    position = sinusoidal_at(torch.tensor([0.5]), 4)
    expected = [[math.sin(0.5), math.cos(0.5), math.sin(0.005), math.cos(0.005)]]
    torch.testing.assert_close(position, torch.tensor(expected))


def test_grid_positions_say_row_and_column_and_no_place_twice() -> None:
    positions = grid_positions(20, 30, 10)
    assert positions.shape == (600, 10)
    torch.testing.assert_close(positions[7 * 30 + 4, :5], sinusoidal_positions(8, 5)[7])
    torch.testing.assert_close(positions[7 * 30 + 4, 5:], sinusoidal_positions(5, 5)[4])
    assert torch.cdist(positions, positions).fill_diagonal_(1.0).min() > 1e-2


def test_masked_mean_counts_only_what_is_there() -> None:
    tokens = torch.tensor([[[2.0], [4.0], [100.0]], [[1.0], [1.0], [1.0]]])
    mask = torch.tensor([[True, True, False], [False, False, False]])
    assert masked_mean(tokens, mask).tolist() == [[3.0], [0.0]]
