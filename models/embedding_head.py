"""From a window's tokens of one modality to a vector in a space that all modalities share: towers after CLIP."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.config import Modality


class EmbeddingHead(nn.Module):
    """A norm and a projection for each modality (CLIP, arXiv 2103.00020), trained by a contrastive objective.

    Args:
        modalities: that are embedded.
        width: D of their tokens.
        embedding_width: E of the shared space.
    """

    def __init__(self, modalities: Sequence[Modality], *, width: int, embedding_width: int) -> None:
        super().__init__()
        self.norms = nn.ModuleDict({name: nn.LayerNorm(width) for name in modalities})
        self.projections = nn.ModuleDict({name: nn.Linear(width, embedding_width, bias=False) for name in modalities})

    def forward(self, modality: Modality, pooled: Tensor) -> Tensor:
        """Project the mean over a modality's tokens; at least in float32, whatever autocast says.

        Args:
            modality: one of the embedded ones.
            pooled: ``(B, D)`` float.

        Returns:
            ``(B, E)`` float of norm 1.
        """
        with torch.autocast(pooled.device.type, enabled=False):
            full = pooled if pooled.dtype == torch.float64 else pooled.float()
            projected = self.projections[modality](self.norms[modality](full))
            return functional.normalize(projected, dim=-1)
