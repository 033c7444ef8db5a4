"""The video transformer: joint space-time attention over the tubelets of one hop (ViViT, arXiv 2103.15691)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from models.config import VideoConfig
from models.transformer import Transformer, sinusoidal_positions


class VideoEncoder(nn.Module):
    """One hop's frames to a few tokens, one for each step of time.

    A tubelet is ``tubelet_frames`` x ``patch_size`` x ``patch_size`` pixels. Its position is a time and a place (row
    and column, half of the width each), by sines and cosines, so that shuffled frames give other tokens.
    """

    def __init__(self, config: VideoConfig, *, width: int, dropout: float) -> None:
        super().__init__()
        side = config.size // config.patch_size
        steps = config.frames_per_hop // config.tubelet_frames
        self.num_tokens = steps
        kernel = (config.tubelet_frames, config.patch_size, config.patch_size)
        self.tubelets = nn.Conv3d(3, width, kernel_size=kernel, stride=kernel)
        self.register_buffer("positions", _space_time_positions(steps, side, width), persistent=False)
        self.transformer = Transformer(config.depth, width, config.heads, dropout)
        self.norm = nn.LayerNorm(width)

    def forward(self, video: Tensor) -> Tensor:
        """Encode hops.

        Args:
            video: ``(B, 3, T, H, W)`` float, normalised RGB.

        Returns:
            ``(B, T / tubelet_frames, D)`` float: the mean over space of each step's tokens.
        """
        grid = self.tubelets(video)
        batch, width, steps = grid.shape[:3]
        tokens = grid.flatten(2).transpose(1, 2) + self.get_buffer("positions")
        pooled: Tensor = self.norm(self.transformer(tokens)).view(batch, steps, -1, width).mean(dim=2)
        return pooled


def _space_time_positions(steps: int, side: int, width: int) -> Tensor:
    """Positions of ``steps * side * side`` tubelets in the order time, row, column: ``(S, width)`` float32."""
    half = width // 2
    axis = sinusoidal_positions(side, half)
    rows = axis[:, None, :].expand(side, side, half)
    columns = sinusoidal_positions(side, width - half)[None, :, :].expand(side, side, width - half)
    place = torch.cat((rows, columns), dim=-1).reshape(1, side * side, width)
    time = sinusoidal_positions(steps, width)[:, None, :]
    return (place + time).reshape(steps * side * side, width)
