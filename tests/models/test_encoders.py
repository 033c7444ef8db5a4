from __future__ import annotations

import torch

from models.audio_encoder import AudioEncoder
from models.encoder_config import AudioConfig, TextConfig, VideoConfig
from models.text_encoder import TextEncoder
from models.video_encoder import VideoEncoder, frame_differences


def block_parameters(width: int) -> int:
    """Two norms, attention (4 d^2 + 4 d), feed-forward (8 d^2 + 5 d)."""
    return 4 * width + (4 * width**2 + 4 * width) + (8 * width**2 + 5 * width)


def test_video_encoder_counts_what_its_formula_says() -> None:
    config = VideoConfig(frames_per_hop=4, size=32, tubelet_frames=2, patch_size=8, depth=3, heads=2)
    encoder = VideoEncoder(config, width=16, dropout=0.0)
    appearance, motion, gain = 3 * 2 * 8 * 8 * 16 + 16, 2 * 8 * 8 * 16 + 16, 16
    tubelet = appearance + motion + gain
    assert sum(p.numel() for p in encoder.parameters()) == tubelet + 3 * block_parameters(16) + 2 * 16


def test_video_encoder_gives_literal_tokens() -> None:
    torch.manual_seed(0)
    config = VideoConfig(frames_per_hop=2, size=16, tubelet_frames=1, patch_size=8, depth=1, heads=2)
    encoder = VideoEncoder(config, width=8, dropout=0.0).eval()
    video = torch.linspace(-1, 1, 3 * 2 * 16 * 16).reshape(1, 3, 2, 16, 16)
    tokens = encoder(video)
    assert tokens.shape == (1, 2, 8)
    torch.testing.assert_close(tokens[0, :, :4], torch.tensor(VIDEO_TOKENS), atol=1e-4, rtol=0)


def test_video_encoder_sees_the_order_of_frames() -> None:
    torch.manual_seed(0)
    config = VideoConfig(frames_per_hop=4, size=16, tubelet_frames=1, patch_size=8, depth=1, heads=2)
    encoder = VideoEncoder(config, width=8, dropout=0.0).eval()
    video = torch.randn(1, 3, 4, 16, 16)
    forwards, backwards = encoder(video).mean(1), encoder(video.flip(2)).mean(1)
    assert (forwards - backwards).abs().max() > 1e-3


def test_frame_differences_are_the_mean_change_of_the_colours() -> None:
    video = torch.zeros(1, 3, 3, 1, 1)
    video[0, :, 1, 0, 0] = torch.tensor([3.0, 0.0, -3.0])
    assert frame_differences(video).flatten().tolist() == [2.0, 2.0, 2.0]
    assert frame_differences(video[:, :, :1]).flatten().tolist() == [0.0]


def test_video_encoder_sees_place() -> None:
    torch.manual_seed(0)
    config = VideoConfig(frames_per_hop=2, size=16, tubelet_frames=1, patch_size=8, depth=1, heads=2)
    encoder = VideoEncoder(config, width=8, dropout=0.0).eval()
    video = torch.randn(1, 3, 2, 16, 16)
    moved = video.roll(8, dims=4)  # the patches change places, each keeps its content
    assert (encoder(video) - encoder(moved)).abs().max() > 1e-3


def test_audio_encoder_gives_literal_tokens() -> None:
    torch.manual_seed(0)
    encoder = AudioEncoder(AudioConfig(n_mels=16, channels=(4, 8)), width=8).eval()
    log_mel = torch.linspace(-1, 1, 16 * 50).reshape(1, 16, 50)
    tokens = encoder(log_mel)
    assert tokens.shape == (1, 2, 8)
    torch.testing.assert_close(tokens[0, :, :4], torch.tensor(AUDIO_TOKENS), atol=1e-4, rtol=0)


def test_audio_encoder_keeps_pitch_and_time() -> None:
    torch.manual_seed(0)
    encoder = AudioEncoder(AudioConfig(n_mels=16, channels=(4, 8)), width=8).eval()
    log_mel = torch.zeros(1, 16, 50)
    log_mel[0, 3, :25] = 3.0
    later, higher = log_mel.roll(25, dims=2), log_mel.roll(8, dims=1)
    tokens = encoder(log_mel)
    assert (tokens - encoder(later)).abs().max() > 1e-3
    assert (tokens - encoder(higher)).abs().max() > 1e-3


def test_text_encoder_ignores_padding_and_sees_order() -> None:
    torch.manual_seed(0)
    encoder = TextEncoder(TextConfig(vocab_size=16, max_tokens=8, depth=1, heads=2), width=8, dropout=0.0).eval()
    ids = torch.tensor([[5, 6, 7, 0, 0, 0]])
    mask = ids > 0
    padded_otherwise = torch.tensor([[5, 6, 7, 9, 9, 9]])
    assert torch.equal(encoder(ids, mask), encoder(padded_otherwise, mask))
    assert (encoder(ids, mask) - encoder(ids.flip(1), mask.flip(1))).abs().max() > 1e-3
    shuffled = torch.tensor([[7, 6, 5, 0, 0, 0]])
    assert (encoder(ids, mask) - encoder(shuffled, mask)).abs().max() > 1e-3
    torch.testing.assert_close(encoder(ids, mask)[0, 0, :4], torch.tensor(TEXT_TOKEN), atol=1e-4, rtol=0)


VIDEO_TOKENS = [[-0.42274, 1.24132, -1.25333, 1.05312], [0.34169, 0.73854, -1.3199, 1.0966]]
AUDIO_TOKENS = [[1.18103, -0.24257, -0.8427, -0.94273], [1.16606, -0.2478, -0.97687, -0.77986]]
TEXT_TOKEN = [-0.47851, -0.91919, -0.28796, 1.49484]
