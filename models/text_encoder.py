"""The text transformer over the words of one hop."""

from __future__ import annotations

from torch import Tensor, nn

from models.encoder_config import TextConfig
from models.transformer import Transformer, masked_mean, sinusoidal_positions


class TextEncoder(nn.Module):
    """Token ids to one token: the mean over the words' transformed embeddings (BERT's encoder, arXiv 1810.04805)."""

    def __init__(self, config: TextConfig, *, width: int, dropout: float) -> None:
        super().__init__()
        self.embedding = nn.Embedding(config.vocab_size, width)
        nn.init.normal_(self.embedding.weight, std=0.5)  # of the order of the positions that are added to it
        self.register_buffer("positions", sinusoidal_positions(config.max_tokens, width), persistent=False)
        self.transformer = Transformer(config.depth, width, config.heads, dropout)
        self.norm = nn.LayerNorm(width)

    def forward(self, token_ids: Tensor, token_mask: Tensor) -> Tensor:
        """Encode texts.

        Args:
            token_ids: ``(B, S)`` int64 in [0, vocab_size), S at most ``max_tokens``.
            token_mask: ``(B, S)`` bool, True = a token, False = padding.

        Returns:
            ``(B, 1, D)`` float.
        """
        tokens = self.embedding(token_ids) + self.get_buffer("positions")[: token_ids.shape[1]]
        tokens = self.norm(self.transformer(tokens, token_mask))
        return masked_mean(tokens, token_mask)[:, None]
