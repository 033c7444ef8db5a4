"""Scores of labels that come with the request: their embeddings, kept by content, compared with those of windows."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Mapping, Sequence
from threading import Lock
from typing import TYPE_CHECKING

import torch
from tokenizers import Tokenizer
from torch import Tensor

from handler.inference import EncodedClip, ScoredWindows, Scorer, gather_windows_mask
from handler.label_choice import LabelChoice, default_choice
from handler.measures import stage
from handler.runtime import Runtime
from handler.transform import Transforms
from models.checkpoint import Checkpoint
from models.config import Modality
from models.model import gather_windows
from models.zero_shot import ZeroShotModel, average_templates, mean_of_hops, mean_of_scores, score_labels
from models.zero_shot_config import PLACE, ZeroShotConfig

if TYPE_CHECKING:
    from handler.clip import Clip

MAX_KEPT_TEXTS = 4096
"""Texts whose embeddings are kept: some 8 MB of a width of 512."""


class LabelEmbedder:
    """Embeds texts into the spaces of a model. A text is embedded once for as long as it is remembered.

    Each text runs alone, in float32 and with its own length: its embedding then depends on nothing else that is asked
    for, and so do the answer's bytes.

    Args:
        model: with its text towers, on the runtime's device.
        tokenizers: for each space its own.
        runtime: says the device, and how many texts are embedded at a time.
        max_kept: texts that are remembered; the one that was asked for longest ago is forgotten first.
    """

    def __init__(
        self,
        model: ZeroShotModel,
        tokenizers: Mapping[str, Tokenizer],
        runtime: Runtime,
        *,
        max_kept: int = MAX_KEPT_TEXTS,
    ) -> None:
        self.model = model
        self.tokenizers = dict(tokenizers)
        self.runtime = runtime
        self.max_kept = max_kept
        self._kept: OrderedDict[tuple[str, str], Tensor] = OrderedDict()
        self._lock = Lock()

    def embed(self, space: str, texts: Sequence[str]) -> Tensor:
        """Embed texts, at least one: ``(L, E)`` float32 of length 1, on the CPU."""
        found = {text: self._remembered(space, text) for text in dict.fromkeys(texts)}
        missing = [text for text, embedding in found.items() if embedding is None]
        embedded = self.runtime.map(lambda text: self._run(space, text), missing)
        for text, new in zip(missing, embedded, strict=True):
            found[text] = new
            self._remember(space, text, new)
        return torch.stack([embedding for text in texts if (embedding := found[text]) is not None])

    def embed_labels(self, space: str, labels: Sequence[str], templates: Sequence[str]) -> Tensor:
        """Embed labels as the mean of their sentences: ``(K, E)`` float32 of length 1, on the CPU."""
        sentences = [template.replace(PLACE, label) for label in labels for template in templates]
        return average_templates(self.embed(space, sentences).unflatten(0, (len(labels), len(templates))))

    def _run(self, space: str, text: str) -> Tensor:
        encoding = self.tokenizers[space].encode(text)
        device = self.runtime.device
        token_ids = torch.tensor([encoding.ids], dtype=torch.int64, device=device)
        token_mask = torch.tensor([encoding.attention_mask], dtype=torch.bool, device=device)
        with torch.inference_mode():
            return self.model.embed_texts(space, token_ids, token_mask)[0].float().cpu()

    def _remembered(self, space: str, text: str) -> Tensor | None:
        with self._lock:
            embedding = self._kept.get((space, text))
            if embedding is not None:
                self._kept.move_to_end((space, text))
            return embedding

    def _remember(self, space: str, text: str, embedding: Tensor) -> None:
        with self._lock:
            self._kept[space, text] = embedding
            self._kept.move_to_end((space, text))
            while len(self._kept) > self.max_kept:
                self._kept.popitem(last=False)


class ZeroShotScorer(Scorer):
    """Scores windows for labels of the request's choice.

    Args:
        model: the model.
        transforms: its transforms.
        runtime: where and how it runs.
        tokenizers: for each space its own.
        temperature: what logits are divided by.
    """

    model: ZeroShotModel

    def __init__(
        self,
        model: ZeroShotModel,
        transforms: Transforms,
        runtime: Runtime,
        tokenizers: Mapping[str, Tokenizer],
        *,
        temperature: float = 1.0,
    ) -> None:
        super().__init__(model, transforms, runtime, temperature=temperature)
        self.embedder = LabelEmbedder(model, tokenizers, runtime)

    def score_labels(self, clip: Clip, choice: LabelChoice) -> ScoredWindows:
        """Score each window of ``clip`` for the labels of ``choice``, then "none of these" where the model has it."""
        return self.compare(self.encode(clip), choice)

    def fuse(self, encoded: EncodedClip, names: Collection[Modality] | None = None) -> ScoredWindows:
        """Score each window for the archive's own labels, without "none of these".

        Args:
            encoded: what :meth:`encode` gave.
            names: of its modalities these are used; by default all.

        Raises:
            ValueError: the archive has no labels.
        """
        config = self.transforms.config
        if not config.labels:
            raise ValueError("this model has no labels of its own: score_labels takes them")
        return self.compare(encoded, default_choice(config.labels, self._zero_shot), names, with_none=False)

    @stage("fuse")
    def compare(
        self,
        encoded: EncodedClip,
        choice: LabelChoice,
        names: Collection[Modality] | None = None,
        *,
        with_none: bool = True,
    ) -> ScoredWindows:
        """Score each window of a clip whose hops are encoded.

        Args:
            encoded: what :meth:`encode` gave.
            choice: labels, templates, weights.
            names: of its modalities these are used, as if no other had been sent; by default all.
            with_none: score "none of these" too, as the last label, where the model has it.
        """
        config, zero_shot = self.transforms.config, self._zero_shot
        used = [name for name in encoded.tokens if names is None or name in names]
        windows = {name: self._embed_windows(encoded, name) for name in used}
        num_labels = len(choice.labels) + (with_none and zero_shot.none_label is not None)
        scores = torch.zeros(encoded.clip.schedule.num_windows, num_labels, dtype=torch.float64)
        if used:
            likeness = {name: self._score(name, windows[name], choice, with_none=with_none) for name in used}
            present = {name: windows[name].any(dim=-1) for name in used}
            scores = mean_of_scores(likeness, present, choice.weights)
        absent = torch.zeros(encoded.clip.schedule.num_windows, 0)
        embeddings = [
            windows.get(name, absent.new_zeros(len(absent), self.model.token_widths[name]))
            for name in config.modalities
        ]
        return ScoredWindows(scores=scores.numpy(), embeddings=torch.cat(embeddings, dim=-1).numpy())

    @property
    def _zero_shot(self) -> ZeroShotConfig:
        if self.transforms.config.zero_shot is None:
            raise ValueError("this model has no zero_shot")
        return self.transforms.config.zero_shot

    def _embed_windows(self, encoded: EncodedClip, name: Modality) -> Tensor:
        """``(W, E)`` float32 of length 1; zeros where a window does not have the modality."""
        schedule = encoded.clip.schedule
        starts = torch.arange(schedule.num_windows)
        mask = gather_windows(torch.from_numpy(encoded.clip.masks[name]), starts, schedule.window_hops)
        hops = encoded.tokens[name].mean(dim=1, keepdim=True)
        tokens = gather_windows(hops, starts, schedule.window_hops)
        return mean_of_hops(tokens, mask & gather_windows_mask(encoded.clip))

    def _score(self, name: Modality, windows: Tensor, choice: LabelChoice, *, with_none: bool) -> Tensor:
        space = self._zero_shot.space_of(name)
        has_none = with_none and self._zero_shot.none_label is not None
        return score_labels(
            windows,
            self.embedder.embed_labels(space, choice.labels, choice.templates[space]),
            self.model.tower(space),
            none_threshold=self._zero_shot.spaces[space].none_threshold if has_none else None,
            temperature=self.temperature,
        )


def build_scorer(checkpoint: Checkpoint, runtime: Runtime) -> Scorer:
    """The scorer of a checkpoint: for labels of each request's choice, or for those it was trained or fitted for."""
    config = checkpoint.description.config
    transforms, temperature = Transforms(config, checkpoint.tokenizer), checkpoint.description.temperature
    if isinstance(checkpoint.model, ZeroShotModel) and config.zero_shot is not None and config.zero_shot.takes_labels:
        tokenizers = checkpoint.label_tokenizers
        return ZeroShotScorer(checkpoint.model, transforms, runtime, tokenizers, temperature=temperature)
    return Scorer(checkpoint.model, transforms, runtime, temperature=temperature)
