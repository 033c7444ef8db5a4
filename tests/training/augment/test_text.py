"""Word dropout."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from models.tokenizer import PADDING_ID
from training.augment.config import TextAugmentation
from training.augment.text import drop_words


def make_texts(num_runs: int = 50) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Three hops: the first two say the same, the third says less."""
    lengths = torch.tensor([8, 8, 5])
    token_mask = (torch.arange(10) < lengths[:, None]).expand(num_runs, 3, 10).clone()
    token_ids = torch.arange(1, 11).expand(num_runs, 3, 10).masked_fill(~token_mask, PADDING_ID)
    return token_ids, token_mask, torch.ones(num_runs, 3, dtype=torch.bool)


@given(st.floats(0.01, 1.0), st.integers(0, 99))
def test_what_is_left_keeps_its_order_and_is_never_nothing(share: float, seed: int) -> None:
    torch.manual_seed(seed)
    token_ids, token_mask, masks = make_texts(4)
    new_ids, new_mask = drop_words(token_ids, token_mask, masks, TextAugmentation(word_dropout=share))
    assert (new_mask == (new_ids != PADDING_ID)).all()
    assert new_mask.any(dim=2).all()
    for before, after in zip(token_ids.flatten(0, 1).tolist(), new_ids.flatten(0, 1).tolist(), strict=True):
        left = [token for token in after if token != PADDING_ID]
        assert after[: len(left)] == left == sorted(set(left))
        assert set(left) <= set(before)
    assert new_ids[:, 0].equal(new_ids[:, 1])
    if share == 1.0:
        assert (new_mask.sum(dim=2) == 1).all()


def test_each_token_goes_with_the_probability() -> None:
    torch.manual_seed(0)
    token_ids, token_mask, masks = make_texts(2000)
    new_ids, _ = drop_words(token_ids, token_mask, masks, TextAugmentation(word_dropout=0.3))
    shares = [(new_ids[:, 0] == token).any(dim=1).double().mean().item() for token in range(1, 9)]
    assert shares == pytest.approx([0.7] * 8, abs=0.04)


def test_absent_hops_and_runs_that_are_not_drawn_stay() -> None:
    torch.manual_seed(0)
    token_ids, token_mask, masks = make_texts(200)
    masks[:, 1] = False
    config = TextAugmentation(word_dropout=0.9, probability=0.4)
    new_ids, new_mask = drop_words(token_ids, token_mask, masks, config)
    assert new_ids[:, 1].equal(token_ids[:, 1])
    assert new_mask[:, 1].equal(token_mask[:, 1])
    assert 50 < int((new_ids != token_ids).flatten(1).any(dim=1).sum()) < 110
    empty = torch.zeros_like(token_mask)
    assert not drop_words(token_ids, empty, masks, config)[1].any()
