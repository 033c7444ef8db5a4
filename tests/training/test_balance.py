"""OGM-GE against the paper's formulas, written out in NumPy in float64."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from training.balance import balance_coefficients, balance_gradients, truth_scores


def test_scores_are_mean_probabilities_of_the_truth() -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(3, 2, 5))
    labels = rng.integers(0, 5, size=(3, 2))
    counted = np.array([[True, True], [False, True], [True, False]])
    exponentials = np.exp(logits)
    chances = np.take_along_axis(exponentials / exponentials.sum(-1, keepdims=True), labels[..., None], -1)[..., 0]
    score = truth_scores(
        torch.from_numpy(logits), torch.eye(5)[torch.from_numpy(labels)], torch.from_numpy(counted), "single_label"
    )
    assert score.item() == pytest.approx(chances[counted].mean(), rel=1e-6)
    none = torch.zeros(3, 2, dtype=torch.bool)
    assert truth_scores(torch.zeros(3, 2, 5), torch.ones(3, 2, 5), none, "multi_label").item() == 0.0


def test_of_two_modalities_the_one_ahead_is_held_back() -> None:
    """The paper's equation 10: k = 1 - tanh(alpha * rho) where rho = s_u / s_v is above 1, else 1."""
    scores = np.array([0.6, 0.2])
    coefficients = balance_coefficients(torch.from_numpy(scores), 0.3)
    assert coefficients.tolist() == pytest.approx([1 - np.tanh(0.3 * 3.0), 1.0], rel=1e-12)


def test_of_three_each_is_compared_with_the_mean_of_the_others() -> None:
    scores = np.array([0.5, 0.3, 0.2])
    ratios = [0.5 / 0.25, 0.3 / 0.35, 0.2 / 0.4]
    expected = [1 - np.tanh(0.4 * ratio) if ratio > 1 else 1.0 for ratio in ratios]
    assert balance_coefficients(torch.from_numpy(scores), 0.4).tolist() == pytest.approx(expected, rel=1e-12)
    assert balance_coefficients(torch.full((3,), 0.5), 0.4).tolist() == [1.0, 1.0, 1.0]


def test_gradients_are_damped_and_get_noise_of_their_own_size() -> None:
    torch.manual_seed(0)
    encoders = {"a": nn.Linear(200, 50).double(), "b": nn.Linear(200, 50).double(), "c": nn.Linear(2, 2).double()}
    before = {}
    for name in ("a", "b"):
        for parameter in encoders[name].parameters():
            parameter.grad = torch.randn_like(parameter) * 3.0 + 1.0
        weight = encoders[name].weight.grad
        assert weight is not None
        before[name] = weight.clone()
    generator = torch.Generator().manual_seed(4)
    balance_gradients(encoders, torch.tensor([0.25, 1.0, 0.5]), 0.5, generator)
    generator.manual_seed(4)
    for name, coefficient in (("a", 0.25), ("b", 1.0)):
        weight, gradient = before[name], encoders[name].weight.grad
        assert gradient is not None
        drawn = torch.randn(weight.shape, generator=generator, dtype=torch.float64)
        torch.randn(50, generator=generator, dtype=torch.float64)  # the bias's
        expected = weight.numpy() * coefficient + drawn.numpy() * 0.5 * weight.numpy().std(ddof=1)
        np.testing.assert_allclose(gradient.numpy(), expected, rtol=1e-9, atol=1e-12)
    assert encoders["c"].weight.grad is None


def test_without_noise_a_gradient_is_only_scaled() -> None:
    encoder = nn.Linear(1, 1)
    encoder.weight.grad, encoder.bias.grad = torch.full((1, 1), 2.0), torch.full((1,), 4.0)
    balance_gradients({"a": encoder}, torch.tensor([0.5]), 0.0, torch.Generator())
    assert (encoder.weight.grad.item(), encoder.bias.grad.item()) == (1.0, 2.0)
    balance_gradients({"a": encoder}, torch.tensor([0.5]), 1.0, torch.Generator())
    assert encoder.bias.grad.item() == 1.0  # a single number has no deviation
