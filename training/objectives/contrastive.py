"""Which of the batch's sounds is of this picture, and the other way round (after CLIP, arXiv 2103.00020)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import combinations

import torch
from torch import Tensor, nn

from models.config import Modality
from models.embedding_head import EmbeddingHead
from models.settings import SettingsError
from training.objectives.base import Objective, ObjectiveInput
from training.objectives.config import ContrastiveConfig
from training.objectives.gather import Processes
from training.objectives.info_nce import Pairing, info_nce

MAX_LOG_SCALE = math.log(100.0)  # CLIP's bound: beyond it the loss is all of the nearest negative


class Contrastive(Objective):
    """Symmetric InfoNCE by pairs of modalities, over the windows of all processes.

    A window's embedding of a modality is the mean of its tokens over the hops that have it, normed and projected.
    Windows of one clip are no negatives of each other: they overlap, or resemble each other. A window in
    which one of the two is absent is neither query nor negative of that pair. Each pair has a temperature of its own;
    the loss is the mean over the pairs that count any window.

    Every process takes its own windows as queries, and its loss is scaled so that the mean over the processes, which
    is what DDP takes of the gradients, is the loss of the whole batch.

    Args:
        config: the recipe's settings.
        modalities: the model's; of one with towers those that it embeds.
        width: D of their tokens; None where the model has towers, whose norms and projections are then trained.

    Raises:
        SettingsError: when a pair names a modality that the model does not have, or it has but one.
    """

    def __init__(self, config: ContrastiveConfig, modalities: Sequence[Modality], *, width: int | None) -> None:
        super().__init__(config.weight)
        self.pairs = tuple(config.pairs or combinations(modalities, 2))
        unknown = {name for pair in self.pairs for name in pair} - set(modalities)
        if unknown or not self.pairs:
            raise SettingsError(
                f"objectives.contrastive needs pairs of the model's modalities ({', '.join(modalities)})"
                + (f", which {', '.join(sorted(unknown))} are not" if unknown else "")
            )
        self.chunk_size = config.chunk_size
        self.names = tuple(name for name in modalities if any(name in pair for pair in self.pairs))
        self.head = None if width is None else EmbeddingHead(self.names, width=width, embedding_width=config.width)
        self.log_scales = nn.Parameter(torch.full((len(self.pairs),), -math.log(config.temperature)))

    def forward(self, inputs: ObjectiveInput) -> Tensor:
        """The mean over pairs and directions; 0 where no window has two modalities of a pair."""
        with torch.no_grad():  # as CLIP does: a clamp inside the graph would leave a scale beyond the bound for good
            self.log_scales.clamp_(0.0, MAX_LOG_SCALE)
        with torch.autocast(inputs.clips.device.type, enabled=False):
            return self._loss(inputs)

    def _loss(self, inputs: ObjectiveInput) -> Tensor:
        device = inputs.clips.device
        processes = Processes.of_rows(len(inputs.clips), device)
        own = torch.arange(len(inputs.clips), device=device) + processes.offset
        clips = processes.gather(inputs.clips)
        embedded = {name: self.embed(name, inputs) for name in self.names}
        gathered = {name: processes.gather(rows) for name, rows in embedded.items()}
        present = {name: processes.gather(inputs.present(name).to(torch.uint8)).bool() for name in self.names}
        losses, num_counted = [], []
        for index, (one, other) in enumerate(self.pairs):
            counted = present[one] & present[other]
            pairing = Pairing(clips[own], clips, counted, own)
            scale = self.log_scales[index].exp()
            there = info_nce(embedded[one] * scale, gathered[other], pairing, self.chunk_size)
            back = info_nce(embedded[other] * scale, gathered[one], pairing, self.chunk_size)
            mine = ((there + back) / 2).masked_fill(~counted[own], 0.0).sum()
            losses.append(mine * len(processes.sizes) / counted.sum().clamp(min=1))
            num_counted.append(counted.any())
        return torch.stack(losses).sum() / torch.stack(num_counted).sum().clamp(min=1)

    def embed(self, modality: Modality, inputs: ObjectiveInput) -> Tensor:
        """Each window's projection of a modality: ``(B, E)`` float of norm 1."""
        head = self.head or inputs.embed
        if head is None:
            raise ValueError("the objective has no projections of its own, and the model has no towers")
        embedded: Tensor = head(modality, inputs.pooled(modality))
        return embedded
