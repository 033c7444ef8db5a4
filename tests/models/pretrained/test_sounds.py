from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchaudio
from torch import Tensor, nn
from transformers import CONFIG_MAPPING, AutoFeatureExtractor, AutoModel, CLIPTextConfig, WhisperConfig, WhisperModel
from transformers.models.whisper.modeling_whisper import WhisperEncoder

from handler.transform import Transforms
from models.config import ModelConfig
from models.model import build_model
from models.pretrained.adapt import inject_adapters, merge_adapters
from models.pretrained.build import build_pretrained
from models.pretrained.config import PretrainedConfig
from models.pretrained.resolve import load_pretrained, resolve_pretrained
from models.pretrained.sounds import SoundEncoder
from models.pretrained.weights import quiet_transformers
from models.settings import SettingsError
from tests.pretrained_factory import tiny_ast, tiny_clap, tiny_hubert, tiny_wav2vec2, tiny_wavlm, tiny_whisper

TOLERANCE = 1e-5
STRIDE_SECONDS = 0.5

Maker = Callable[[Path], Path]


def wav2vec2_large(folder: Path) -> Path:
    return tiny_wav2vec2(folder, norm="layer")


def clap_fused(folder: Path) -> Path:
    return tiny_clap(folder, fusion=True)


MAKERS: dict[str, Maker] = {
    "ast": tiny_ast,
    "clap": tiny_clap,
    "clap_fused": clap_fused,
    "hubert": tiny_hubert,
    "wav2vec2": tiny_wav2vec2,
    "wav2vec2_large": wav2vec2_large,
    "wavlm": tiny_wavlm,
    "whisper": tiny_whisper,
}


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {name: make(tmp_path_factory.mktemp(name)) for name, make in MAKERS.items()}


def model_config(folder: Path, *, stride: float = STRIDE_SECONDS, tokens: int = 1, **pretrained: Any) -> ModelConfig:
    return resolve_pretrained(
        ModelConfig.read(
            {
                "width": 24,
                "labels": 3,
                "windows": {"stride_seconds": stride},
                "video": None,
                "audio": {
                    "encoder": "pretrained",
                    "tokens_per_hop": tokens,
                    "pretrained": {"source": str(folder), **pretrained},
                },
                "text": None,
                "fusion": {"kind": "late"},
            },
            source="test",
        )
    )


def loaded(config: ModelConfig) -> SoundEncoder:
    """The encoder of a model with its source's weights."""
    model = build_model(config).eval()
    load_pretrained(model, config)
    encoder = model.encoders["audio"]
    assert isinstance(encoder, SoundEncoder)
    return encoder


def hops(config: ModelConfig, count: int = 3) -> Tensor:
    """Noise at levels from loud to faint: ``(N, P)``."""
    assert config.audio is not None
    generator = torch.Generator().manual_seed(0)
    levels = torch.tensor([0.5, 0.01, 0.1])[:count, None]
    return torch.randn(count, config.hop_samples, generator=generator) * levels


@torch.no_grad()
def encode(config: ModelConfig, encoder: SoundEncoder, samples: Tensor) -> Tensor:
    return encoder.features(*Transforms(config, None).prepare("audio", samples))


@torch.no_grad()
def library(folder: Path, samples: Tensor) -> tuple[Tensor, Any]:
    """What the library's own extractor makes of a single hop, and what its whole model says of it."""
    with quiet_transformers():
        extractor = AutoFeatureExtractor.from_pretrained(folder)
        inputs = extractor(samples.numpy(), sampling_rate=extractor.sampling_rate, return_tensors="pt")
        inputs = {name: it.float() if it.is_floating_point() else it for name, it in inputs.items()}
        model = AutoModel.from_pretrained(folder).eval()
        if isinstance(model, WhisperModel):
            output = model.encoder(**inputs)
        elif hasattr(model, "get_audio_features"):
            output = model.get_audio_features(**inputs)
        else:
            output = model(**inputs)
        return next(it for it in inputs.values() if it.is_floating_point()), output


def expected_columns(name: str, output: Any) -> Tensor:
    """The library's last states over a hop of 0.5 s, meaned over frequency: ``(T, F)``, those of its own sound."""
    states: Tensor = output.last_hidden_state[0]
    if name == "whisper":
        return states[:25]  # 8,000 samples, 160 a mel frame, 2 mel frames a state
    if name == "ast":
        num_bands = (32 - 16) // 10 + 1
        # 8,000 samples give 48 filter banks of 25 ms each 10 ms, the patches begin each 10 of them
        return states[2:].view(num_bands, -1, states.shape[-1]).mean(dim=0)[:5]
    if name.startswith("clap"):
        assert states.shape[2] == 32  # of 1 s: 64 / 4 / 2 a quarter
        return states.mean(dim=1).T[:16]
    return states


