"""Matching: who is exchanged with whom, what counts, and that it can be learned."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from models.settings import SettingsError
from tests.training.objectives.windows import full_masks, make_windows, side_by_side
from training.objectives.base import ObjectiveInput
from training.objectives.config import MatchingConfig
from training.objectives.matching import Matching, draw_partners

NAMES = ("video", "audio", "text")
FUSED = 3 * 3 * 2 * 4


def make_objective(modalities: tuple[str, ...] | None = None, names: tuple[str, ...] = NAMES) -> Matching:
    torch.manual_seed(0)
    return Matching(MatchingConfig(modalities=modalities, hidden=32), names, fused_width=FUSED).double()


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 3)), min_size=1, max_size=12), st.integers(0, 99))
def test_a_partner_is_of_another_clip_and_has_the_modality(rows: list[tuple[bool, int]], seed: int) -> None:
    torch.manual_seed(seed)
    present, clips = torch.tensor([row[0] for row in rows]), torch.tensor([row[1] for row in rows])
    for index, partner in enumerate(draw_partners(present, clips).tolist()):
        others = [j for j, (there, clip) in enumerate(rows) if there and clip != rows[index][1]]
        assert partner in others if others else partner == index


def test_every_partner_has_the_same_chance() -> None:
    torch.manual_seed(0)
    clips = torch.tensor([0, 1, 1, 2, 3, 0, 3])
    present = torch.tensor([True, True, True, False, True, True, True])
    drawn = torch.stack([draw_partners(present, clips) for _ in range(4000)])
    shares = functional.one_hot(drawn, 7).double().mean(dim=0)
    assert shares[0, [1, 2, 4, 6]].tolist() == pytest.approx([0.25] * 4, abs=0.03)
    assert shares[3, [0, 1, 2, 4, 5, 6]].tolist() == pytest.approx([1 / 6] * 6, abs=0.03)


def test_the_loss_is_the_definition() -> None:
    """The draws are made again in the objective's order; the rest by loops."""
    objective, inputs = make_objective(), make_windows()
    torch.manual_seed(5)
    loss = objective(inputs).item()
    torch.manual_seed(5)
    partners = {name: draw_partners(inputs.present(name), inputs.clips) for name in NAMES}
    usable = torch.zeros(12, 3, dtype=torch.bool)
    for row in range(12):
        for index, name in enumerate(NAMES):
            partner, several = int(partners[name][row]), sum(bool(inputs.masks[n][row].any()) for n in NAMES) >= 2
            shared = inputs.masks[name][row] & inputs.masks[name][partner]
            usable[row, index] = several and partner != row and bool(shared.any())
    draws = torch.rand(12, 3).masked_fill(~usable, -1.0)
    chosen, mixed = draws.argmax(dim=1).tolist(), (torch.rand(12) < 0.5).tolist()
    losses = []
    for row in range(12):
        if not usable[row].any():
            continue
        name = NAMES[chosen[row]]
        partner = int(partners[name][row])
        tokens = {n: t[[row]].clone() for n, t in inputs.tokens.items()}
        masks = {n: mask[[row]].clone() for n, mask in inputs.masks.items()}
        masks[name] &= inputs.masks[name][[partner]]
        if mixed[row]:
            tokens[name] = inputs.tokens[name][[partner]]
        logit = objective.head(inputs.fuse(tokens, masks).fused).item()
        losses.append(math.log(1.0 + math.exp(logit if mixed[row] else -logit)))
    assert 4 < len(losses) <= 12
    assert loss == pytest.approx(sum(losses) / len(losses), abs=1e-12)


def test_masks_are_the_same_whether_mixed_or_not() -> None:
    """Else a gap would tell them apart."""
    objective, inputs = make_objective(("audio",)), make_windows()
    partners = {"audio": draw_partners(inputs.present("audio"), inputs.clips)}
    seen: list[dict[str, Tensor]] = []

    def fuse(tokens: dict[str, Tensor], masks: dict[str, Tensor]) -> object:
        seen.append(masks)
        return side_by_side(tokens, masks)

    watched = ObjectiveInput(inputs.tokens, inputs.masks, inputs.clips, fuse)  # type: ignore[arg-type]
    here = torch.ones(12, 1, dtype=torch.bool)
    for mixed in (True, False):
        objective.logits(watched, partners, here, torch.full((12,), mixed))
    assert all(seen[0][name].equal(seen[1][name]) for name in NAMES)
    assert not seen[0]["audio"].equal(inputs.masks["audio"])


def test_what_cannot_be_mixed_counts_nothing() -> None:
    """One clip alone, one modality alone, and clips that all sound the same."""
    objective, inputs = make_objective(("audio",)), make_windows()
    same = dict(inputs.tokens) | {"audio": inputs.tokens["audio"][:1].expand_as(inputs.tokens["audio"])}
    lonely = full_masks(inputs, value=False) | {"audio": inputs.masks["audio"]}
    for tokens, masks, clips in (
        (inputs.tokens, inputs.masks, torch.zeros_like(inputs.clips)),
        (inputs.tokens, lonely, inputs.clips),
        (same, full_masks(inputs), inputs.clips),
        (inputs.tokens, full_masks(inputs, value=False), inputs.clips),
    ):
        objective.zero_grad()
        loss = objective(ObjectiveInput(tokens, masks, clips, inputs.fuse))
        loss.backward()
        assert loss.item() == 0.0
        assert all(p.grad is not None and not p.grad.any() for p in objective.parameters())
    assert objective(inputs).item() > 0.1


def test_it_learns_which_sound_belongs_to_which_picture() -> None:
    """Sound that has the sign of its picture."""
    objective, inputs = make_objective(("audio",)), make_windows(batch=64)
    sign = torch.tensor([-1.0, 1.0]).double()[torch.arange(64) // 2 % 2][:, None, None, None]
    signed = {name: inputs.tokens[name] * 0.1 + sign for name in ("video", "audio")}
    matched = ObjectiveInput(dict(inputs.tokens) | signed, full_masks(inputs), inputs.clips, inputs.fuse)
    optimizer = torch.optim.Adam(objective.parameters(), lr=0.01)
    for _ in range(100):
        optimizer.zero_grad()
        objective(matched).backward()
        optimizer.step()
    with torch.no_grad():
        loss = sum(objective(matched).item() for _ in range(40)) / 40
    # half of the partners have the same sign, and cannot be told: with p(match) = 2/3 or 0
    floor = -(0.5 * math.log(2 / 3) + 0.25 * math.log(1 / 3))
    assert loss == pytest.approx(floor, abs=0.08)
    assert floor + 0.08 < math.log(2.0)


@pytest.mark.parametrize(("modalities", "names"), [(("smell",), NAMES), (None, ("audio",))])
def test_only_the_models_modalities_can_be_exchanged(
    modalities: tuple[str, ...] | None, names: tuple[str, ...]
) -> None:
    with pytest.raises(SettingsError, match="needs two modalities"):
        make_objective(modalities, names)
