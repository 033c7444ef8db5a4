from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from training.probe import (
    DEFAULT_STRENGTH,
    NUM_FOLDS,
    STRENGTHS,
    Examples,
    Probe,
    choose_strength,
    deal_folds,
    fit_probe,
    score_held_out,
)


def examples(clips_per_label: int, *, labels: int = 3, windows: int = 2, spread: float = 0.3) -> Examples:
    """Clips around a point a label, in six dimensions."""
    generator = torch.Generator().manual_seed(0)
    centres = torch.randn(labels, 6, generator=generator, dtype=torch.float64)
    label = torch.arange(labels).repeat_interleave(clips_per_label * windows)
    clips = torch.arange(labels * clips_per_label).repeat_interleave(windows)
    noise = torch.randn(len(label), 6, generator=generator, dtype=torch.float64)
    return Examples(5.0 + centres[label] + spread * noise, label, clips, clips)


def newton(examples: Examples, num_labels: int, strength: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Weights and bias by Newton's method, in plain numpy: another way to the one minimum that there is."""
    shares = np.zeros(len(examples.labels))
    label, clip = examples.labels.numpy(), examples.clips.numpy()
    for one in range(num_labels):
        of_label = np.unique(clip[label == one])
        for other in of_label:
            mine = (label == one) & (clip == other)
            shares[mine] = 1 / (num_labels * len(of_label) * mine.sum())
    raw = examples.embeddings.numpy()
    centre = shares @ raw
    scale = np.sqrt(shares @ np.square(raw - centre).sum(axis=1))
    inputs = np.concatenate(((raw - centre) / scale, np.ones((len(raw), 1))), axis=1)
    width = inputs.shape[1]
    penalty = np.tile(np.append(np.full(width - 1, strength), 0.0), num_labels)
    theta = np.zeros(num_labels * width)
    truth = np.eye(num_labels)[label]
    for _ in range(60):
        logits = inputs @ theta.reshape(num_labels, width).T
        scores = np.exp(logits - logits.max(axis=1, keepdims=True))
        scores /= scores.sum(axis=1, keepdims=True)
        gradient = ((shares[:, None] * (scores - truth)).T @ inputs).ravel() + penalty * theta
        hessian = np.diag(penalty)
        for one in range(num_labels):
            for other in range(num_labels):
                curve = shares * scores[:, one] * ((one == other) - scores[:, other])
                block = inputs.T @ (curve[:, None] * inputs)
                hessian[one * width : (one + 1) * width, other * width : (other + 1) * width] += block
        theta -= np.linalg.lstsq(hessian, gradient, rcond=None)[0]  # a common bias changes nothing: no full rank
    found = theta.reshape(num_labels, width)
    weight = found[:, :-1] / scale
    return weight, found[:, -1] - weight @ centre


@pytest.mark.parametrize("strength", [1e-3, 1e-1])
def test_it_is_the_minimum_that_newton_finds(strength: float) -> None:
    given = examples(3)
    probe = fit_probe(given, 3, strength)
    weight, bias = newton(given, 3, strength)
    np.testing.assert_allclose(probe.weight, weight, atol=1e-6)
    np.testing.assert_allclose(probe.bias - probe.bias.mean(), bias - bias.mean(), atol=1e-6)
    assert probe.weight.dtype == torch.float64


def test_the_same_clips_give_the_same_numbers() -> None:
    one, other = (fit_probe(examples(2), 3, 1e-2) for _ in range(2))
    assert torch.equal(one.weight, other.weight)
    assert torch.equal(one.bias, other.bias)


def test_each_label_and_each_clip_of_it_counts_alike() -> None:
    given = Examples(
        embeddings=torch.zeros(5, 1, dtype=torch.float64),
        labels=torch.tensor([0, 0, 0, 0, 1]),
        clips=torch.tensor([0, 0, 0, 1, 2]),
        groups=torch.zeros(5, dtype=torch.int64),
    )
    assert given.shares.tolist() == pytest.approx([1 / 12, 1 / 12, 1 / 12, 1 / 4, 1 / 2])


def test_a_label_without_examples_is_refused() -> None:
    with pytest.raises(ValueError, match="3 of 4 labels have examples"):
        fit_probe(examples(2), 4, 1e-2)


def test_windows_that_are_all_alike_are_no_defect() -> None:
    given = examples(2)
    probe = fit_probe(Examples(torch.ones_like(given.embeddings), given.labels, given.clips, given.groups), 3, 1e-2)
    torch.testing.assert_close(probe.score(torch.ones(1, 6)), torch.full((1, 3), 1 / 3, dtype=torch.float64))


def test_groups_are_held_out_whole() -> None:
    given = examples(4)
    groups = given.clips // 2
    folds = deal_folds(Examples(given.embeddings, given.labels, given.clips, groups))
    assert len(folds) == 6
    assert torch.stack(folds).sum(dim=0).tolist() == [1] * len(groups)
    for held in folds:
        assert set(groups[held].tolist()).isdisjoint(groups[~held].tolist())
    many = deal_folds(examples(10))
    assert len(many) == NUM_FOLDS
    assert torch.stack(many).sum(dim=0).eq(1).all()


def test_nothing_is_judged_by_what_it_was_learned_from() -> None:
    given = examples(3, spread=1e-3)
    memory = given.labels.clone()
    memory[given.clips == 0] = 2  # a clip whose label contradicts its place: only memory could get it right
    wrong = Examples(given.embeddings, memory, given.clips, given.groups)
    held_out = score_held_out(wrong, 3, 1e-4)
    assert held_out.judged.all()
    assert held_out.scores.argmax(dim=1)[given.clips == 0].tolist() == [0, 0]


def test_one_clip_a_label_validates_nothing() -> None:
    choice = choose_strength(examples(1), 3)
    assert not choice.held_out.judged.any()
    assert choice.strength == DEFAULT_STRENGTH
    two = choose_strength(examples(1, labels=2), 2)
    assert not two.held_out.judged.any()


def test_the_strength_is_that_of_the_smallest_held_out_loss() -> None:
    given = examples(3, spread=1.2, windows=1)
    choice = choose_strength(given, 3)
    losses = {}
    for strength in STRENGTHS:
        held_out = score_held_out(given, 3, strength)
        losses[strength] = float(-held_out.scores[torch.arange(len(given.labels)), given.labels].log().mean())
    assert losses[choice.strength] == min(losses.values())
    assert len(set(losses.values())) == len(STRENGTHS)


def test_scores_are_softmax() -> None:
    probe = Probe(torch.eye(2, dtype=torch.float64), torch.tensor([0.0, 1.0], dtype=torch.float64))
    scores = probe.score(torch.tensor([[1.0, 0.0]]))
    assert scores.tolist() == [[0.5, 0.5]]
