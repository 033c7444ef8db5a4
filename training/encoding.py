"""From a batch of runs to tokens: augmented, each different content prepared and encoded once."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from handler.transform import Transforms
from models.config import Modality, ModelConfig
from models.model import ActivityModel, gather_windows
from models.spans import join_hops, place_mask, place_tokens
from models.tokenizer import PADDING_ID
from training.augment.augmenter import Augmenter
from training.dataset import RunBatch
from training.mixup import Mixing

UNTIMED: frozenset[Modality] = frozenset({"image", "tabular"})
"""Modalities that as a rule stand on every hop of a clip alike."""

NO_TOKEN = -1
"""Stands for padding while texts are compared: of another's tokenizer the id 0 may be a word."""


@dataclass(frozen=True)
class Cached:
    """What a training's batches hold instead of raw contents (:mod:`training.tokens`)."""

    tokens: bool = False
    """The tokens of every modality."""
    features: frozenset[Modality] = frozenset()
    """The modalities of which they hold a pretrained backbone's features."""


@dataclass(frozen=True)
class RunEncoder:
    """Encodes the hops of a batch's runs."""

    model: ActivityModel
    transforms: Transforms
    cached: Cached = Cached()

    def __call__(
        self,
        batch: RunBatch,
        *,
        frozen: Collection[Modality] = (),
        augmenter: Augmenter | None = None,
        mixing: Mixing | None = None,
    ) -> dict[Modality, Tensor]:
        """Encode all hops of all runs.

        Args:
            batch: C runs of R hops; its masks are those of the runs' own content.
            frozen: the encoders that are run without gradients.
            augmenter: what changes the inputs.
            mixing: what the runs are mixed with.

        Returns:
            For each modality ``(C, R, S, D)`` float; for one whose encoder sees whole windows ``(C, W, S, D)``.
        """
        tokens = {}
        for index, (name, tensors) in enumerate(batch.inputs.items()):
            if self.cached.tokens:
                tokens[name] = tensors[0]
                continue
            with torch.set_grad_enabled(torch.is_grad_enabled() and name not in frozen):
                if name in self.cached.features:
                    tokens[name] = self._project(name, tensors[0])
                    continue
                windows = batch.targets.shape[1] if name in self.transforms.config.window_spanned else None
                tokens[name] = self._encode(name, tensors, batch.masks[:, index], augmenter, mixing, windows)
        return tokens

    def _project(self, name: Modality, features: Tensor) -> Tensor:
        encoder: Any = self.model.encoders[name]
        tokens: Tensor = encoder.project(features)
        return tokens

    def _windows(
        self, tensors: tuple[Tensor, ...], present: Tensor, num_windows: int
    ) -> tuple[tuple[Tensor, ...], Tensor]:
        """Each window's contents, joined, in place of the hops', and whether any of its hops is present: ``(C, W)``."""
        hops = self.transforms.config.windows.hops
        joined = (join_hops(cut_windows(tensor, num_windows, hops)) for tensor in tensors)
        shape = (len(present), num_windows)
        contents = tuple(tensor.unflatten(0, shape) for tensor in joined)
        return contents, cut_windows(present, num_windows, hops).any(dim=1).view(shape)

    def _encode(
        self,
        name: Modality,
        tensors: tuple[Tensor, ...],
        present: Tensor,
        augmenter: Augmenter | None,
        mixing: Mixing | None,
        num_windows: int | None,
    ) -> Tensor:
        if augmenter is not None:
            tensors = augmenter.raw(name, tensors, present)
        if num_windows is not None:
            tensors, present = self._windows(tensors, present, num_windows)
        contents, places = distinct_contents(name, tensors)
        with torch.autocast(present.device.type, enabled=False):
            prepared = self.transforms.prepare(name, *contents)
            if augmenter is not None:
                prepared = augmenter.prepared(name, prepared, present)
            # Words and categories cannot be mixed: of these the tokens are (manifold mixup, arXiv 1806.05236).
            mixable = places is None and all(tensor.is_floating_point() for tensor in prepared)
            if mixing is not None and mixable:
                runs = (tensor.unflatten(0, present.shape) for tensor in prepared)
                prepared = tuple(mixing.blend(tensor, present).flatten(0, 1) for tensor in runs)
        encoded = self.model.encode(name, *prepared)
        tokens = encoded.unflatten(0, present.shape) if places is None else encoded[places]
        return tokens if mixing is None or mixable else mixing.blend(tokens, present)


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
        length = 1 + int(token_mask.any(dim=0).nonzero().max())
        kept = token_ids.masked_fill(~token_mask, NO_TOKEN)[:, :length]
        distinct, places = torch.unique(kept, dim=0, return_inverse=True)
        there = distinct != NO_TOKEN
        return (distinct.masked_fill(~there, PADDING_ID), there), places.view(num_runs, num_hops)
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


def cut_tokens(runs: Mapping[Modality, Tensor], config: ModelConfig, num_windows: int) -> dict[Modality, Tensor]:
    """The tokens of the windows of runs, as :class:`RunEncoder` gives them: each ``(C * W, window_hops, S, D)``."""
    hops = config.windows.hops
    return {
        name: place_tokens(tokens.flatten(0, 1), hops)
        if name in config.window_spanned
        else cut_windows(tokens, num_windows, hops)
        for name, tokens in runs.items()
    }


def cut_masks(masks: Tensor, config: ModelConfig, num_windows: int) -> dict[Modality, Tensor]:
    """The masks of the windows of runs ``(C, M, R)``: for each modality ``(C * W, window_hops)`` bool."""
    cut = {
        name: cut_windows(masks[:, index], num_windows, config.windows.hops)
        for index, name in enumerate(config.modalities)
    }
    return {name: place_mask(mask) if name in config.window_spanned else mask for name, mask in cut.items()}
