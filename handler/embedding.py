"""From a decoded clip, or a text, to vectors that can be compared: each modality of each window alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from handler.batching import run_micro_batches
from handler.clip import Clip
from handler.inference import HOPS_PER_BATCH, WINDOWS_PER_BATCH, Scorer, gather_windows_mask
from handler.runtime import Runtime, choose_runtime
from handler.transform import Transforms
from handler.zero_shot import LabelEmbedder
from models.checkpoint import Checkpoint
from models.config import Modality
from models.embedding_head import EmbeddingHead
from models.model import gather_windows
from models.settings import SettingsError
from models.spaces import OWN_SPACE, spaces_of
from models.transformer import masked_mean
from models.zero_shot import ZeroShotModel, mean_of_hops


@dataclass(frozen=True)
class WindowEmbeddings:
    """What the windows of a clip are in one modality."""

    vectors: NDArray[np.float32]
    """``(W, E)`` float32 of length 1; zeros where the window does not have the modality."""
    present: NDArray[np.bool_]
    """``(W,)`` bool, True where it has."""

    def __post_init__(self) -> None:
        if self.vectors.ndim != 2 or self.present.shape != self.vectors.shape[:1]:
            raise ValueError(f"needs (W, E) vectors and (W,) present, got {self.vectors.shape}, {self.present.shape}")


class Towers(Protocol):
    """What embeds: a model's own towers, or pretrained ones."""

    def embed_windows(self, modality: Modality, tokens: Tensor, mask: Tensor) -> Tensor:
        """Tokens ``(B, hops, S, D)`` of windows and their mask ``(B, hops)`` bool to ``(B, E)`` float of length 1."""

    def embed_texts(self, space: str, texts: Sequence[str]) -> Tensor:
        """At least one text to ``(L, E)`` float32 of length 1, on the CPU."""

    def scale(self, space: str, one: Modality, other: Modality) -> float:
        """What the cosine of two modalities is multiplied by to be evidence, above 0."""


class Embedder:
    """A checkpoint that embeds.

    Args:
        checkpoint: of a model with towers.
        runtime: where and how it runs; chosen for this machine by default.

    Raises:
        SettingsError: when the model has none.
    """

    def __init__(self, checkpoint: Checkpoint, runtime: Runtime | None = None) -> None:
        self.config = checkpoint.description.config
        self.spaces = spaces_of(self.config)
        if not self.spaces:
            raise SettingsError(
                f"the model {checkpoint.description.name!r} embeds nothing: train one with model.embedding, as "
                "config/recipes/towers.yaml does, or take one that `activity assemble` made"
            )
        self.runtime = runtime or choose_runtime()
        self.scorer = Scorer(checkpoint.model, Transforms(self.config, checkpoint.tokenizer), self.runtime)
        self.towers = _build_towers(checkpoint, self.scorer)

    def space_of(self, modality: Modality) -> str | None:
        """The space that a modality is embedded into; None where it is not."""
        return next((name for name, space in self.spaces.items() if modality in space.modalities), None)

    def embed_clip(self, clip: Clip) -> dict[Modality, WindowEmbeddings]:
        """Embed each window of ``clip`` by each of its modalities alone; each hop is encoded once.

        Returns:
            For each modality that the clip has and a space takes; W is the schedule's.
        """
        embedded = [name for space in self.spaces.values() for name in space.modalities]
        encoded = self.scorer.encode(clip, embedded)
        starts = torch.arange(clip.schedule.num_windows)
        hops, inside = clip.schedule.window_hops, gather_windows_mask(clip)
        results: dict[Modality, WindowEmbeddings] = {}
        for name, tokens in encoded.tokens.items():
            mask = gather_windows(torch.from_numpy(clip.masks[name]), starts, hops) & inside
            vectors = self._run(name, gather_windows(tokens, starts, hops), mask)
            present = mask.any(dim=1)
            results[name] = WindowEmbeddings(vectors.masked_fill(~present[:, None], 0.0).numpy(), present.numpy())
        return results

    def embed_text(self, space: str, texts: Sequence[str]) -> NDArray[np.float32]:
        """Embed texts, at least one, into a space: ``(L, E)`` float32 of length 1.

        Raises:
            SettingsError: when the space takes no text, or there is no such space.
        """
        if space not in self.spaces or not self.spaces[space].takes_text:
            known = ", ".join(name for name, it in self.spaces.items() if it.takes_text) or "none"
            raise SettingsError(f"no text can be embedded into the space {space!r} (spaces that take text: {known})")
        vectors: NDArray[np.float32] = self.towers.embed_texts(space, texts).numpy()
        return vectors

    def scale(self, space: str, one: Modality, other: Modality) -> float:
        """What the cosine of two modalities is multiplied by, above 0: the logits that the towers were trained with.

        Evidence, then, is how far a logit lies above those of windows in general (:mod:`retrieval.ranking`).
        """
        return self.towers.scale(space, one, other)

    def _run(self, modality: Modality, tokens: Tensor, mask: Tensor) -> Tensor:
        def forward(*batch: Tensor) -> Tensor:
            return self.towers.embed_windows(modality, *batch)

        return run_micro_batches(forward, (tokens, mask), size=WINDOWS_PER_BATCH, item="window", runtime=self.runtime)


