from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional

from models.encoder_config import CropConfig, VideoConfig
from models.video_cnn import VideoCnn, change_from_mean

CONFIG = VideoConfig(encoder="cnn", frames_per_hop=6, size=18, tubelet_frames=2, channels=(4, 8))


def build(config: VideoConfig = CONFIG, seed: int = 0) -> VideoCnn:
    """A float64 encoder in evaluation mode, whose norms and biases are not at their start."""
    torch.manual_seed(seed)
    encoder = VideoCnn(config, width=8, dropout=0.1).double().eval()
    with torch.no_grad():
        for parameter in encoder.parameters():
            if parameter.dim() < 2:
                parameter.add_(torch.randn_like(parameter) * 0.3)
    return encoder


def video(batch: int = 2, frames: int = 6, size: int = 18, seed: int = 1) -> Tensor:
    return torch.randn(batch, 3, frames, size, size, generator=torch.Generator().manual_seed(seed)).double()


def slow_group_norm(features: Tensor, groups: int, norm: nn.Module) -> Tensor:
    """Of ``(C, T, H, W)``: each group of channels, its time and place together, to mean 0 and variance 1."""
    assert isinstance(norm, nn.GroupNorm)
    parts = [(part - part.mean()) / (part.var(correction=0) + 1e-5).sqrt() for part in features.chunk(groups)]
    return torch.cat(parts) * norm.weight[:, None, None, None] + norm.bias[:, None, None, None]


def weight_of(layer: nn.Module) -> Tensor:
    assert isinstance(layer, nn.Conv3d)
    return layer.weight


def slow_stem(change: list[Tensor], weight: Tensor) -> Tensor:
    """``(C, T, H, W)``: each frame and two on either side, zeros beyond the ends, a 2-D convolution each."""
    padded = [torch.zeros_like(change[0])] * 2 + change + [torch.zeros_like(change[0])] * 2
    frames = [
        torch.stack(
            [functional.conv2d(padded[time + k][None, None], weight[:, :, k], stride=4, padding=3)[0] for k in range(5)]
        ).sum(dim=0)
        for time in range(len(change))
    ]
    return torch.stack(frames, dim=1)


@torch.no_grad()
def slow_tokens(encoder: VideoCnn, hop: Tensor) -> Tensor:
    """The tokens of one hop ``(3, T, H, W)``, frame by frame, with 2-D convolutions only."""
    num_frames = hop.shape[1]
    grey = hop.mean(dim=0)
    features = slow_stem([4.0 * (frame - grey.mean(dim=0)) for frame in grey], weight_of(encoder.stages[0]))
    features = functional.gelu(slow_group_norm(features, 4, encoder.stages[1]))
    weight = weight_of(encoder.stages[3])[:, :, 0]
    frames = [functional.conv2d(features[:, time][None], weight, stride=2, padding=1)[0] for time in range(num_frames)]
    features = functional.gelu(slow_group_norm(torch.stack(frames, dim=1), 8, encoder.stages[4]))
    nothing = torch.zeros(8 * 3 * 3).double()
    flat = [nothing, *features.movedim(1, 0).flatten(1), nothing]
    weight, bias = encoder.project.weight, encoder.project.bias
    assert bias is not None
    steps = [
        torch.stack([weight[:, :, k] @ flat[time + k] for k in range(3)]).sum(dim=0) + bias
        for time in range(num_frames)
    ]
    means = [torch.stack(steps[first : first + 2]).mean(dim=0) for first in range(0, num_frames, 2)]
    return functional.layer_norm(torch.stack(means), (8,), encoder.norm.weight, encoder.norm.bias)


@pytest.mark.parametrize("frames", [1, 5, 6])
def test_it_equals_the_slow_reference(frames: int) -> None:
    encoder, hops = build(), video(frames=frames)
    tokens = encoder(hops)
    for index in range(2):
        torch.testing.assert_close(tokens[index], slow_tokens(encoder, hops[index]), atol=1e-10, rtol=0)


