"""The masked modality: what is predicted, from what, and what counts."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from models.settings import SettingsError
from tests.training.objectives.windows import Embedded, full_masks, make_windows, side_by_side
from training.objectives.base import ObjectiveInput
from training.objectives.config import MaskedModalityConfig
from training.objectives.masked_modality import MaskedModality

NAMES = ("video", "audio", "text")
FUSED = 3 * 3 * 2 * 4
"""Modalities, hops, tokens, width."""


def make_objective() -> MaskedModality:
    torch.manual_seed(0)
    return MaskedModality(MaskedModalityConfig(hidden=8), NAMES, width=4, fused_width=FUSED).double()


def drop(inputs: ObjectiveInput) -> Tensor:
    """The first modality that is there, in windows with two."""
    present = torch.stack([inputs.present(name) for name in NAMES], dim=1)
    first = functional.one_hot(present.to(torch.uint8).argmax(dim=1), 3).bool()
    return first & (present.sum(dim=1, keepdim=True) >= 2)


def test_the_error_is_the_definition() -> None:
    objective, inputs = make_objective(), make_windows()
    dropped = drop(inputs)
    assert 4 < int(dropped.sum()) < 12
    errors = []
    for row in range(12):
        for index, name in enumerate(NAMES):
            if dropped[row, index]:
                pooled = inputs.tokens[name][row][inputs.masks[name][row]].flatten(0, 1).mean(dim=0)
                target = (pooled - pooled.mean()) / (pooled.var(unbiased=False) + 1e-5).sqrt()
                seen = {
                    n: t[[row]] * (n != name) * inputs.masks[n][[row]][..., None, None]
                    for n, t in inputs.tokens.items()
                }
                fused = torch.cat([seen[n].flatten(1) for n in NAMES], dim=1)
                predicted = objective.predictors[name](fused)[0]
                errors.append(((predicted - target) ** 2).mean().item())
    assert objective.error(inputs, dropped).item() == pytest.approx(sum(errors) / len(errors), abs=1e-12)


def test_the_dropped_one_is_not_seen_and_gets_no_gradient() -> None:
    """Neither by the prediction, nor as a target that the encoder could make easy."""
    objective, inputs = make_objective(), make_windows()
    tokens = {name: t.requires_grad_() for name, t in inputs.tokens.items()}
    dropped = drop(inputs)
    objective.error(inputs, dropped).backward()
    for index, name in enumerate(NAMES):
        gradient = tokens[name].grad
        assert gradient is not None
        assert not gradient[dropped[:, index]].any()
        assert not gradient[~inputs.masks[name]].any()
        assert gradient.any() == (name != "video")  # which is dropped wherever it is there


def test_only_modalities_that_are_there_are_dropped_and_each_in_its_turn() -> None:
    inputs, seen = make_windows(), []

    def fuse(tokens: dict[str, Tensor], masks: dict[str, Tensor]) -> Embedded:
        seen.append(torch.stack([masks[name].any(dim=1) for name in NAMES], dim=1))
        return side_by_side(tokens, masks)

    objective = make_objective()
    present = torch.stack([inputs.present(name) for name in NAMES], dim=1)
    for _ in range(40):
        objective(ObjectiveInput(inputs.tokens, inputs.masks, inputs.clips, fuse))  # type: ignore[arg-type]
    removed = present[None] & ~torch.stack(seen)
    assert (removed.sum(dim=2) == (present.sum(dim=1) >= 2)).all()
    assert (removed.any(dim=0) == (present & (present.sum(dim=1, keepdim=True) >= 2))).all()


def test_windows_of_one_modality_count_nothing() -> None:
    objective, inputs = make_objective(), make_windows()
    masks = full_masks(inputs, value=False) | {"audio": inputs.masks["audio"]}
    loss = objective(ObjectiveInput(inputs.tokens, masks, inputs.clips, inputs.fuse))
    loss.backward()
    assert loss.item() == 0.0
    assert all(p.grad is not None and not p.grad.any() for p in objective.parameters())


def test_it_learns_what_can_be_known() -> None:
    """Sound that follows from the picture."""
    torch.manual_seed(0)
    inputs = make_windows(batch=32)
    mixing = torch.randn(4, 4, dtype=torch.float64)
    dropped = torch.tensor([False, True, False]).expand(32, 3)
    audio = inputs.tokens["video"] @ mixing
    tokens = {"video": inputs.tokens["video"], "audio": audio, "text": torch.zeros_like(audio)}
    known = ObjectiveInput(tokens, full_masks(inputs), inputs.clips, inputs.fuse)
    objective = make_objective()
    optimizer = torch.optim.Adam(objective.parameters(), lr=0.02)
    first = objective.error(known, dropped).item()
    for _ in range(80):
        optimizer.zero_grad()
        objective.error(known, dropped).backward()
        optimizer.step()
    assert first > 0.9
    assert objective.error(known, dropped).item() < 0.1


def test_one_modality_cannot_be_predicted_from_others() -> None:
    with pytest.raises(SettingsError, match="at least two modalities"):
        MaskedModality(MaskedModalityConfig(), ("audio",), width=4, fused_width=4)
