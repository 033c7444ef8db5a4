from __future__ import annotations

import pytest
import torch

from models.encoder_config import ImageConfig
from models.image_encoder import build_image_encoder
from models.settings import SettingsError

CNN = ImageConfig(encoder="cnn", size=32, channels=(4, 8))
VIT = ImageConfig(encoder="vit", size=32, patch_size=8, depth=1, heads=2)


@pytest.mark.parametrize(
    ("config", "parameters"),
    [
        (CNN, 3 * 4 * 9 + 2 * 4 + 4 * 8 * 9 + 2 * 8 + (8 * 16 + 16) + 2 * 16),
        (VIT, (3 * 64 * 16 + 16) + (4 * 16 + 12 * 16 * 16 + 9 * 16) + 2 * 16),
    ],
)
def test_it_counts_what_its_formula_says(config: ImageConfig, parameters: int) -> None:
    encoder = build_image_encoder(config, width=16, dropout=0.0)
    assert sum(p.numel() for p in encoder.parameters()) == parameters


@pytest.mark.parametrize("config", [CNN, VIT])
@pytest.mark.parametrize("shape", [(32, 32), (8, 8), (40, 24), (160, 8)])
def test_any_size_gives_one_token(config: ImageConfig, shape: tuple[int, int]) -> None:
    encoder = build_image_encoder(config, width=16, dropout=0.0).eval()
    assert encoder(torch.randn(2, 3, *shape)).shape == (2, 1, 16)


@pytest.mark.parametrize("config", [CNN, VIT])
def test_a_picture_is_encoded_on_its_own(config: ImageConfig) -> None:
    torch.manual_seed(0)
    encoder = build_image_encoder(config, width=16, dropout=0.0)  # in training mode: no statistic crosses the batch
    pictures = torch.randn(3, 3, 32, 32)
    torch.testing.assert_close(encoder(pictures)[1], encoder(pictures[1:2])[0], atol=1e-6, rtol=1e-5)


def test_the_transformer_sees_where_a_patch_lies() -> None:
    torch.manual_seed(0)
    encoder = build_image_encoder(VIT, width=16, dropout=0.0).eval()
    picture = torch.randn(1, 3, 32, 32)
    for dimension in (2, 3):
        assert (encoder(picture) - encoder(picture.roll(8, dims=dimension))).abs().max() > 1e-3


@pytest.mark.parametrize(
    ("config", "token"),
    [(CNN, [-0.54557, 0.12647, 1.20471, -2.14102]), (VIT, [-0.44153, 0.24329, -0.72279, 1.73513])],
)
def test_it_gives_literal_tokens(config: ImageConfig, token: list[float]) -> None:
    torch.manual_seed(0)
    encoder = build_image_encoder(config, width=8, dropout=0.0).eval()
    picture = torch.linspace(-1, 1, 3 * 32 * 32).reshape(1, 3, 32, 32)
    torch.testing.assert_close(encoder(picture)[0, 0, :4], torch.tensor(token), atol=1e-4, rtol=0)


def test_the_patches_must_fill_the_picture() -> None:
    with pytest.raises(SettingsError, match="size 30 must be a multiple of patch_size 8"):
        ImageConfig.read({"encoder": "vit", "size": 30, "patch_size": 8}, source="recipe")
    assert ImageConfig.read({"size": 30, "patch_size": 8}, source="recipe").encoder == "cnn"