def test_literal_tokens_and_parameters() -> None:
    torch.manual_seed(0)
    encoder = VideoCnn(CONFIG, width=8, dropout=0.0).eval()
    hop = torch.linspace(-1, 1, 3 * 6 * 18 * 18).reshape(1, 3, 6, 18, 18).sin()
    tokens = encoder(hop * torch.linspace(1, 2, 6)[:, None, None])
    torch.testing.assert_close(tokens[0, :, :4], torch.tensor(TOKENS), atol=1e-4, rtol=0)
    stages = 4 * 5 * 7 * 7 + 2 * 4 + 8 * 4 * 3 * 3 + 2 * 8
    assert sum(p.numel() for p in encoder.parameters()) == stages + 8 * 8 * 3 * 3 * 3 + 8 + 2 * 8 == 3044


@settings(deadline=None, max_examples=8)
@given(st.integers(1, 20), st.integers(1, 5))
def test_any_number_of_frames(frames: int, per_token: int) -> None:
    config = CONFIG.model_copy(update={"tubelet_frames": per_token})
    tokens = build(config)(video(frames=frames))
    assert tokens.shape == (2, -(-frames // per_token), 8)
    assert torch.isfinite(tokens).all()


def test_a_hop_alone_gives_what_it_gives_in_a_batch() -> None:
    encoder, hops = build(), video(batch=4)
    together = encoder(hops)
    for index in range(4):
        torch.testing.assert_close(together[index], encoder(hops[index : index + 1])[0], atol=1e-12, rtol=0)
    assert (together[1:] - together[:1]).abs().amax(dim=(1, 2)).min() > 1e-3


def test_it_sees_the_order_of_frames_and_their_place() -> None:
    encoder, hops = build(), video()
    tokens = encoder(hops)
    assert (tokens.mean(dim=1) - encoder(hops.flip(2)).mean(dim=1)).abs().max() > 1e-3
    assert (tokens - encoder(hops.roll(8, dims=4))).abs().max() > 1e-3


def test_what_does_not_change_is_not_seen() -> None:
    encoder, hops = build(), video()
    other_light = hops + torch.randn(2, 3, 1, 18, 18).double()
    torch.testing.assert_close(encoder(other_light), encoder(hops), atol=1e-10, rtol=0)
    assert change_from_mean(torch.tensor([1.0, 3.0]).view(1, 1, 2, 1, 1)).flatten().tolist() == [-4.0, 4.0]


@pytest.mark.parametrize(
    ("size", "crop", "expected"),
    [
        (44, (0.196, 0.482, 0.393), (112, 22, 54)),
        (10, (0.5, 0.0, 0.5), (20, 10, 0)),
        (33, (0.01, 0.0, 0.99), (33, 0, 0)),
    ],
)
def test_a_crop_in_pixels(size: int, crop: tuple[float, float, float], expected: tuple[int, int, int]) -> None:
    left, top, side = crop
    assert CropConfig(left=left, top=top, side=side).pixels(size) == expected


@settings(max_examples=50)
@given(st.integers(1, 500), st.floats(0.25, 1), st.floats(0, 1), st.floats(0, 1))
def test_a_crop_lies_inside_the_picture(size: int, side: float, across: float, down: float) -> None:
    whole, left, top = CropConfig(left=across * (1 - side), top=down * (1 - side), side=side).pixels(size)
    assert left >= 0
    assert top >= 0
    assert max(left, top) + size <= whole


def test_a_crop_outside_the_picture_is_refused() -> None:
    with pytest.raises(ValueError, match=r"left 0.7 and top 0.1 must be at most 1 - side = 0.5"):
        CropConfig(left=0.7, top=0.1, side=0.5)


TOKENS = [
    [2.07012, -0.47148, -0.10351, -1.64693],
    [1.55455, 1.2846, 0.41432, -1.40303],
    [-0.41003, -0.7267, 1.66171, 1.21684],
]
