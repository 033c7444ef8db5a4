from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional

from models.audio_encoder import AudioEncoder
from models.encoder_config import AudioConfig
from models.settings import SettingsError

DEEP = AudioConfig(
    n_mels=16,
    channels=(4, 8),
    convolutions=(1, 2),
    time_strides=(1, 3),
    norm="batch",
    activation="relu",
    pool="mean_max",
    dropout=0.5,
    tokens_per_hop=1,
)
FLAT = DEEP.model_copy(update={"norm": "group", "frequency": "mean", "tokens_per_hop": 3})
TEXTURE = DEEP.model_copy(update={"pool": "mean_max_std", "tokens_per_hop": 2})
PLAIN = AudioConfig(n_mels=16, channels=(4, 8))


def seeded(config: AudioConfig) -> AudioEncoder:
    """Random weights; running statistics that change something."""
    torch.manual_seed(0)
    encoder = AudioEncoder(config, width=8).eval()
    for module in encoder.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean = torch.randn(module.num_features) * 0.1
            module.running_var = torch.rand(module.num_features) + 0.5
    return encoder


def reference(encoder: AudioEncoder, log_mel: Tensor) -> Tensor:
    """One hop ``(F, M)`` in float64, each formula written out."""
    config, state = encoder.config, {name: value.double() for name, value in encoder.state_dict().items()}
    features, place = log_mel.double()[None], 0
    for stage, convolutions in enumerate(config.stage_convolutions):
        step = (2, 2 if config.time_strides is None else config.time_strides[stage])
        for index in range(convolutions):
            features = functional.conv2d(
                features[None], state[f"stages.{place}.weight"], stride=1 if index else step, padding=1
            )[0]
            scale, shift = state[f"stages.{place + 1}.weight"], state[f"stages.{place + 1}.bias"]
            if config.norm == "batch":
                mean, var = (state[f"stages.{place + 1}.running_{name}"][:, None, None] for name in ("mean", "var"))
            else:
                groups = features.unflatten(0, (math.gcd(8, len(features)), -1))
                mean, var = (
                    value.expand_as(groups).flatten(0, 1)
                    for value in (
                        groups.mean(dim=(1, 2, 3), keepdim=True),
                        groups.var(dim=(1, 2, 3), correction=0, keepdim=True),
                    )
                )
            features = (features - mean) / (var + 1e-5).sqrt() * scale[:, None, None] + shift[:, None, None]
            relu = features.clamp(min=0.0)
            normal = features * 0.5 * (1.0 + torch.erf(features / math.sqrt(2.0)))
            features = relu if config.activation == "relu" else normal
            place += 3
    if config.frequency == "mean":
        features = features.mean(dim=1, keepdim=True)
    tokens = [pooled(part, config) for part in cut(features, config.tokens_per_hop)]
    projected = torch.stack(tokens) @ state["project.weight"].T + state["project.bias"]
    centred = projected - projected.mean(dim=-1, keepdim=True)
    normed = centred / (centred.square().mean(dim=-1, keepdim=True) + 1e-5).sqrt()
    expected: Tensor = normed * state["norm.weight"] + state["norm.bias"]
    return expected


