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
        self._stage_ends: list[int] = []
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
            self._stage_ends.append(len(stages))
        self.stages = nn.Sequential(*stages)
        bands = _count_bands(config)
        self.pool = nn.AdaptiveAvgPool2d((bands[-1], config.tokens_per_hop))
        self.dropout = nn.Dropout(config.dropout)
        pooled = [channels * num for channels, num in zip(config.channels, bands, strict=True)]
        deviations = {"mean_max_std": pooled[-1], "mean_max_stds": sum(pooled)}.get(config.pool, 0)
        self.project = nn.Linear(pooled[-1] + deviations, width)
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
        deviations, start = [], 1
        for end in self._stage_ends:
            features, start = self.stages[start:end](features), end
            if self.config.pool == "mean_max_stds" or (self.config.pool == "mean_max_std" and end == len(self.stages)):
                deviations.append(self._deviation(features))
        pooled = torch.cat((self._pool(features), *deviations), dim=1).transpose(1, 2)
        tokens: Tensor = self.norm(self.project(self.dropout(pooled)))
        return tokens

    def _pool(self, features: Tensor) -> Tensor:
        """``(B, C, F, M)`` to ``(B, C * bands, tokens_per_hop)``."""
        averaged: Tensor = self.pool(features)
        if self.config.pool == "mean":
            return averaged.flatten(1, 2)
        highest = functional.adaptive_max_pool2d(self._bands(features), averaged.shape[2:])
        return (averaged + highest).flatten(1, 2)

    def _bands(self, features: Tensor) -> Tensor:
        return features if self.config.frequency == "keep" else features.mean(dim=2, keepdim=True)

    def _deviation(self, features: Tensor) -> Tensor:
        """Standard deviation over the time of each token, as :meth:`_pool` gives it; a difference of squares."""
        with torch.autocast(features.device.type, enabled=False):
            values = self._bands(features).float()
            shape = (values.shape[2], self.config.tokens_per_hop)
            mean = functional.adaptive_avg_pool2d(values, shape)
            variance = functional.adaptive_avg_pool2d(values.square(), shape) - mean.square()
            deviation = (variance.clamp(min=0.0) + VARIANCE_FLOOR).sqrt()
        return deviation.to(features.dtype).flatten(1, 2)


def _count_bands(config: AudioConfig) -> list[int]:
    """How many frequency bands the output of each stage has, as the projection sees them."""
    if config.frequency == "mean":
        return [1] * len(config.channels)
    bands, left = [], config.n_mels
    for _ in config.channels:
        left = (left + 1) // 2
        bands.append(left)
    return bands


def _build_norm(config: AudioConfig, channels: int) -> nn.Module:
    if config.norm == "batch":
        return nn.BatchNorm2d(channels)
    return build_group_norm(channels)
