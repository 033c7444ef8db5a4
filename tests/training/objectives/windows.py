"""Small batches of encoded windows, and fusions simple enough to reason about."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from models.config import Modality
from training.objectives.base import ObjectiveInput

Fuse = Callable[[Mapping[Modality, Tensor], Mapping[Modality, Tensor]], "Embedded"]


@dataclass(frozen=True)
class Embedded:
    """A fusion's output."""

    fused: Tensor


def bag(tokens: Mapping[Modality, Tensor], masks: Mapping[Modality, Tensor]) -> Embedded:
    """A fusion that knows no positions: sums over hops and tokens, in an order of their own so that bits agree."""
    kept = [(tokens[name] * masks[name][..., None, None]).flatten(1, 2) for name in tokens]
    return Embedded(torch.cat([hops.sort(dim=1).values.sum(dim=1) for hops in kept], dim=-1))


def side_by_side(tokens: Mapping[Modality, Tensor], masks: Mapping[Modality, Tensor]) -> Embedded:
    """A fusion that sees everything in its place."""
    kept = [(tokens[name] * masks[name][..., None, None]).flatten(1) for name in tokens]
    return Embedded(torch.cat(kept, dim=-1))


def make_windows(
    *,
    batch: int = 12,
    hops: int = 3,
    width: int = 4,
    names: tuple[str, ...] = ("video", "audio", "text"),
) -> ObjectiveInput:
    """Random windows in float64, two a clip, about a fifth of the hops masked and some modalities absent."""
    generator = torch.Generator().manual_seed(0)

    def draw(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=generator, dtype=torch.float64)

    masks = {name: (draw(batch, hops) < 0.8) & (draw(batch, 1) < 0.7) for name in names}
    tokens = {name: draw(batch, hops, 2, width) * 2 - 1 for name in names}
    return ObjectiveInput(tokens, masks, torch.arange(batch) // 2, side_by_side)


def full_masks(inputs: ObjectiveInput, value: bool = True) -> dict[str, Tensor]:
    """Masks of one value."""
    return {name: torch.full_like(mask, value) for name, mask in inputs.masks.items()}
