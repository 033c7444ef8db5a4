"""The audio CNN over the log-mel spectrogram of one hop (after Hershey et al. 2017, arXiv 1609.09430)."""

from __future__ import annotations

import math

from torch import Tensor, nn

from models.encoder_config import AudioConfig

NORM_GROUPS = 8


class AudioEncoder(nn.Module):
    """One hop's log-mel spectrogram to a few tokens.

    Each stage is a 3 x 3 convolution of stride 2, group normalisation (which, unlike batch normalisation, does not
    make a clip's answer depend on others) and GELU. The frequency axis is kept up to the projection: pitch tells.
    """

    def __init__(self, config: AudioConfig, *, width: int) -> None:
        super().__init__()
        stages: list[nn.Module] = []
        channels_in = 1
        for channels in config.channels:
            stages += [
                nn.Conv2d(channels_in, channels, kernel_size=3, stride=2, padding=1, bias=False),
                nn.GroupNorm(math.gcd(NORM_GROUPS, channels), channels),
                nn.GELU(),
            ]
            channels_in = channels
        self.stages = nn.Sequential(*stages)
        bins = config.n_mels
        for _ in config.channels:
            bins = (bins + 1) // 2
        self.pool = nn.AdaptiveAvgPool2d((bins, config.tokens_per_hop))
        self.project = nn.Linear(channels_in * bins, width)
        self.norm = nn.LayerNorm(width)

    def forward(self, log_mel: Tensor) -> Tensor:
        """Encode hops.

        Args:
            log_mel: ``(B, F, M)`` float, normalised.

        Returns:
            ``(B, tokens_per_hop, D)`` float, in the order of time.
        """
        features = self.pool(self.stages(log_mel[:, None]))
        tokens: Tensor = self.norm(self.project(features.flatten(1, 2).transpose(1, 2)))
        return tokens
