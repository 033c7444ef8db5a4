"""What a cosine of two modalities is worth: the scale of the logits, fitted to clips that were not learned from.

A contrastive training learns its scales on the clips that it learns from, where towers of small data are much surer
than they ought to be, and the weaker ones the more so. As the temperature of a classifier is (Guo et al. 2017, arXiv
1706.04599), they are therefore fitted anew, to the same loss, on the validation split.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from itertools import combinations

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from handler.embedding import Embedder
from models.checkpoint import Checkpoint, CheckpointDescription
from models.config import Modality, ModelConfig
from models.embedding_config import pair_key
from models.model import ActivityModel
from training.dataset import LabelledClip
from training.embedded import EmbeddedWindows, embed_windows

LOWEST_SCALE, HIGHEST_SCALE = 0.5, 100.0
MAX_WINDOWS = 2000
"""Their cosines with each other are 32 MB."""
STEPS = 40
"""Of a search that keeps two thirds of the range each time: the scale is found to within a millionth of it."""


def fit_scales(embedder: Embedder, clips: Iterable[LabelledClip], modalities: Sequence[Modality]) -> dict[str, float]:
    """The scale of each pair of modalities (:attr:`models.embedding_config.EmbeddingConfig.scales`).

    Args:
        embedder: the towers.
        clips: held out of their training.
        modalities: that are embedded.

    Returns:
        By :func:`models.embedding_config.pair_key`; a pair is left out when fewer than two clips have both.
    """
    windows = embed_windows(embedder, clips)
    fitted = {pair_key(*pair): fit_scale(windows, *pair) for pair in combinations(modalities, 2)}
    return {key: round(scale, 4) for key, scale in fitted.items() if scale is not None}


def fit_scale(windows: EmbeddedWindows, one: Modality, other: Modality) -> float | None:
    """The scale of one pair; None where fewer than two clips have both."""
    absent = np.zeros(len(windows.clips), dtype=np.bool_)
    both = np.flatnonzero(windows.present.get(one, absent) & windows.present.get(other, absent))
    both = both[np.unique(np.linspace(0, len(both) - 1, min(len(both), MAX_WINDOWS)).round().astype(int))]
    clips = windows.clips[both]
    if len(np.unique(clips)) < 2:
        return None
    cosines = windows.vectors[one][both].astype(np.float64) @ windows.vectors[other][both].astype(np.float64).T
    rivals = (clips[:, None] != clips[None]) | np.eye(len(both), dtype=np.bool_)
    low, high = math.log(LOWEST_SCALE), math.log(HIGHEST_SCALE)
    for _ in range(STEPS):  # the loss is convex in the scale
        third = (high - low) / 3
        if contrastive_loss(cosines, rivals, math.exp(low + third)) < contrastive_loss(
            cosines, rivals, math.exp(high - third)
        ):
            high -= third
        else:
            low += third
    return math.exp((low + high) / 2)


def contrastive_loss(cosines: NDArray[np.float64], rivals: NDArray[np.bool_], scale: float) -> float:
    """Symmetric InfoNCE, as :mod:`training.objectives.contrastive` trains it.

    Args:
        cosines: ``(W, W)`` of each window by one modality with each by the other.
        rivals: ``(W, W)`` bool, symmetric: which count, a window itself included.
        scale: of the logits.
    """
    logits = np.where(rivals, scale * cosines, -np.inf)
    own = np.diagonal(logits)
    there, back = (np.logaddexp.reduce(logits, axis=axis) - own for axis in (1, 0))
    return float((there.mean() + back.mean()) / 2)


def fit_scales_into(
    config: ModelConfig, model: ActivityModel, tokenizer: Tokenizer | None, clips: Iterable[LabelledClip]
) -> ModelConfig:
    """The configuration of a model with towers with their scales; as it is where it has none."""
    if config.embedding is None:
        return config
    description = CheckpointDescription(name="in training", version="0", config=config)
    embedder = Embedder(Checkpoint(description=description, model=model, tokenizer=tokenizer))
    scales = fit_scales(embedder, clips, config.embedded_modalities)
    return config.model_copy(update={"embedding": config.embedding.model_copy(update={"scales": scales})})