@pytest.mark.parametrize("name", MAKERS)
def test_a_hop_is_fed_and_encoded_as_the_library_does(sources: dict[str, Path], name: str) -> None:
    config = model_config(sources[name])
    samples = hops(config)
    prepared = Transforms(config, None).prepare("audio", samples)[0]
    tokens = encode(config, loaded(config), samples)
    for hop, features, token in zip(samples, prepared, tokens, strict=True):
        fed, output = library(sources[name], hop)
        assert features.dtype == torch.float32
        torch.testing.assert_close(features, fed[0], rtol=0, atol=TOLERANCE)
        torch.testing.assert_close(token[0], expected_columns(name, output).mean(dim=0), rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("name", MAKERS)
def test_tokens_follow_time(sources: dict[str, Path], name: str) -> None:
    config = model_config(sources[name], tokens=5)
    samples = hops(config, 1)
    columns = expected_columns(name, library(sources[name], samples[0])[1])
    expected = nn.functional.adaptive_avg_pool1d(columns.T[None], 5)[0].T
    torch.testing.assert_close(encode(config, loaded(config), samples)[0], expected, rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("name", ["clap", "clap_fused"])
def test_claps_embedding_is_the_librarys(sources: dict[str, Path], name: str) -> None:
    config = model_config(sources[name], output="embedding", tokens=2)
    encoder = loaded(config)
    samples = hops(config)
    embeddings = encode(config, encoder, samples)
    assert embeddings.shape == (3, 1, 12)
    assert encoder.embedding_width == 12
    torch.testing.assert_close(embeddings.norm(dim=-1), torch.ones(3, 1))
    for hop, embedding in zip(samples, embeddings, strict=True):
        torch.testing.assert_close(embedding, library(sources[name], hop)[1].pooler_output, rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("name", MAKERS)
def test_a_hop_is_heard_alone_and_silence_is_finite(sources: dict[str, Path], name: str) -> None:
    config = model_config(sources[name], tokens=2)
    encoder = loaded(config)
    samples = torch.cat((torch.zeros(1, config.hop_samples), hops(config)))
    together = encode(config, encoder, samples)
    assert together.shape[:2] == (4, 2)
    assert together.isfinite().all()
    for hop, tokens in zip(samples, together, strict=True):
        torch.testing.assert_close(encode(config, encoder, hop[None])[0], tokens, rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("name", MAKERS)
def test_the_sources_rate_is_taken_and_no_context(sources: dict[str, Path], name: str) -> None:
    config = model_config(sources[name])
    assert config.audio is not None
    assert config.audio.sample_rate == (48_000 if name.startswith("clap") else 16_000)
    assert config.audio.context_samples == 0
    again = ModelConfig.read(config.model_dump(mode="json"), source="json")
    assert build_model(again).state_dict().keys() == build_model(config).state_dict().keys()
    with pytest.raises(SettingsError, match=r"model.audio.sample_rate is 8000, but .* needs"):
        resolve_pretrained(
            ModelConfig.read(
                {
                    "labels": 2,
                    "video": None,
                    "text": None,
                    "fusion": {"kind": "late"},
                    "audio": {
                        "encoder": "pretrained",
                        "sample_rate": 8000,
                        "pretrained": {"source": str(sources[name])},
                    },
                },
                source="test",
            )
        )


@pytest.mark.parametrize(("name", "stride", "message"), [
    ("clap", 1.5, "a hop of 1.5 s is too long for .*: it hears 1 s at once, and would leave out the rest"),
    ("whisper", 3.5, "a hop of 3.5 s is too long for .*: it hears 3 s at once"),
    ("ast", 3.5, "a hop of 3.5 s is too long for .*: it hears 3.22494 s at once"),
    ("ast", 0.02, "a hop of 0.02 s is too short for .*: it needs 0.025 s or more"),
    ("wavlm", 0.02, "a hop of 0.02 s is too short for .*: it needs 0.025 s or more"),
])  # fmt: skip
def test_a_hop_that_is_not_heard_whole_is_refused(
    sources: dict[str, Path], name: str, stride: float, message: str
) -> None:
    with pytest.raises(SettingsError, match=message):
        model_config(sources[name], stride=stride)


@pytest.mark.parametrize("name", ["ast", "whisper", "clap"])
def test_the_longest_hop_is_heard_whole(sources: dict[str, Path], name: str) -> None:
    config = model_config(sources[name], stride={"ast": 3.2, "whisper": 3.0, "clap": 1.0}[name], tokens=3)
    tokens = encode(config, loaded(config), hops(config, 1))
    assert tokens.shape[:2] == (1, 3)
    assert tokens.isfinite().all()


def test_a_short_hop_gives_a_waveform_encoder_one_column(sources: dict[str, Path]) -> None:
    config = model_config(sources["wav2vec2"], stride=0.025, tokens=2)
    tokens = encode(config, loaded(config), hops(config, 1))
    assert torch.equal(tokens[:, 0], tokens[:, 1])


def test_training_masks_nothing_of_its_own(sources: dict[str, Path]) -> None:
    """Wav2Vec2's own SpecAugment needs more columns than a short hop has."""
    config = model_config(sources["wav2vec2"], tune="all", stride=0.1)
    encoder = loaded(config).train()
    samples = hops(config)
    (features,) = Transforms(config, None).prepare("audio", samples)
    encoder(features).sum().backward()
    backbone: Any = encoder.backbone
    assert all(it.grad is not None for it in backbone.parameters())


@pytest.mark.parametrize("name", MAKERS)
def test_the_last_block_learns_alone(sources: dict[str, Path], name: str) -> None:
    encoder = loaded(model_config(sources[name], tune="last", last_blocks=1)).train()
    assert len(encoder.blocks) == 2
    learning = {id(it) for it in encoder.backbone.parameters() if it.requires_grad}
    assert learning == {id(it) for it in encoder.blocks[-1].parameters()}
    assert [block.training for block in encoder.blocks] == [False, True]


@pytest.mark.parametrize("name", MAKERS)
def test_adapters_begin_as_nothing_and_are_merged(sources: dict[str, Path], name: str) -> None:
    targets = ["intermediate_dense"] if name == "wavlm" else None
    config = model_config(sources[name], tune="lora", lora={"targets": targets})
    encoder = loaded(config)
    samples = hops(config)
    before, names = encode(config, encoder, samples), list(encoder.state_dict())
    inject_adapters(encoder)
    torch.testing.assert_close(encode(config, encoder, samples), before, rtol=0, atol=TOLERANCE)
    learning = [it for it in encoder.backbone.parameters() if it.requires_grad]
    assert 0 < sum(it.numel() for it in learning) < count(encoder.backbone)
    with torch.no_grad():
        for parameter in learning:
            parameter.add_(0.05)
    changed = encode(config, encoder, samples)
    assert (changed - before).abs().max() > 100 * TOLERANCE
    merge_adapters(encoder)
    torch.testing.assert_close(encode(config, encoder, samples), changed, rtol=0, atol=TOLERANCE)
    assert list(encoder.state_dict()) == names


def test_wavlms_attention_takes_no_adapters(sources: dict[str, Path]) -> None:
    """It would read the weights past them, and they would never learn."""
    for targets in (None, ["q_proj"]):
        encoder = loaded(model_config(sources["wavlm"], tune="lora", lora={"targets": targets}))
        with pytest.raises(SettingsError, match=r"lora\.targets can name .*intermediate_dense"):
            inject_adapters(encoder)


def test_whispers_sines_never_learn(sources: dict[str, Path]) -> None:
    fixed = [
        name
        for name, it in loaded(model_config(sources["whisper"], tune="all")).named_parameters()
        if not it.requires_grad
    ]
    assert fixed == ["backbone.embed_positions.weight"]


def test_a_picture_encoder_is_no_encoder_of_sound() -> None:
    config = PretrainedConfig(source="x", architecture=CLIPTextConfig().to_dict(), processor={"sampling_rate": 16_000})
    with pytest.raises(SettingsError, match="no encoder for audio"):
        build_pretrained("audio", config, width=8, hop_samples=16_000, tokens_per_hop=1)


def count(module: nn.Module) -> int:
    return sum(it.numel() for it in module.parameters())


def build_meta(architecture: dict[str, Any], processor: dict[str, Any]) -> SoundEncoder:
    config = PretrainedConfig(source="x", architecture=architecture, processor=processor)
    with torch.device("meta"):
        encoder = build_pretrained("audio", config, width=8, hop_samples=16_000, tokens_per_hop=1)
    assert isinstance(encoder, SoundEncoder)
    return encoder


def test_whisper_medium_has_its_published_size() -> None:
    medium = WhisperConfig(
        d_model=1024, encoder_layers=24, encoder_attention_heads=16, encoder_ffn_dim=4096, decoder_layers=24,
        decoder_attention_heads=16, decoder_ffn_dim=4096,
    )  # fmt: skip
    processor = {"sampling_rate": 16_000, "chunk_length": 30, "hop_length": 160}
    backbone: Any = build_meta(medium.to_dict(), processor).backbone
    assert isinstance(backbone, WhisperEncoder)
    # The positions are sines, which published counts leave out.
    assert count(backbone) - backbone.embed_positions.weight.numel() == 305_680_384


@pytest.mark.parametrize(("kind", "expected"), [
    ("wav2vec2", 94_370_944), ("hubert", 94_370_944), ("wavlm", 94_381_168)
])  # fmt: skip
def test_base_waveform_encoders_have_the_size_of_torchaudios(kind: str, expected: int) -> None:
    """What the transformers count besides are the 768 of a vector for masked columns, which nothing here uses."""
    backbone = build_meta(CONFIG_MAPPING[kind]().to_dict(), {"sampling_rate": 16_000}).backbone
    with torch.device("meta"):
        other = getattr(torchaudio.models, f"{kind}_base")()
    assert count(backbone) == count(other) == expected


def test_numpy_is_not_left_behind(sources: dict[str, Path]) -> None:
    config = model_config(sources["clap"])
    (features,) = Transforms(config, None).prepare("audio", torch.from_numpy(np.zeros((1, 24_000), np.float32)))
    assert features.shape == (1, 1, 101, 16)
