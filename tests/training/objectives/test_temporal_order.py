"""Temporal order: what is shuffled, what counts, and that without positions nothing can be learned."""

from __future__ import annotations

import math
from typing import Literal

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from models.fusion.build import build_fusion
from models.fusion_config import CrossAttentionConfig
from models.settings import SettingsError
from tests.training.objectives.windows import bag, full_masks, make_windows, side_by_side
from training.objectives.base import ObjectiveInput
from training.objectives.config import TemporalOrderConfig
from training.objectives.temporal_order import TemporalOrder, draw_order, reorder

NAMES = ("video", "audio", "text")
FUSED = 3 * 3 * 2 * 4


def make_objective(
    shuffle: Literal["together", "one"] = "together", *, fused_width: int = FUSED, names: tuple[str, ...] = NAMES
) -> TemporalOrder:
    torch.manual_seed(0)
    config = TemporalOrderConfig(shuffle=shuffle, hidden=16)
    return TemporalOrder(config, names, fused_width=fused_width).double()


@given(st.lists(st.lists(st.booleans(), min_size=5, max_size=5), min_size=1, max_size=4), st.integers(0, 99))
def test_the_hops_that_are_there_change_places_and_no_others(rows: list[list[bool]], seed: int) -> None:
    torch.manual_seed(seed)
    live = torch.tensor(rows)
    for mask, order in zip(rows, draw_order(live).tolist(), strict=True):
        assert sorted(order) == [0, 1, 2, 3, 4]
        assert all(order[hop] == hop for hop in range(5) if not mask[hop])
        assert (order != [0, 1, 2, 3, 4]) == (sum(mask) >= 2)


def test_every_order_but_the_true_one_is_drawn() -> None:
    torch.manual_seed(0)
    orders = draw_order(torch.ones(600, 3, dtype=torch.bool))
    assert len({tuple(order) for order in orders.tolist()}) == math.factorial(3) - 1


@pytest.mark.parametrize("shuffle", ["together", "one"])
def test_the_loss_is_the_definition(shuffle: Literal["together", "one"]) -> None:
    """The draws are made again in the objective's order; the rest by loops."""
    objective, inputs = make_objective(shuffle), make_windows()
    torch.manual_seed(3)
    loss = objective(inputs).item()
    torch.manual_seed(3)
    orders = objective.draw_orders(inputs)
    changed = torch.zeros(12, 3, dtype=torch.bool)
    for row in range(12):
        for index, name in enumerate(NAMES):
            seen = [inputs.tokens[name][row, h] if inputs.masks[name][row, h] else None for h in range(3)]
            then = [seen[hop] for hop in orders[name][row]]
            changed[row, index] = any(one is not other for one, other in zip(seen, then, strict=True))
    if shuffle == "one":
        draws = torch.rand(12, 3).masked_fill(~changed, -1.0)
        moved = functional.one_hot(draws.argmax(dim=1), 3).bool() & changed
    else:
        moved = changed.any(dim=1, keepdim=True).expand(12, 3)
    shuffled = torch.rand(12) < 0.5
    losses = []
    for row in range(12):
        tokens = {name: t[[row]].clone() for name, t in inputs.tokens.items()}
        masks = {name: mask[[row]].clone() for name, mask in inputs.masks.items()}
        for index, name in enumerate(NAMES):
            if shuffled[row] and moved[row, index]:
                tokens[name][0] = inputs.tokens[name][row][orders[name][row]]
                masks[name][0] = inputs.masks[name][row][orders[name][row]]
        logit = objective.head(inputs.fuse(tokens, masks).fused).item()
        if moved[row].any():
            losses.append(math.log(1.0 + math.exp(-logit if shuffled[row] else logit)))
    assert 4 < len(losses) <= 12
    assert loss == pytest.approx(sum(losses) / len(losses), abs=1e-12)


