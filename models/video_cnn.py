"""A CNN over one hop's frames, for small movements at many frames a second: lips that speak.

A 3-D stem and a 2-D network for each frame, as in visual speech recognition since Stafylakis and Tzimiropoulos 2017
(arXiv 1703.04105), made small: what is left of the frame's plane is not pooled, since the place tells.
"""

from __future__ import annotations

import math

from torch import Tensor, nn
from torch.nn import functional

from models.encoder_config import VideoConfig
from models.normalisation import build_group_norm

STEM_FRAMES = 5  # 0.2 s at 25 frames a second
STEM_SIDE, STEM_STRIDE = 7, 4
CHANGE_GAIN = 4.0  # a moving mouth changes normalised grey by about a quarter


class VideoCnn(nn.Module):
    """One hop's frames to tokens, one for every ``tubelet_frames`` of them.

    What is seen is how each frame differs, in grey, from the mean frame of its hop: of a few hundred clips of one
    speaker the network would else learn the lighting and the shirt. The group normalisation is over a hop's time as
    well, so that a still frame stays small beside one that moves, and no hop depends on another one.

    Args:
        config: of ``encoder: cnn``.
        width: D.
        dropout: of the features that are projected to tokens.
    """

    def __init__(self, config: VideoConfig, *, width: int, dropout: float) -> None:
        super().__init__()
        self.frames_per_token = config.tubelet_frames
        stages: list[nn.Module] = []
        channels_in, side = 1, config.size
        for index, channels in enumerate(config.channels):
            convolution = _stem(channels) if index == 0 else _frame_convolution(channels_in, channels)
            stages += [convolution, build_group_norm(channels), nn.GELU()]
            side = math.ceil(side / convolution.stride[-1])
            channels_in = channels
        self.stages = nn.Sequential(*stages)
        self.dropout = nn.Dropout(dropout)
        self.project = nn.Conv1d(channels_in * side**2, width, kernel_size=3, padding=1)
        self.norm = nn.LayerNorm(width)

    def forward(self, video: Tensor) -> Tensor:
        """Encode hops.

        Args:
            video: ``(B, C, T, H, W)`` float, normalised; any T.

        Returns:
            ``(B, ceil(T / tubelet_frames), D)`` float, in the order of time.
        """
        features: Tensor = self.stages(change_from_mean(video))
        frames = features.movedim(2, -1).flatten(1, 3)  # (B, channels * rows * columns, T)
        steps = functional.avg_pool1d(self.project(self.dropout(frames)), self.frames_per_token, ceil_mode=True)
        tokens: Tensor = self.norm(steps.transpose(1, 2))
        return tokens


def change_from_mean(video: Tensor) -> Tensor:
    """How each frame differs from its hop's mean frame, in grey: ``(B, C, T, H, W)`` to ``(B, 1, T, H, W)`` float."""
    grey = video.mean(dim=1, keepdim=True)
    return CHANGE_GAIN * (grey - grey.mean(dim=2, keepdim=True))


def _stem(channels: int) -> nn.Conv3d:
    """Sees a few frames of grey at once."""
    return nn.Conv3d(
        1,
        channels,
        kernel_size=(STEM_FRAMES, STEM_SIDE, STEM_SIDE),
        stride=(1, STEM_STRIDE, STEM_STRIDE),
        padding=(STEM_FRAMES // 2, STEM_SIDE // 2, STEM_SIDE // 2),
        bias=False,
    )


def _frame_convolution(channels_in: int, channels: int) -> nn.Conv3d:
    """Sees one frame, and halves its plane."""
    return nn.Conv3d(channels_in, channels, kernel_size=(1, 3, 3), stride=(1, 2, 2), padding=(0, 1, 1), bias=False)