def _build_towers(checkpoint: Checkpoint, scorer: Scorer) -> Towers:
    if isinstance(checkpoint.model, ZeroShotModel):
        return PretrainedTowers(LabelEmbedder(checkpoint.model, checkpoint.label_tokenizers, scorer.runtime))
    return OwnTowers(scorer)


class PretrainedTowers:
    """Encoders whose hops are embeddings already, and the text towers that share their spaces.

    Args:
        texts: embeds texts.
    """

    def __init__(self, texts: LabelEmbedder) -> None:
        self.texts = texts

    def scale(self, space: str, one: Modality, other: Modality) -> float:
        """The scale that the source was trained with, for texts as for all else."""
        del one, other
        return float(self.texts.model.tower(space).scale)

    def embed_windows(self, modality: Modality, tokens: Tensor, mask: Tensor) -> Tensor:
        """The mean over the hops that have the modality, of length 1: what recognition compares with labels."""
        del modality
        return mean_of_hops(tokens, mask)

    def embed_texts(self, space: str, texts: Sequence[str]) -> Tensor:
        """Each text by the space's own tower, as it is."""
        return self.texts.embed(space, texts)


class OwnTowers:
    """The towers that a model was trained with; a text is embedded as the words of a window are.

    Args:
        scorer: of a model with an embedding head.

    Raises:
        TypeError: when it has none.
    """

    def __init__(self, scorer: Scorer) -> None:
        config = scorer.transforms.config.embedding
        if config is None or not isinstance(scorer.model.embedding, EmbeddingHead):
            raise TypeError("the model has no embedding head")
        self.scorer = scorer
        self.config = config
        self.head = scorer.model.embedding

    def scale(self, space: str, one: Modality, other: Modality) -> float:
        """The scale that the training fitted to its validation split."""
        del space
        return self.config.scale(one, other)

    def embed_windows(self, modality: Modality, tokens: Tensor, mask: Tensor) -> Tensor:
        """The projection of the mean over the tokens of the hops that have the modality, as in training."""
        there = mask[..., None].expand(tokens.shape[:3])
        embedded: Tensor = self.head(modality, masked_mean(tokens.flatten(1, 2), there.flatten(1, 2)))
        return embedded

    def embed_texts(self, space: str, texts: Sequence[str]) -> Tensor:
        """Each text as a window whose every hop has these words."""
        if space != OWN_SPACE:
            raise ValueError(f"own towers have the space {OWN_SPACE!r}, not {space!r}")

        def forward(*batch: Tensor) -> Tensor:
            tokens = self.scorer.model.encode("text", *batch)[:, None]
            return self.embed_windows("text", tokens, tokens.new_ones(tokens.shape[:2]).bool())

        inputs = self.scorer.transforms.text(texts)
        return run_micro_batches(forward, inputs, size=HOPS_PER_BATCH, runtime=self.scorer.runtime)
