"""What would the missing modality have been: predicted from the fusion of the others.

The target is the normed mean of the modality's tokens, without gradient (after data2vec, arXiv 2202.03555): the encoder
cannot make the task easy by making its tokens dull.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.config import Modality
from models.settings import SettingsError
from training.objectives.base import Objective, ObjectiveInput, draw_among, full_precision, mean_where
from training.objectives.config import MaskedModalityConfig


class MaskedModality(Objective):
    """In each window with at least two modalities, one of them is masked and predicted.

    Args:
        config: the recipe's settings.
        modalities: the model's; each has a predictor of its own.
        width: D of their tokens.
        fused_width: of the fused embedding.
    """

    def __init__(
        self, config: MaskedModalityConfig, modalities: Sequence[Modality], *, width: int, fused_width: int
    ) -> None:
        super().__init__(config.weight)
        if len(modalities) < 2:
            raise SettingsError("objectives.masked_modality needs a model of at least two modalities")
        self.modalities = tuple(modalities)
        self.predictors = nn.ModuleDict(
            {
                name: nn.Sequential(
                    nn.LayerNorm(fused_width),
                    nn.Linear(fused_width, config.hidden),
                    nn.GELU(),
                    nn.Linear(config.hidden, width),
                )
                for name in modalities
            }
        )

    def forward(self, inputs: ObjectiveInput) -> Tensor:
        """Mean squared error over D and over the windows that have two modalities."""
        present = torch.stack([inputs.present(name) for name in self.modalities], dim=1)
        dropped = draw_among(present & (present.sum(dim=1, keepdim=True) >= 2))
        return self.error(inputs, dropped)

    def error(self, inputs: ObjectiveInput, dropped: Tensor) -> Tensor:
        """The loss for a given choice: ``dropped`` ``(B, M)`` bool, at most one True a row."""
        masks = {name: inputs.masks[name] & ~dropped[:, [index]] for index, name in enumerate(self.modalities)}
        fused = inputs.fuse(inputs.tokens, masks).fused
        errors = fused.new_zeros(len(fused), dtype=torch.promote_types(fused.dtype, torch.float32))
        for index, name in enumerate(self.modalities):
            pooled = full_precision(inputs.pooled(name).detach())
            target = functional.layer_norm(pooled, pooled.shape[-1:])
            error = (full_precision(self.predictors[name](fused)) - target).square().mean(dim=-1)
            errors = errors + error.masked_fill(~dropped[:, index], 0.0)
        return mean_where(errors, dropped.any(dim=1))
