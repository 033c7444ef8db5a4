"""The video transformer: joint space-time attention over the tubelets of one hop (ViViT, arXiv 2103.15691).

Depth is a video of one channel, and has the same encoder.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from models.encoder_config import VideoConfig
from models.transformer import Transformer, grid_positions, sinusoidal_positions

APPEARANCE_GAIN = 0.1


class VideoEncoder(nn.Module):
    """One hop's frames to a few tokens, one for each step of time.

    A tubelet is ``tubelet_frames`` x ``patch_size`` x ``patch_size`` pixels. It is embedded twice: what it shows, and
    how much it changes from frame to frame (frame differences as a second stream: TSN, arXiv 1608.00859). Trained from
    scratch on a few hundred clips the colours alone stay at chance on motion; with the differences it is learned in
    minutes. The appearance begins small (LayerScale, arXiv 2103.17239) and grows where it helps. A tubelet's position
    is a time and a place (row and column, half of the width each), by sines and cosines, so that shuffled frames give
    other tokens.
    """

    def __init__(self, config: VideoConfig, *, width: int, dropout: float, channels: int = 3) -> None:
        super().__init__()
        side = config.size // config.patch_size
        steps = config.frames_per_hop // config.tubelet_frames
        kernel = (config.tubelet_frames, config.patch_size, config.patch_size)
        self.appearance = nn.Conv3d(channels, width, kernel_size=kernel, stride=kernel)
        self.appearance_gain = nn.Parameter(torch.full((width, 1, 1, 1), APPEARANCE_GAIN))
        self.motion = nn.Conv3d(1, width, kernel_size=kernel, stride=kernel)
        self.register_buffer("positions", _space_time_positions(steps, side, width), persistent=False)
        self.transformer = Transformer(config.depth, width, config.heads, dropout)
        self.norm = nn.LayerNorm(width)

    def forward(self, video: Tensor) -> Tensor:
        """Encode hops.

        Args:
            video: ``(B, C, T, H, W)`` float, normalised: RGB, or the one channel of depth.

        Returns:
            ``(B, T / tubelet_frames, D)`` float: the mean over space of each step's tokens.
        """
        grid = self.motion(frame_differences(video)) + self.appearance_gain * self.appearance(video)
        batch, width, steps = grid.shape[:3]
        tokens = grid.flatten(2).transpose(1, 2) + self.get_buffer("positions")
        pooled: Tensor = self.norm(self.transformer(tokens)).view(batch, steps, -1, width).mean(dim=2)
        return pooled


def frame_differences(video: Tensor) -> Tensor:
    """How much each pixel changed since the frame before, the mean over the colours.

    Args:
        video: ``(B, C, T, H, W)`` float.

    Returns:
        ``(B, 1, T, H, W)`` float, at least 0; the first frame has the second one's change, and a lone frame none.
    """
    if video.shape[2] == 1:
        return torch.zeros_like(video[:, :1])
    change = (video[:, :, 1:] - video[:, :, :-1]).abs().mean(dim=1, keepdim=True)
    return torch.cat((change[:, :, :1], change), dim=2)


def _space_time_positions(steps: int, side: int, width: int) -> Tensor:
    """Positions of ``steps * side * side`` tubelets in the order time, row, column: ``(S, width)`` float32."""
    place = grid_positions(side, side, width)[None]
    time = sinusoidal_positions(steps, width)[:, None, :]
    return (place + time).reshape(steps * side * side, width)
