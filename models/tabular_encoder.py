"""One row of a table to one token: numbers, what is missing, and embedded categories through an MLP.

Entity embeddings: Guo and Berkhahn 2016 (arXiv 1604.06737).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from models.encoder_config import TabularConfig


class TabularEncoder(nn.Module):
    """An MLP of one hidden layer.

    Each number comes with whether it is there, so that a missing one is not taken for an average one. Each category
    has an embedding for every value it was trained with, and one, at index 0, for values that are unknown or missing.
    """

    def __init__(self, config: TabularConfig, *, width: int, dropout: float) -> None:
        super().__init__()
        self.embeddings = nn.ModuleList(
            nn.Embedding(1 + len(values), config.embedding_width) for values in config.categorical.values()
        )
        inputs = 2 * len(config.numeric) + config.embedding_width * len(config.categorical)
        self.mlp = nn.Sequential(
            nn.Linear(inputs, config.hidden), nn.GELU(), nn.Dropout(dropout), nn.Linear(config.hidden, width)
        )
        self.norm = nn.LayerNorm(width)

    def forward(self, numbers: Tensor, present: Tensor, categories: Tensor) -> Tensor:
        """Encode rows.

        Args:
            numbers: ``(B, Cn)`` float, normalised, finite; anything where it is missing.
            present: ``(B, Cn)`` bool, False = missing.
            categories: ``(B, Cc)`` int64 in [0, 1 + number of the column's values), 0 = unknown or missing.

        Returns:
            ``(B, 1, D)`` float.
        """
        parts = [numbers * present, present.to(numbers.dtype)]
        parts += [embedding(categories[:, column]) for column, embedding in enumerate(self.embeddings)]
        tokens: Tensor = self.norm(self.mlp(torch.cat(parts, dim=-1)))
        return tokens[:, None]
