"""Tokens computed beforehand: with frozen encoders and unchanged inputs a clip's are the same in every epoch."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from handler.transform import HopInputs, Transforms
from models.config import Modality
from models.model import ActivityModel
from training.dataset import Contents
from training.recipe import Recipe

ROWS_PER_BATCH = 64


def may_cache(recipe: Recipe) -> bool:
    """Whether all encoders are frozen in all stages and nothing changes what they are given."""
    return recipe.always_frozen == set(recipe.model.modalities) and not recipe.changes_inputs


def encode_contents(
    model: ActivityModel, transforms: Transforms, clips: Sequence[Contents], device: torch.device
) -> list[Contents]:
    """Encode what the clips' hops hold, each different content once, in evaluation mode.

    Returns:
        For each clip and modality the tokens ``(U, S, D)`` float32, on the CPU, and their places.
    """
    training = model.training
    model.to(device).eval()
    transforms.to(device)
    encoded: list[dict[Modality, HopInputs]] = [{} for _ in clips]
    with torch.no_grad():  # what inference mode makes cannot be trained on
        for name in transforms.config.modalities:
            for held, result in zip(clips, encoded, strict=True):
                batches = zip(*(tensor.split(ROWS_PER_BATCH) for tensor in held[name].tensors), strict=True)
                tokens = [
                    model.encode(name, *transforms.prepare(name, *(tensor.to(device) for tensor in batch)))
                    .float()
                    .cpu()
                    for batch in batches
                ]
                result[name] = HopInputs((torch.cat(tokens),), held[name].places)
    model.train(training)
    return list(encoded)
