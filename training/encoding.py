"""From a batch of runs to tokens: each different content prepared and encoded once."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from handler.transform import Transforms
from models.config import Modality
from models.model import ActivityModel, gather_windows
from models.tokenizer import PADDING_ID
from training.dataset import RunBatch

UNTIMED: frozenset[Modality] = frozenset({"image", "tabular"})
"""Modalities that as a rule stand on every hop of a clip alike."""


def encode_runs(model: ActivityModel, transforms: Transforms, batch: RunBatch) -> dict[Modality, Tensor]:
    """Encode the hops of all runs: for each modality ``(C, R, S, D)`` float."""
    return {name: _encode(model, transforms, name, tensors) for name, tensors in batch.inputs.items()}


def _encode(model: ActivityModel, transforms: Transforms, name: Modality, tensors: tuple[Tensor, ...]) -> Tensor:
    contents, places = distinct_contents(name, tensors)
    with torch.autocast(tensors[0].device.type, enabled=False):
        prepared = transforms.prepare(name, *contents)
    encoded = model.encode(name, *prepared)
    if places is None:
        return encoded.view(*tensors[0].shape[:2], *encoded.shape[1:])
    return encoded[places]


def distinct_contents(name: Modality, tensors: tuple[Tensor, ...]) -> tuple[tuple[Tensor, ...], Tensor | None]:
    """What has to be encoded of a modality of ``(C, R, ...)``.

    Neighbouring hops share their words, so each different text counts once, cut to the longest; a picture or a table
    that is the same on every hop of its run counts once a run.

    Returns:
        Contents ``(U, ...)``, and which of them each hop has, ``(C, R)`` int64, or None where each hop has its own.
    """
    num_runs, num_hops = tensors[0].shape[:2]
    if name == "text":
        token_ids, token_mask = (tensor.flatten(0, 1) for tensor in tensors)
        length = int(token_mask.sum(dim=1).max())
        distinct, places = torch.unique(token_ids[:, :length], dim=0, return_inverse=True)
        return (distinct, distinct != PADDING_ID), places.view(num_runs, num_hops)
    if name in UNTIMED and all(_same_on_every_hop(tensor) for tensor in tensors):
        places = torch.arange(num_runs, device=tensors[0].device)[:, None].expand(num_runs, num_hops)
        return tuple(tensor[:, 0] for tensor in tensors), places
    return tuple(tensor.flatten(0, 1) for tensor in tensors), None


def _same_on_every_hop(tensor: Tensor) -> bool:
    first = tensor[:, :1]
    same = tensor == first
    if tensor.is_floating_point():
        same |= tensor.isnan() & first.isnan()  # NaN stands for a number that is missing
    return bool(same.all())


def cut_windows(hops: Tensor, num_windows: int, window_hops: int) -> Tensor:
    """All windows of runs of hops: ``(C, R, ...)`` to ``(C * W, window_hops, ...)``."""
    starts = torch.arange(num_windows, device=hops.device)
    gathered = gather_windows(hops.transpose(0, 1), starts, window_hops)  # (W, window_hops, C, ...)
    return gathered.movedim(2, 0).flatten(0, 1)


def cut_masks(
    masks: Tensor, names: tuple[Modality, ...], num_windows: int, window_hops: int
) -> Mapping[Modality, Tensor]:
    """The masks of the windows of runs ``(C, M, R)``: for each modality ``(C * W, window_hops)`` bool."""
    return {name: cut_windows(masks[:, index], num_windows, window_hops) for index, name in enumerate(names)}
