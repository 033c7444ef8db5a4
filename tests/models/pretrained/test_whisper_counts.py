"""Whisper's parameters, from full-size configurations and by the formula that its architecture gives (2212.04356).

With width d, L layers in encoder and in decoder, a feed-forward of 4 d, V tokens and F mel bins:

- attention: four maps d x d, of which the keys' alone has no bias:            4 d^2 + 3 d
- feed-forward: d x 4 d and 4 d x d with biases:                               8 d^2 + 5 d
- layer norm:                                                                  2 d
- encoder: convolutions of width 3 from F and from d to d, 1500 positions, L times attention, feed-forward and two
  norms, a norm:                                      3 F d + d + 3 d^2 + d + 1500 d + L (12 d^2 + 12 d) + 2 d
- decoder: V tokens, which are the output's weights too, 448 positions, L times two attentions, feed-forward and three
  norms, a norm:                                                V d + 448 d + L (16 d^2 + 17 d) + 2 d
"""

from __future__ import annotations

import pytest
import torch
from transformers import WhisperConfig, WhisperForConditionalGeneration


def encoder_count(width: int, layers: int, mel_bins: int) -> int:
    """Parameters of the encoder."""
    convolutions = 3 * mel_bins * width + width + 3 * width**2 + width
    return convolutions + 1500 * width + layers * (12 * width**2 + 12 * width) + 2 * width


def decoder_count(width: int, layers: int, tokens: int) -> int:
    """Parameters of the decoder, the output's weights being those of its tokens."""
    return tokens * width + 448 * width + layers * (16 * width**2 + 17 * width) + 2 * width


@pytest.mark.parametrize(
    ("width", "layers", "mel_bins", "tokens", "total", "encoder", "published_millions"),
    [
        pytest.param(384, 4, 80, 51_865, 37_760_640, 8_208_384, 39, id="tiny"),
        pytest.param(512, 6, 80, 51_865, 72_593_920, 20_590_592, 74, id="base"),
        pytest.param(768, 12, 80, 51_865, 241_734_912, 88_154_112, 244, id="small"),
        pytest.param(1024, 24, 80, 51_865, 763_857_920, 307_216_384, 769, id="medium"),
        pytest.param(1280, 32, 128, 51_866, 1_543_490_560, 636_968_960, 1550, id="large-v3"),
    ],
)
def test_the_counts_follow_the_formula(
    width: int, layers: int, mel_bins: int, tokens: int, total: int, encoder: int, published_millions: int
) -> None:
    config = WhisperConfig(
        vocab_size=tokens,
        num_mel_bins=mel_bins,
        d_model=width,
        encoder_layers=layers,
        decoder_layers=layers,
        encoder_attention_heads=width // 64,
        decoder_attention_heads=width // 64,
        encoder_ffn_dim=4 * width,
        decoder_ffn_dim=4 * width,
    )
    with torch.device("meta"):
        model = WhisperForConditionalGeneration(config)
    counted = sum(parameter.numel() for parameter in model.parameters())  # what is tied is counted once
    counted_encoder = sum(parameter.numel() for parameter in model.get_encoder().parameters())
    assert counted_encoder == encoder_count(width, layers, mel_bins) == encoder
    assert counted == encoder_count(width, layers, mel_bins) + decoder_count(width, layers, tokens) == total
    assert total / 1e6 == pytest.approx(
        published_millions, rel=0.04
    )  # the paper's table 1 rounds, and large has 80 bins


def test_what_the_encoder_learns_leaves_out_its_positions() -> None:
    """They are sinusoids: published counts of the medium encoder's weights are without them."""
    assert encoder_count(1024, 24, 80) - 1500 * 1024 == 305_680_384
