"""The main losses against their definitions, in float64."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from training.losses import binary_cross_entropy, cross_entropy, masked_mean

COUNTED = torch.tensor([[True, False, True], [True, True, False]])


def draw() -> tuple[Tensor, Tensor]:
    """Logits ``(2, 3, 4)`` and as many shares."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 3, 4, generator=generator, dtype=torch.float64) * 3
    return logits, torch.rand(2, 3, 4, generator=generator, dtype=torch.float64)


def rows(logits: Tensor, targets: Tensor) -> list[tuple[list[float], list[float]]]:
    return list(zip(logits[COUNTED].tolist(), targets[COUNTED].tolist(), strict=True))


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("soft", [True, False])
def test_cross_entropy_is_its_definition(smoothing: float, soft: bool) -> None:
    logits, targets = draw()
    if not soft:
        targets = torch.nn.functional.one_hot(targets.argmax(dim=-1), 4).double()
    losses = []
    for row, shares in rows(logits, targets):
        log_total = math.log(sum(math.exp(logit) for logit in row))
        smoothed = [(1 - smoothing) * share / sum(shares) + smoothing / 4 for share in shares]
        losses.append(sum(share * (log_total - logit) for share, logit in zip(smoothed, row, strict=True)))
    found = cross_entropy(logits, targets, COUNTED, label_smoothing=smoothing)
    assert found.item() == pytest.approx(sum(losses) / 4, abs=1e-12)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_binary_cross_entropy_is_its_definition(smoothing: float) -> None:
    logits, targets = draw()
    losses = []
    for row, wanted in rows(logits, targets):
        for logit, target in zip(row, wanted, strict=True):
            smoothed, score = target * (1 - smoothing) + smoothing / 2, 1 / (1 + math.exp(-logit))
            losses.append(-smoothed * math.log(score) - (1 - smoothed) * math.log(1 - score))
    found = binary_cross_entropy(logits, targets, COUNTED, label_smoothing=smoothing)
    assert found.item() == pytest.approx(sum(losses) / 16, abs=1e-12)


@pytest.mark.parametrize("loss", [cross_entropy, binary_cross_entropy])
def test_what_does_not_count_is_not_looked_at(loss: object) -> None:
    assert callable(loss)
    logits, targets = draw()
    before = loss(logits, targets, COUNTED)
    spoilt = torch.where(COUNTED[..., None], logits, torch.nan).requires_grad_()
    after = loss(spoilt, torch.where(COUNTED[..., None], targets, 0.0), COUNTED)
    after.backward()
    assert after.item() == before.item()
    assert spoilt.grad is not None
    assert spoilt.grad.isfinite().all()
    assert not spoilt.grad[~COUNTED].any()


@pytest.mark.parametrize("loss", [cross_entropy, binary_cross_entropy])
def test_no_window_is_a_loss_of_zero_with_gradients_of_zero(loss: object) -> None:
    assert callable(loss)
    logits = draw()[0].requires_grad_()
    found = loss(logits, torch.zeros(2, 3, 4), torch.zeros(2, 3, dtype=torch.bool))
    found.backward()
    assert found.item() == 0.0
    assert logits.grad is not None
    assert not logits.grad.any()


@pytest.mark.parametrize("loss", [cross_entropy, binary_cross_entropy])
def test_half_precision_is_widened(loss: object) -> None:
    assert callable(loss)
    logits, targets = draw()
    half = logits.bfloat16()
    found = loss(half, targets.float(), COUNTED)
    assert found.dtype == torch.float32
    assert found.item() == loss(half.float(), targets.float(), COUNTED).item()


def test_one_label_is_the_cross_entropy_of_its_index() -> None:
    logits, targets = draw()
    index = targets.argmax(dim=-1)
    plain = torch.nn.functional.cross_entropy(logits[COUNTED], index[COUNTED], label_smoothing=0.1)
    hot = torch.nn.functional.one_hot(index, 4).float()
    assert cross_entropy(logits, hot, COUNTED, label_smoothing=0.1).item() == pytest.approx(plain.item(), abs=1e-12)


def test_the_mean_is_of_what_counts() -> None:
    assert masked_mean(torch.tensor([1.0, torch.nan, 3.0]), torch.tensor([True, False, True])).item() == 2.0
