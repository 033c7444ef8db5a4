"""Mixup: contents and truths by the same share; what only one of two runs has is taken whole."""

from __future__ import annotations

import pytest
import torch

from training.dataset import RunBatch
from training.losses import cross_entropy
from training.mixup import Mixing, draw_mixing


def test_contents_are_mixed_where_both_runs_have_them() -> None:
    mixing = Mixing(torch.tensor([1, 0]), 0.75)
    values = torch.tensor([[1.0, 2.0, 3.0, 4.0], [10.0, 20.0, 30.0, 40.0]])[..., None, None]
    present = torch.tensor([[True, True, False, False], [True, False, True, False]])
    mixed = mixing.blend(values, present)
    assert mixed.shape == values.shape
    assert mixed[:, :, 0, 0].tolist() == [[3.25, 2.0, 30.0, 4.0], [7.75, 2.0, 30.0, 40.0]]


def test_truths_are_mixed_and_what_either_has_is_shown() -> None:
    targets = torch.eye(3)[torch.tensor([[0, 1], [2, 2]])]
    masks = torch.tensor([[[True, False]], [[False, False]]])
    inside = torch.tensor([[True, True], [True, False]])
    batch = RunBatch({}, masks, targets, inside, torch.arange(2))
    mixed = Mixing(torch.tensor([1, 0]), 0.75).mix_truth(batch)
    assert mixed.targets.tolist() == [[[0.75, 0, 0.25], [0, 0.75, 0.25]], [[0.25, 0, 0.75], [0, 0.25, 0.75]]]
    assert mixed.masks[:, 0].tolist() == [[True, False], [True, False]]
    assert mixed.inside.tolist() == [[True, False], [True, False]]
    assert mixed.clips.tolist() == [0, 1]


def test_the_loss_of_a_mixed_truth_is_the_mixed_loss() -> None:
    torch.manual_seed(0)
    logits = torch.randn(1, 1, 4, dtype=torch.float64)
    one, other = torch.eye(4)[[1, 3]]
    counted = torch.ones(1, 1, dtype=torch.bool)
    mixed = cross_entropy(logits, (0.75 * one + 0.25 * other)[None, None], counted)
    log_scores = logits[0, 0].log_softmax(dim=0)
    assert mixed.item() == pytest.approx(-(0.75 * log_scores[1] + 0.25 * log_scores[3]).item(), rel=1e-6)


def test_the_share_is_of_beta_and_the_own_one_the_larger() -> None:
    torch.manual_seed(1)
    draws = [draw_mixing(4, 0.4, torch.device("cpu")) for _ in range(3000)]
    shares = torch.tensor([draw.share for draw in draws])
    assert 0.5 <= shares.min() <= shares.max() <= 1.0
    # Var(Beta(a, a)) = 1 / (4 (2 a + 1)); the larger of both has the same distance from 1/2.
    assert ((shares - 0.5) ** 2).mean().item() == pytest.approx(1 / (4 * 1.8), rel=0.05)
    assert all(sorted(draw.partners.tolist()) == [0, 1, 2, 3] for draw in draws[:20])
