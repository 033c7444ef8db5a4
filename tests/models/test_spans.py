from __future__ import annotations

import torch

from models.spans import join_hops, place_mask, place_tokens


def test_hops_are_joined_in_the_order_of_time() -> None:
    windows = torch.arange(12).view(2, 3, 2)
    assert join_hops(windows).tolist() == [[0, 1, 2, 3, 4, 5], [6, 7, 8, 9, 10, 11]]
    assert join_hops(torch.zeros(2, 3, 4, 3, 8, 8)).shape == (2, 12, 3, 8, 8)


def test_a_window_s_tokens_stand_in_its_middle_hop() -> None:
    tokens = torch.randn(2, 5, 8)
    placed = place_tokens(tokens, 4)
    assert placed.shape == (2, 4, 5, 8)
    assert torch.equal(placed[:, 2], tokens)
    assert placed.count_nonzero() == tokens.numel()
    mask = torch.tensor([[True, False, False, False], [False, False, False, False]])
    assert place_mask(mask).tolist() == [[False, False, True, False], [False] * 4]
