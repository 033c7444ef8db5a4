"""Which modalities a training step sees: modality dropout, single ones and pairs. All draws are for whole runs."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def drop_modalities(masks: Tensor, probability: float) -> Tensor:
    """Modality dropout: each modality of each run is masked with ``probability``, but never all of them.

    Args:
        masks: ``(C, M, R)`` bool.
        probability: in [0, 1].

    Returns:
        ``(C, M, R)`` bool. Where the draw would leave nothing, one of the modalities that were there is kept, each
        with the same chance.
    """
    present = masks.any(dim=2)
    draws = torch.rand(masks.shape[:2], device=masks.device)
    highest = functional.one_hot((draws * present).argmax(dim=1), masks.shape[1]).bool()
    kept = (draws >= probability) | highest  # whose draw is the last to be below it
    return masks & kept[..., None]


def keep_single(masks: Tensor) -> Tensor:
    """Keep one of the modalities that each run has, each with the same chance: ``(C, M, R)`` bool."""
    return drop_modalities(masks, 1.0)


def keep_pair(masks: Tensor) -> Tensor:
    """Keep two of the modalities that each run has, each pair with the same chance: ``(C, M, R)`` bool.

    A run of fewer keeps what it has.
    """
    present = masks.any(dim=2)
    draws = torch.rand(masks.shape[:2], device=masks.device).masked_fill(~present, -1.0)
    places = draws.topk(min(2, masks.shape[1]), dim=1).indices
    kept = torch.zeros_like(present).scatter_(1, places, value=True)
    return masks & kept[..., None]


def draw_masks(masks: Tensor, modalities: str, probability: float) -> Tensor:
    """What a step sees of each run.

    Args:
        masks: ``(C, M, R)`` bool.
        modalities: a stage's: ``singles``, ``pairs`` or ``all``.
        probability: of modality dropout, with ``all``.

    Returns:
        ``(C, M, R)`` bool.
    """
    if modalities == "singles":
        return keep_single(masks)
    if modalities == "pairs":
        return keep_pair(masks)
    return drop_modalities(masks, probability)
