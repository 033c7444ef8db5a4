"""The audio CNN over the log-mel spectrogram of one hop (after Hershey et al. 2017, arXiv 1609.09430)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.encoder_config import AudioConfig
from models.normalisation import build_group_norm

VARIANCE_FLOOR = 1e-5  # under the root, whose slope at 0 has no end
ACTIVATIONS: dict[str, type[nn.Module]] = {"gelu": nn.GELU, "relu": nn.ReLU}


class AudioEncoder(nn.Module):
    """One hop's log-mel spectrogram to a few tokens.

    Each stage halves frequency and, unless the configuration says otherwise, time by its first 3 x 3 convolution;
    every convolution is followed by a norm and the activation. Group normalisation and, once trained, batch
    normalisation keep a clip's answer apart from the others of its batch. The frequency axis is kept up to the
    projection, since pitch tells, unless the configuration averages over it.
    """

    def __init__(self, config: AudioConfig, *, width: int) -> None:
        super().__init__()
        self.config = config
        stages: list[nn.Module] = []
        channels_in = 1
        shapes = zip(config.channels, config.stage_convolutions, config.stage_strides, strict=True)
        for channels, convolutions, stride in shapes:
            for index in range(convolutions):
                stages += [
                    nn.Conv2d(
                        channels_in, channels, kernel_size=3, stride=1 if index else stride, padding=1, bias=False
                    ),
                    _build_norm(config, channels),
                    ACTIVATIONS[config.activation](),
                ]
                channels_in = channels
        self.stages = nn.Sequential(*stages)
        bins = config.n_mels
        for _ in config.channels:
            bins = (bins + 1) // 2
        bins = bins if config.frequency == "keep" else 1
        self.pool = nn.AdaptiveAvgPool2d((bins, config.tokens_per_hop))
        self.dropout = nn.Dropout(config.dropout)
        statistics = 2 if config.pool == "mean_max_std" else 1
        self.project = nn.Linear(statistics * channels_in * bins, width)
        self.norm = nn.LayerNorm(width)

    def forward(self, log_mel: Tensor) -> Tensor:
        """Encode hops.

        Args:
            log_mel: ``(B, F, M)`` float, normalised; any M.

        Returns:
            ``(B, tokens_per_hop, D)`` float, in the order of time.
        """
        features = self.stages[0](log_mel[:, None])
        if self.config.norm == "batch":  # nearly twice as fast on a CPU; with group normalisation slower
            features = features.contiguous(memory_format=torch.channels_last)
        features = self._pool(self.stages[1:](features)).flatten(1, 2).transpose(1, 2)
        tokens: Tensor = self.norm(self.project(self.dropout(features)))
        return tokens

    def _pool(self, features: Tensor) -> Tensor:
        """``(B, C, F, M)`` to ``(B, C, bins, tokens_per_hop)``, with the deviation to twice as many channels."""
        averaged: Tensor = self.pool(features)
        if self.config.pool == "mean":
            return averaged
        bins = averaged.shape[2]
        over_frequency = features if bins == features.shape[2] else features.mean(dim=2, keepdim=True)
        shape = (bins, self.config.tokens_per_hop)
        pooled = averaged + functional.adaptive_max_pool2d(over_frequency, shape)
        if self.config.pool == "mean_max":
            return pooled
        return torch.cat((pooled, self._deviation(over_frequency, shape)), dim=1)

    @staticmethod
    def _deviation(features: Tensor, shape: tuple[int, int]) -> Tensor:
        """Standard deviation over the time of each token; in float32, since it is a difference of squares."""
        with torch.autocast(features.device.type, enabled=False):
            values = features.float()
            mean = functional.adaptive_avg_pool2d(values, shape)
            variance = functional.adaptive_avg_pool2d(values.square(), shape) - mean.square()
            return (variance.clamp(min=0.0) + VARIANCE_FLOOR).sqrt().to(features.dtype)


def _build_norm(config: AudioConfig, channels: int) -> nn.Module:
    if config.norm == "batch":
        return nn.BatchNorm2d(channels)
    return build_group_norm(channels)
