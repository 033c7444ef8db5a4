"""Computed beforehand: with frozen encoders and unchanged inputs a clip's tokens are the same in every epoch.

Of a pretrained encoder whose backbone alone is frozen that holds for the backbone's features; its projection learns.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

import torch
from torch import Tensor

from handler.transform import HopInputs, Transforms
from models.config import Modality
from models.model import ActivityModel
from models.pretrained.encoder import PretrainedEncoder
from training.dataset import Contents
from training.recipe import Recipe

ROWS_PER_BATCH = 64


def may_cache(recipe: Recipe) -> bool:
    """Whether all encoders are frozen in all stages and nothing changes what they are given."""
    all_frozen = recipe.always_frozen == set(recipe.model.modalities)
    return all_frozen and not recipe.changes_inputs and not recipe.model.window_spanned


def cached_backbones(recipe: Recipe, model: ActivityModel) -> frozenset[Modality]:
    """The modalities whose backbone is frozen for good, and whose inputs nothing changes."""
    if recipe.training.mixup_alpha > 0:
        return frozenset()
    augmented = recipe.augmentation.modalities
    return frozenset(
        name
        for name, encoder in model.encoders.items()
        if isinstance(encoder, PretrainedEncoder)
        and encoder.is_frozen
        and encoder.config.span == "hop"  # what is kept is kept by hop
        and name not in augmented
    )


def extract_features(
    model: ActivityModel,
    transforms: Transforms,
    clips: Sequence[Contents],
    device: torch.device,
    names: Collection[Modality],
    encoded: Callable[[int, int], None] | None = None,
) -> list[Contents]:
    """The backbones' features of what the clips' hops hold, each different content once.

    Args:
        model: with the encoders of ``names``.
        transforms: its transforms.
        clips: what their hops hold.
        device: where it runs.
        names: of the modalities.
        encoded: called with clips done, each once a modality, and all of them.

    Returns:
        For each clip the features ``(U, S, F)`` float32, on the CPU, of the modalities of ``names``; its raw contents
        of the others.
    """

    def extract(name: Modality, *inputs: Tensor) -> Tensor:
        encoder = model.encoders[name]
        assert isinstance(encoder, PretrainedEncoder)  # noqa: S101 - as cached_backbones chose it
        return encoder.features(*inputs)

    extracted = _compute(model, transforms, clips, device, names, extract, encoded)
    return [{**held, **of_clip} for held, of_clip in zip(clips, extracted, strict=True)]


def encode_contents(
    model: ActivityModel,
    transforms: Transforms,
    clips: Sequence[Contents],
    device: torch.device,
    encoded: Callable[[int, int], None] | None = None,
) -> list[Contents]:
    """Encode what the clips' hops hold, each different content once, in evaluation mode.

    Args:
        model: whose encoders are frozen.
        transforms: its transforms.
        clips: what their hops hold.
        device: where it runs.
        encoded: called with clips done, each once a modality, and all of them.

    Returns:
        For each clip and modality the tokens ``(U, S, D)`` float32, on the CPU, and their places.
    """
    return _compute(model, transforms, clips, device, transforms.config.modalities, model.encode, encoded)


def _compute(
    model: ActivityModel,
    transforms: Transforms,
    clips: Sequence[Contents],
    device: torch.device,
    names: Collection[Modality],
    encode: Callable[..., Tensor],
    report: Callable[[int, int], None] | None,
) -> list[Contents]:
    """What ``encode`` gives of each different content, batch by batch, in evaluation mode."""
    training = model.training
    model.to(device).eval()
    transforms.to(device)
    encoded: list[dict[Modality, HopInputs]] = [{} for _ in clips]
    with torch.no_grad():  # what inference mode makes cannot be trained on
        for place, name in enumerate(names):
            for number, (held, result) in enumerate(zip(clips, encoded, strict=True), 1):
                batches = zip(*(tensor.split(ROWS_PER_BATCH) for tensor in held[name].tensors), strict=True)
                tokens = [
                    encode(name, *transforms.prepare(name, *(tensor.to(device) for tensor in batch))).float().cpu()
                    for batch in batches
                ]
                result[name] = HopInputs((torch.cat(tokens),), held[name].places)
                if report is not None:
                    report(place * len(clips) + number, len(names) * len(clips))
    model.train(training)
    return list(encoded)
