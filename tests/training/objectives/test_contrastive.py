"""The contrastive objective: both directions, masks, temperature, and two processes against one."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from models.embedding_head import EmbeddingHead
from models.settings import SettingsError
from tests.training.objectives.processes import NAMES, make_objective, run_processes
from tests.training.objectives.windows import full_masks, make_windows
from training.objectives.base import ObjectiveInput
from training.objectives.config import ContrastiveConfig
from training.objectives.contrastive import Contrastive


def direction(objective: Contrastive, inputs: ObjectiveInput, index: int, *, back: bool) -> list[float]:
    """The losses of one direction of one pair, by loops over the windows that have both."""
    one, other = reversed(objective.pairs[index]) if back else objective.pairs[index]
    scale = objective.log_scales[index].exp().item()
    rows = [i for i in range(len(inputs.clips)) if inputs.masks[one][i].any() and inputs.masks[other][i].any()]

    def embed(name: str, row: int) -> Tensor:
        kept = inputs.tokens[name][row][inputs.masks[name][row]]
        pooled = kept.flatten(0, 1).mean(dim=0)
        weights = dict(objective.named_parameters())
        normed = functional.layer_norm(pooled, pooled.shape) * weights[f"head.norms.{name}.weight"]
        projected = weights[f"head.projections.{name}.weight"] @ (normed + weights[f"head.norms.{name}.bias"])
        return torch.div(projected, projected.norm())

    losses = []
    for i in rows:
        similarities = {j: scale * (embed(one, i) @ embed(other, j)).item() for j in rows}
        seen = [j for j in rows if j == i or inputs.clips[j] != inputs.clips[i]]
        losses.append(math.log(sum(math.exp(similarities[j]) for j in seen)) - similarities[i])
    return losses


def mean(values: list[float]) -> float:
    return sum(values) / len(values)


@pytest.mark.parametrize("chunk_size", [None, 5])
def test_the_loss_is_the_mean_of_both_directions_over_the_pairs(chunk_size: int | None) -> None:
    objective, inputs = make_objective(chunk_size), make_windows()
    there = [mean(direction(objective, inputs, index, back=False)) for index in range(3)]
    back = [mean(direction(objective, inputs, index, back=True)) for index in range(3)]
    assert all(abs(one - other) > 1e-3 for one, other in zip(there, back, strict=True))  # one direction would be seen
    assert objective(inputs).item() == pytest.approx((mean(there) + mean(back)) / 2, abs=1e-12)


def test_windows_without_both_modalities_count_nothing() -> None:
    objective, inputs = make_objective(None), make_windows()
    before = objective(inputs)
    junk = {name: torch.where(inputs.masks[name][..., None, None], t, 1e6) for name, t in inputs.tokens.items()}
    assert objective(ObjectiveInput(junk, inputs.masks, inputs.clips, inputs.fuse)) == before
    lonely = ~(inputs.present("video") & inputs.present("audio"))
    assert lonely.any()
    objective = make_objective(None, pairs=(("video", "audio"),))
    before = objective(inputs)
    junk = {name: torch.where(lonely[:, None, None, None], -t, t) for name, t in inputs.tokens.items()}
    assert objective(ObjectiveInput(junk, inputs.masks, inputs.clips, inputs.fuse)) == before


@pytest.mark.parametrize("chunk_size", [None, 5])
def test_nothing_that_counts_is_a_loss_of_zero_with_finite_gradients(chunk_size: int | None) -> None:
    objective, inputs = make_objective(chunk_size), make_windows()
    tokens = {name: t.requires_grad_() for name, t in inputs.tokens.items()}
    loss = objective(ObjectiveInput(tokens, full_masks(inputs, value=False), inputs.clips, inputs.fuse))
    loss.backward()
    assert loss.item() == 0.0
    assert all(p.grad is not None and not p.grad.any() for p in objective.parameters())
    assert all(t.grad is not None and not t.grad.any() for t in tokens.values())


def test_one_clip_alone_has_no_negatives() -> None:
    inputs = make_windows()
    alone = ObjectiveInput(inputs.tokens, inputs.masks, torch.zeros_like(inputs.clips), inputs.fuse)
    assert make_objective(None)(alone).item() == pytest.approx(0.0, abs=1e-12)


def test_the_scale_stays_in_its_bounds_and_finds_its_way_back() -> None:
    objective, inputs = make_objective(None), make_windows()
    assert objective.log_scales.exp().tolist() == pytest.approx([1 / 0.07] * 3)
    with torch.no_grad():
        objective.log_scales.copy_(torch.tensor([9.0, -3.0, 1.0]))
    objective(inputs).backward()
    assert objective.log_scales.exp().tolist() == pytest.approx([100.0, 1.0, math.e])
    assert objective.log_scales.grad is not None
    assert (objective.log_scales.grad != 0).all()


def test_it_learns_which_windows_belong_together() -> None:
    torch.manual_seed(0)
    objective, inputs = make_objective(None, pairs=(("video", "audio"),)), make_windows(batch=24)
    mixing = torch.randn(4, 4, dtype=torch.float64)
    tokens = dict(inputs.tokens) | {"audio": inputs.tokens["video"] @ mixing}
    matched = ObjectiveInput(tokens, full_masks(inputs), inputs.clips, inputs.fuse)
    optimizer = torch.optim.Adam(objective.parameters(), lr=0.05)
    first = objective(matched).item()
    for _ in range(200):
        optimizer.zero_grad()
        loss = objective(matched)
        loss.backward()
        optimizer.step()
    assert first > 2.0
    assert loss.item() < 0.5


@pytest.mark.parametrize("chunk_size", [None, 3])
def test_half_precision_around_it_changes_nothing(chunk_size: int | None) -> None:
    inputs = make_windows()
    tokens = {name: t.float() for name, t in inputs.tokens.items()}
    single = ObjectiveInput(tokens, inputs.masks, inputs.clips, inputs.fuse)
    objective = make_objective(chunk_size).float()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = objective(single)
    assert mixed == objective(single)


@pytest.mark.parametrize(("pairs", "names"), [((("video", "smell"),), NAMES), (None, ("audio",))])
def test_pairs_are_of_the_models_modalities(pairs: tuple[tuple[str, str], ...] | None, names: tuple[str, ...]) -> None:
    with pytest.raises(SettingsError, match="needs pairs of the model's modalities"):
        Contrastive(ContrastiveConfig(pairs=pairs), names, width=4)


def test_two_processes_give_the_loss_and_the_gradients_of_one(tmp_path: Path) -> None:
    """Unequal shares; DDP's mean over the processes is taken by hand. One start, which is slow, for both forms."""
    found = run_processes(tmp_path)
    inputs = make_windows()
    for chunk_size in (None, 3):
        objective = make_objective(chunk_size)
        tokens = {name: t.clone().requires_grad_() for name, t in inputs.tokens.items()}
        loss = objective(ObjectiveInput(tokens, inputs.masks, inputs.clips, inputs.fuse))
        loss.backward()
        shares = [result[str(chunk_size)] for result in found]
        assert shares[0]["loss"] != pytest.approx(shares[1]["loss"], abs=1e-3)
        assert mean([share["loss"] for share in shares]) == pytest.approx(loss.item(), abs=1e-12)
        for name, parameter in objective.named_parameters():
            averaged = (shares[0]["parameters"][name] + shares[1]["parameters"][name]) / 2
            torch.testing.assert_close(averaged, parameter.grad, rtol=0, atol=1e-10)
        for name in NAMES:
            gathered = torch.cat([share["tokens"][name] for share in shares]) / 2
            torch.testing.assert_close(gathered, tokens[name].grad, rtol=0, atol=1e-10)
            assert gathered.abs().max() > 1e-3


def test_with_towers_it_trains_those_of_the_model_and_has_none_of_its_own() -> None:
    own, inputs = make_objective(None), make_windows()
    head = EmbeddingHead(NAMES, width=4, embedding_width=6).double()
    assert own.head is not None
    head.load_state_dict(own.head.state_dict())
    objective = Contrastive(ContrastiveConfig(), NAMES, width=None).double()
    assert [name for name, _ in objective.named_parameters()] == ["log_scales"]
    loss = objective(replace(inputs, embed=head))
    assert loss == own(inputs)
    loss.backward()
    assert all(p.grad is not None and p.grad.any() for p in head.parameters())


def test_without_towers_and_projections_it_says_so() -> None:
    objective = Contrastive(ContrastiveConfig(), NAMES, width=None)
    with pytest.raises(ValueError, match="no projections of its own"):
        objective(make_windows())
