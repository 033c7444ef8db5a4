"""What a step sees of each run: single modalities and pairs, each with the same chance, none invented."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch

from training.masks import draw_masks, drop_modalities, keep_pair, keep_single


def test_pairs_have_the_same_chance() -> None:
    torch.manual_seed(0)
    runs = 30_000
    kept = keep_pair(torch.ones(runs, 3, 2, dtype=torch.bool))
    assert kept.any(dim=2).sum(dim=1).unique().tolist() == [2]
    assert torch.equal(kept.any(dim=2), kept.all(dim=2))  # whole runs
    left_out = (~kept[..., 0]).float().mean(dim=0)
    assert left_out.tolist() == pytest.approx([1 / 3] * 3, abs=4 * math.sqrt(2 / 9 / runs))


def test_no_pair_has_a_modality_that_is_not_there() -> None:
    torch.manual_seed(1)
    masks = torch.rand(3000, 4, 3) < 0.25
    kept = keep_pair(masks)
    assert not (kept & ~masks).any()
    present = masks.any(dim=2).sum(dim=1)
    assert torch.equal(kept.any(dim=2).sum(dim=1), present.clamp(max=2))
    assert torch.equal(keep_pair(masks[:, :1]), masks[:, :1])


def test_each_stage_has_its_draw() -> None:
    masks = torch.ones(50, 3, 4, dtype=torch.bool)
    draws: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
        "singles": keep_single,
        "pairs": keep_pair,
        "all": lambda m: drop_modalities(m, 0.3),
    }
    for modalities, draw in draws.items():
        torch.manual_seed(2)
        expected = draw(masks)
        torch.manual_seed(2)
        assert torch.equal(draw_masks(masks, modalities, 0.3), expected)
