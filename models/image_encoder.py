"""One picture to one token: a small 2-D CNN, or a vision transformer (ViT, arXiv 2010.11929)."""

from __future__ import annotations

from torch import Tensor, nn

from models.encoder_config import ImageConfig
from models.normalisation import build_group_norm
from models.transformer import Transformer, grid_positions


class ImageCnn(nn.Module):
    """Stages of a 3 x 3 convolution of stride 2, group normalisation and GELU; then the mean over the place.

    Group normalisation (arXiv 1803.08494), unlike batch normalisation, does not make a picture's token depend on
    the other pictures of its batch.
    """

    def __init__(self, config: ImageConfig, *, width: int) -> None:
        super().__init__()
        stages: list[nn.Module] = []
        channels_in = 3
        for channels in config.channels:
            stages += [
                nn.Conv2d(channels_in, channels, kernel_size=3, stride=2, padding=1, bias=False),
                build_group_norm(channels),
                nn.GELU(),
            ]
            channels_in = channels
        self.stages = nn.Sequential(*stages)
        self.project = nn.Linear(channels_in, width)
        self.norm = nn.LayerNorm(width)

    def forward(self, image: Tensor) -> Tensor:
        """Encode pictures ``(B, 3, H, W)`` float, normalised RGB of any size, to ``(B, 1, D)`` float."""
        features = self.stages(image).mean(dim=(2, 3))
        tokens: Tensor = self.norm(self.project(features))
        return tokens[:, None]


class ImageTransformer(nn.Module):
    """A transformer over patches, each with its row and column; then the mean over the patches.

    The positions are computed for the grid that comes (half of the width says the row, half the column), so any
    size that is a multiple of ``patch_size`` works, square or not.
    """

    def __init__(self, config: ImageConfig, *, width: int, dropout: float) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, width, kernel_size=config.patch_size, stride=config.patch_size)
        self.transformer = Transformer(config.depth, width, config.heads, dropout)
        self.norm = nn.LayerNorm(width)

    def forward(self, image: Tensor) -> Tensor:
        """Encode pictures ``(B, 3, H, W)`` float, normalised RGB, to ``(B, 1, D)`` float."""
        grid = self.patches(image)
        width, rows, columns = grid.shape[1:]
        tokens = grid.flatten(2).transpose(1, 2) + grid_positions(rows, columns, width).to(grid)
        pooled: Tensor = self.norm(self.transformer(tokens)).mean(dim=1, keepdim=True)
        return pooled


def build_image_encoder(config: ImageConfig, *, width: int, dropout: float) -> nn.Module:
    """The encoder that ``config.encoder`` names."""
    if config.encoder == "vit":
        return ImageTransformer(config, width=width, dropout=dropout)
    return ImageCnn(config, width=width)
