"""Is this how it went: were the window's hops shuffled (after Shuffle and Learn, arXiv 1603.08561)?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torch.nn import functional

from models.config import Modality
from models.settings import SettingsError
from training.objectives.base import Objective, ObjectiveInput, binary_head, draw_among, full_precision, mean_where
from training.objectives.config import TemporalOrderConfig

UNTIMED = frozenset({"image", "tabular"})
"""Modalities that are the same on every hop."""


class TemporalOrder(Objective):
    """Half of the windows are shuffled, and a head on the fused embedding tells which.

    Only hops that have something change places, so that padding at a clip's end gives nothing away. A window counts
    only where its drawn order differs from the true one in what is seen, whether it is then shuffled or not: still
    pictures, or words without times, are no evidence of order.

    Args:
        config: the recipe's settings; its ``shuffle`` says whether all modalities change together.
        modalities: the model's.
        fused_width: of the fused embedding.

    Raises:
        SettingsError: when the model has no timed modality.
    """

    def __init__(self, config: TemporalOrderConfig, modalities: Sequence[Modality], *, fused_width: int) -> None:
        super().__init__(config.weight)
        self.timed = tuple(name for name in modalities if name not in UNTIMED)
        if not self.timed:
            raise SettingsError(f"objectives.temporal_order needs a timed modality, the model has {modalities}")
        self.together = config.shuffle == "together"
        self.head = binary_head(fused_width, config.hidden)

    def forward(self, inputs: ObjectiveInput) -> Tensor:
        """Binary cross-entropy over the windows that count."""
        orders = self.draw_orders(inputs)
        changed = torch.stack([_changes(inputs, name, orders[name]) for name in self.timed], dim=1)
        moved = changed.any(dim=1, keepdim=True).expand_as(changed) if self.together else draw_among(changed)
        shuffled = torch.rand(len(inputs.clips), device=inputs.clips.device) < 0.5
        logits = self.logits(inputs, orders, moved & shuffled[:, None])
        losses = functional.binary_cross_entropy_with_logits(logits, shuffled.to(logits), reduction="none")
        return mean_where(losses, moved.any(dim=1))

    def draw_orders(self, inputs: ObjectiveInput) -> dict[Modality, Tensor]:
        """For each timed modality ``(B, hops)`` int64: which hop comes when."""
        if self.together:
            live = torch.stack([inputs.masks[name] for name in self.timed]).any(dim=0)
            return dict.fromkeys(self.timed, draw_order(live))
        return {name: draw_order(inputs.masks[name]) for name in self.timed}

    def logits(self, inputs: ObjectiveInput, orders: Mapping[Modality, Tensor], moved: Tensor) -> Tensor:
        """``(B,)`` float, above 0 for shuffled; ``moved`` ``(B, timed modalities)`` bool says what is out of order."""
        tokens, masks = dict(inputs.tokens), dict(inputs.masks)
        for index, name in enumerate(self.timed):
            unmoved = torch.arange(orders[name].shape[1], device=moved.device).expand_as(orders[name])
            order = torch.where(moved[:, [index]], orders[name], unmoved)
            tokens[name], masks[name] = reorder(tokens[name], order), reorder(masks[name], order)
        return full_precision(self.head(inputs.fuse(tokens, masks).fused)).squeeze(-1)


def draw_order(live: Tensor) -> Tensor:
    """A random order of the hops that are there, never the true one where there are two; the others stay.

    Args:
        live: ``(B, hops)`` bool.

    Returns:
        ``(B, hops)`` int64: the hop that comes at each place.
    """
    num_hops = live.shape[1]
    index = torch.arange(num_hops, device=live.device).expand_as(live)
    places = (~live).to(torch.uint8).argsort(dim=1, stable=True)  # the live hops' places first, in order
    drawn = torch.rand(live.shape, device=live.device).masked_fill(~live, 2.0).argsort(dim=1, stable=True)
    count = live.sum(dim=1, keepdim=True)
    turned = places.gather(1, torch.where(index < count, (index + 1) % count.clamp(min=1), index))
    drawn = torch.where((drawn == places).all(dim=1, keepdim=True), turned, drawn)
    return torch.empty_like(places).scatter_(1, places, drawn)


def reorder(hops: Tensor, order: Tensor) -> Tensor:
    """``(B, hops, ...)`` with the hops in ``order`` ``(B, hops)``."""
    return hops[torch.arange(len(hops), device=hops.device)[:, None], order]


def _changes(inputs: ObjectiveInput, name: Modality, order: Tensor) -> Tensor:
    """Which windows look different in ``order``: ``(B,)`` bool."""
    tokens, mask = inputs.tokens[name].detach(), inputs.masks[name]
    moved_tokens, moved_mask = reorder(tokens, order), reorder(mask, order)
    differs = (moved_tokens != tokens).flatten(2).any(dim=2) & mask & moved_mask
    return (differs | (mask != moved_mask)).any(dim=1)
