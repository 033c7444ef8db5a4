"""One hop of a timed sequence of vectors to a few tokens: linear, a 1-D CNN, or a transformer."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from models.encoder_config import VectorConfig
from models.normalisation import build_group_norm
from models.transformer import Transformer, sinusoidal_positions


class VectorProjection(nn.Module):
    """Each token is the mean of a run of rows, projected and normalised: nothing but a linear layer and a norm."""

    def __init__(self, config: VectorConfig, *, width: int) -> None:
        super().__init__()
        self.tokens_per_hop = config.tokens_per_hop
        self.project = nn.Linear(config.channels, width)
        self.norm = nn.LayerNorm(width)

    def forward(self, rows: Tensor) -> Tensor:
        """Encode hops ``(B, R, C)`` float, normalised, to ``(B, tokens_per_hop, D)`` float, in the order of time."""
        tokens: Tensor = self.norm(self.project(pool_rows(rows, self.tokens_per_hop)))
        return tokens


class VectorCnn(nn.Module):
    """Stages of a convolution over five rows with stride 2, group normalisation and GELU (arXiv 1803.08494)."""

    def __init__(self, config: VectorConfig, *, width: int) -> None:
        super().__init__()
        self.tokens_per_hop = config.tokens_per_hop
        stages: list[nn.Module] = []
        channels_in = config.channels
        for channels in config.hidden:
            stages += [
                nn.Conv1d(channels_in, channels, kernel_size=5, stride=2, padding=2, bias=False),
                build_group_norm(channels),
                nn.GELU(),
            ]
            channels_in = channels
        self.stages = nn.Sequential(*stages)
        self.project = nn.Linear(channels_in, width)
        self.norm = nn.LayerNorm(width)

    def forward(self, rows: Tensor) -> Tensor:
        """Encode hops ``(B, R, C)`` float, normalised, to ``(B, tokens_per_hop, D)`` float, in the order of time."""
        features = self.stages(rows.transpose(1, 2)).transpose(1, 2)
        tokens: Tensor = self.norm(self.project(pool_rows(features, self.tokens_per_hop)))
        return tokens


class VectorTransformer(nn.Module):
    """Rows as tokens with the time inside the hop by sines and cosines; each token is the mean of a run of rows."""

    def __init__(self, config: VectorConfig, *, width: int, dropout: float) -> None:
        super().__init__()
        self.tokens_per_hop = config.tokens_per_hop
        self.project = nn.Linear(config.channels, width)
        self.transformer = Transformer(config.depth, width, config.heads, dropout)
        self.norm = nn.LayerNorm(width)

    def forward(self, rows: Tensor) -> Tensor:
        """Encode hops ``(B, R, C)`` float, normalised, to ``(B, tokens_per_hop, D)`` float, in the order of time."""
        tokens = self.project(rows)
        tokens = tokens + sinusoidal_positions(*tokens.shape[1:]).to(tokens)
        return pool_rows(self.norm(self.transformer(tokens)), self.tokens_per_hop)


def pool_rows(rows: Tensor, length: int) -> Tensor:
    """Mean over runs of rows of nearly equal length: ``(B, R, C)`` to ``(B, length, C)``; R = length changes nothing.

    Run k reaches from row floor(k R / length) up to row ceil((k + 1) R / length), as adaptive pooling has it.
    """
    if rows.shape[1] == length:
        return rows
    return functional.adaptive_avg_pool1d(rows.transpose(1, 2), length).transpose(1, 2)


def build_vector_encoder(config: VectorConfig, *, width: int, dropout: float) -> nn.Module:
    """The encoder that ``config.encoder`` names."""
    if config.encoder == "linear":
        return VectorProjection(config, width=width)
    if config.encoder == "cnn":
        return VectorCnn(config, width=width)
    return VectorTransformer(config, width=width, dropout=dropout)