def cut(features: Tensor, tokens: int) -> list[Tensor]:
    """Parts of the time axis that cover it, and overlap by a frame where it does not divide."""
    frames = features.shape[2]
    edges = [(index * frames // tokens, math.ceil((index + 1) * frames / tokens)) for index in range(tokens)]
    return [features[:, :, start:stop] for start, stop in edges]


def pooled(part: Tensor, config: AudioConfig) -> Tensor:
    mean = part.mean(dim=2).flatten()
    if config.pool == "mean":
        return mean
    both = mean + part.amax(dim=2).flatten()
    deviation = (part.var(dim=2, correction=0) + 1e-5).sqrt().flatten()
    return both if config.pool == "mean_max" else torch.cat((both, deviation))


@pytest.mark.parametrize("config", [PLAIN, DEEP, FLAT, TEXTURE])
@pytest.mark.parametrize("frames", [1, 2, 37, 50])
def test_agrees_with_the_formulas_in_float64(config: AudioConfig, frames: int) -> None:
    encoder = seeded(config)
    hops = torch.randn(2, 16, frames)
    expected = torch.stack([reference(encoder, hop) for hop in hops])
    torch.testing.assert_close(encoder(hops).double(), expected, atol=1e-4, rtol=0)


def test_gives_literal_tokens() -> None:
    log_mel = torch.linspace(-1, 1, 16 * 50).reshape(1, 16, 50)
    torch.testing.assert_close(seeded(DEEP)(log_mel)[0, :, :4], torch.tensor(DEEP_TOKEN), atol=1e-4, rtol=0)
    torch.testing.assert_close(seeded(FLAT)(log_mel)[0, :, :4], torch.tensor(FLAT_TOKENS), atol=1e-4, rtol=0)


@settings(max_examples=20, deadline=None)
@given(mates=st.integers(1, 4), frames=st.integers(1, 60), config=st.sampled_from([PLAIN, DEEP, FLAT, TEXTURE]))
def test_a_hop_does_not_see_the_others_of_its_batch(mates: int, frames: int, config: AudioConfig) -> None:
    encoder = seeded(config)
    hop, others = torch.randn(1, 16, frames), 5.0 * torch.randn(mates, 16, frames)
    batched = encoder(torch.cat((hop, others)))[0]
    torch.testing.assert_close(batched, encoder(hop)[0], atol=1e-5, rtol=0)


def test_batch_normalisation_is_fixed_after_training_only() -> None:
    hops = torch.randn(3, 16, 20)
    config = DEEP.model_copy(update={"dropout": 0.0})
    encoder = seeded(config).train()
    assert (encoder(hops)[0] - encoder(hops[:2])[0]).abs().max() > 1e-3
    encoder.eval()
    torch.testing.assert_close(encoder(hops)[0], encoder(hops[:2])[0], atol=1e-6, rtol=0)


def test_dropout_is_of_training_only() -> None:
    torch.manual_seed(0)
    encoder = AudioEncoder(FLAT, width=8)
    hops = torch.randn(2, 16, 20)
    assert (encoder(hops) - encoder(hops)).abs().max() > 1e-3
    encoder.eval()
    assert torch.equal(encoder(hops), encoder(hops))


def test_the_maximum_hears_a_click_that_the_mean_loses_in_silence() -> None:
    silence = torch.zeros(1, 16, 400)
    click = silence.clone()
    click[0, 8, 200] = 5.0
    changes = []
    for pool in ("mean", "mean_max"):
        encoder = seeded(DEEP.model_copy(update={"pool": pool}))
        features = [encoder._pool(encoder.stages(hop[:, None])) for hop in (silence, click)]
        changes.append(float((features[1] - features[0]).detach().abs().max()))
    assert changes[1] > 20 * changes[0]


def test_the_deviation_tells_a_swell_from_a_steady_sound_of_its_mean() -> None:
    encoder = seeded(
        TEXTURE.model_copy(update={"tokens_per_hop": 1, "channels": (4,), "convolutions": (1,), "time_strides": (1,)})
    )
    swell = torch.sin(torch.linspace(0, 6.28, 400)).expand(1, 4, 8, 400)
    steady = torch.zeros(1, 4, 8, 400)
    difference = encoder._pool(swell)[:, 4:] - encoder._pool(steady)[:, 4:]
    torch.testing.assert_close(difference.mean(), torch.tensor(0.5**0.5), atol=0.01, rtol=0)


def test_the_deviation_of_silence_has_a_slope() -> None:
    encoder = seeded(TEXTURE).train()
    silence = torch.zeros(2, 16, 40, requires_grad=True)
    encoder(silence).sum().backward()
    assert silence.grad is not None
    assert silence.grad.isfinite().all()


def test_the_default_keeps_its_state() -> None:
    state = AudioEncoder(AudioConfig(), width=96).state_dict()
    convolutions = {f"stages.{place}.weight" for place in (0, 3, 6)}
    norms = {f"stages.{place}.{name}" for place in (1, 4, 7) for name in ("weight", "bias")}
    assert set(state) == convolutions | norms | {"project.weight", "project.bias", "norm.weight", "norm.bias"}
    assert state["project.weight"].shape == (96, 96 * 8)


def test_parameters_are_counted_by_hand() -> None:
    expected = 9 * (4 + 4 * 8 + 8 * 8) + 2 * (4 + 8 + 8) + (8 * 4 * 8 + 8) + 2 * 8
    assert sum(parameter.numel() for parameter in AudioEncoder(DEEP, width=8).parameters()) == expected


def test_every_stage_needs_its_count() -> None:
    with pytest.raises(SettingsError, match="2 convolutions do not fit 3 channels"):
        AudioConfig.read({"convolutions": [1, 2]}, source="recipe.yaml")
    with pytest.raises(SettingsError, match="4 time_strides do not fit 3 channels"):
        AudioConfig.read({"time_strides": [2, 1, 1, 2]}, source="recipe.yaml")


def test_a_beat_survives_where_time_is_not_halved() -> None:
    beat = torch.zeros(1, 16, 64)
    beat[:, :, ::4] = 1.0
    widths = []
    for strides in ((2, 2), (1, 1)):
        encoder = seeded(PLAIN.model_copy(update={"time_strides": strides}))
        inner = encoder.stages(beat[:, None])[..., 4:-4]
        widths.append(float(inner.std(dim=3).mean().detach()))
    assert widths[0] < 1e-3 < widths[1]


DEEP_TOKEN = [[1.04797, 0.94379, 0.88488, -0.70198]]
FLAT_TOKENS = [
    [1.27166, 1.32738, -0.99626, -0.02555],
    [1.09759, 1.83289, -0.46693, 0.06171],
    [1.52001, 1.06193, -0.48593, -0.78166],
]