def test_all_modalities_go_together_or_one_alone() -> None:
    inputs = make_windows()
    inputs = ObjectiveInput(inputs.tokens, full_masks(inputs), inputs.clips, inputs.fuse)
    together = make_objective("together").draw_orders(inputs)
    assert all(order.equal(together["video"]) for order in together.values())
    moved: list[Tensor] = []

    def fuse(tokens: dict[str, Tensor], masks: dict[str, Tensor]) -> object:
        moved.append(torch.stack([(tokens[n] != inputs.tokens[n]).flatten(1).any(dim=1) for n in NAMES], dim=1))
        return side_by_side(tokens, masks)

    watched = ObjectiveInput(inputs.tokens, inputs.masks, inputs.clips, fuse)  # type: ignore[arg-type]
    for shuffle, num_moved in (("together", 3), ("one", 1)):
        moved.clear()
        objective = make_objective(shuffle)  # type: ignore[arg-type]
        for _ in range(20):
            objective(watched)
        counts = torch.stack(moved).sum(dim=2)
        assert set(counts.flatten().tolist()) == {0, num_moved}
        assert 80 < int((counts > 0).sum()) < 160  # half of 20 * 12
        assert torch.stack(moved).any(dim=0).all()


def test_windows_that_look_the_same_in_any_order_count_nothing() -> None:
    """Still content, a single hop, pictures and rows that have no time."""
    inputs = make_windows(names=("video", "audio", "image"))
    objective = make_objective(names=("video", "audio", "image"))
    still = {name: t[:, :1].expand_as(t) for name, t in inputs.tokens.items()}
    single = {name: torch.arange(3).expand_as(mask) == 1 for name, mask in inputs.masks.items()}
    image_only = full_masks(inputs, value=False) | {"image": inputs.masks["image"]}
    for tokens, masks in ((still, full_masks(inputs)), (inputs.tokens, single), (inputs.tokens, image_only)):
        objective.zero_grad()
        loss = objective(ObjectiveInput(tokens, masks, inputs.clips, inputs.fuse))
        loss.backward()
        assert loss.item() == 0.0
        assert all(p.grad is not None and not p.grad.any() for p in objective.parameters())
    assert objective(inputs).item() > 0.1


def both_versions(objective: TemporalOrder, inputs: ObjectiveInput) -> Tensor:
    """The mean loss of every window as it is and shuffled."""
    orders = objective.draw_orders(inputs)
    everything = torch.ones(len(inputs.clips), len(objective.timed), dtype=torch.bool)
    shuffled = objective.logits(inputs, orders, everything)
    ordered = objective.logits(inputs, orders, ~everything)
    return (functional.softplus(-shuffled) + functional.softplus(ordered)).mean() / 2


def rising_windows() -> ObjectiveInput:
    """Windows whose hops rise along one direction, from anywhere."""
    inputs = make_windows(batch=48)
    rise = torch.arange(3.0, dtype=torch.float64)[:, None, None] * torch.tensor([1.0, 0.0, 0.0, 0.0]).double()
    tokens = {name: t * 0.3 + rise for name, t in inputs.tokens.items()}
    return ObjectiveInput(tokens, full_masks(inputs), inputs.clips, bag)


def train(objective: TemporalOrder, inputs: ObjectiveInput, *modules: torch.nn.Module) -> float:
    parameters = [p for module in (objective, *modules) for p in module.parameters()]
    optimizer = torch.optim.Adam(parameters, lr=0.01)
    for _ in range(70):
        optimizer.zero_grad()
        objective(inputs).backward()
        optimizer.step()
    with torch.no_grad():
        return both_versions(objective, inputs).item()


def test_without_positions_the_loss_stays_at_chance_and_with_them_it_does_not() -> None:
    inputs = rising_windows()
    assert train(make_objective(fused_width=12), inputs) >= math.log(2.0) - 1e-9
    torch.manual_seed(0)
    config = CrossAttentionConfig(heads=2, cross_depth=1, temporal_depth=1)
    fusion = build_fusion(config, NAMES, width=4, dropout=0.0).double()
    placed = ObjectiveInput(inputs.tokens, inputs.masks, inputs.clips, fusion)
    assert train(make_objective(fused_width=fusion.output_width), placed, fusion) < 0.3


def test_a_model_without_time_has_no_order() -> None:
    with pytest.raises(SettingsError, match="needs a timed modality"):
        make_objective(names=("image", "tabular"))


def test_reordering_takes_the_hop_that_is_named() -> None:
    hops = torch.tensor([[10, 11, 12], [20, 21, 22]])
    assert reorder(hops, torch.tensor([[2, 0, 1], [0, 2, 1]])).tolist() == [[12, 10, 11], [20, 22, 21]]
