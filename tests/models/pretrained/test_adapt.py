from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torchvision.models.video import S3D

from handler.clip import Clip
from handler.transform import Transforms
from handler.windows import Span, build_schedule
from models.config import ModelConfig
from models.model import build_model
from models.pretrained.adapt import inject_adapters, merge_adapters
from models.pretrained.config import PretrainedConfig
from models.pretrained.encoder import PretrainedEncoder
from models.pretrained.resolve import load_pretrained, resolve_pretrained
from models.pretrained.torchvision_folder import TorchvisionEncoder
from models.pretrained.weights import quiet_transformers
from models.pretrained.words import load_source_tokenizer
from models.settings import SettingsError
from tests.models.pretrained.pictures import model_config
from tests.models.pretrained.test_torchvision_folder import tiny_mvit, tiny_swin
from tests.pretrained_factory import (
    tiny_ast,
    tiny_bert,
    tiny_clap,
    tiny_clip,
    tiny_dinov2,
    tiny_siglip,
    tiny_timesformer,
    tiny_videomae,
    tiny_vivit,
    tiny_wav2vec2,
    tiny_whisper,
)

VIDEO = torch.randn(2, 3, 4, 32, 32, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    with quiet_transformers():
        return tiny_clip(tmp_path_factory.mktemp("clip"))


def build(folder: Path, **pretrained: Any) -> tuple[nn.Module, PretrainedEncoder]:
    config = model_config(folder, "video", frames_per_hop=4, pretrained=pretrained)
    model = build_model(config)
    load_pretrained(model, config)
    inject_adapters(model)
    encoder = model.encoders["video"]
    assert isinstance(encoder, PretrainedEncoder)
    return model, encoder


def step(encoder: PretrainedEncoder) -> set[str]:
    """One step of training; the names of the backbone's tensors that it changed."""
    before = copy.deepcopy(encoder.backbone.state_dict())
    encoder.train()
    optimizer = torch.optim.AdamW(encoder.parameters(), lr=0.01, weight_decay=0.1)
    encoder(VIDEO).square().mean().backward()
    optimizer.step()
    encoder.eval()
    return {name for name, tensor in encoder.backbone.state_dict().items() if not torch.equal(tensor, before[name])}


def test_a_frozen_backbone_stays_as_it_was_and_in_evaluation_mode(clip: Path) -> None:
    _, encoder = build(clip)
    encoder.requires_grad_(True)
    encoder.train()
    assert not any(module.training for module in encoder.backbone.modules())
    assert encoder.project.training
    assert not encoder.features(VIDEO).requires_grad
    assert encoder(VIDEO).requires_grad
    assert step(encoder) == set()
    assert all(parameter.grad is not None for parameter in encoder.project.parameters())


def test_the_last_blocks_learn(clip: Path) -> None:
    _, encoder = build(clip, tune="last", last_blocks=1)
    encoder.train()
    layers: Any = encoder.blocks
    assert [layer.training for layer in layers] == [False, True]
    changed = step(encoder)
    assert changed
    assert all(".layers.1." in name for name in changed)
    assert changed == {name for name in encoder.backbone.state_dict() if ".layers.1." in name}


def test_all_of_it_learns(clip: Path) -> None:
    _, encoder = build(clip, tune="all")
    assert all(parameter.requires_grad for parameter in encoder.parameters())
    assert step(encoder) == set(encoder.backbone.state_dict())


def test_a_curriculum_can_stop_what_would_learn(clip: Path) -> None:
    _, encoder = build(clip, tune="last")
    encoder.requires_grad_(False)
    assert not any(parameter.requires_grad for parameter in encoder.parameters())


def test_adapters_alone_learn_and_are_merged(clip: Path) -> None:
    model, encoder = build(clip, tune="lora", lora={"rank": 2, "dropout": 0.5})
    plain = build(clip)[1]
    torch.testing.assert_close(encoder.eval().features(VIDEO), plain.eval().features(VIDEO), atol=1e-6, rtol=0.0)
    changed = step(encoder)
    assert changed
    assert all("lora_" in name for name in changed)
    assert {name.split(".lora_")[0].rpartition(".")[2] for name in changed} == {"q_proj", "v_proj"}
    with_adapters = encoder.features(VIDEO)
    assert (with_adapters - plain.features(VIDEO)).abs().max() > 1e-3
    merge_adapters(model)
    assert encoder.backbone.state_dict().keys() == plain.backbone.state_dict().keys()
    torch.testing.assert_close(encoder.features(VIDEO), with_adapters, atol=1e-5, rtol=0.0)


def test_adapters_drop_out_and_the_backbone_does_not(clip: Path) -> None:
    _, encoder = build(clip, tune="lora", lora={"dropout": 0.5})
    encoder.train()
    training = {name.rpartition(".")[2] for name, it in encoder.backbone.named_modules() if it.training}
    assert training == {"learned"}


def test_targets_that_do_not_exist_are_named(clip: Path) -> None:
    with pytest.raises(SettingsError, match=r"no linear layer called nothing: lora.targets can name fc1, fc2, k_proj"):
        build(clip, tune="lora", lora={"targets": ["fc1", "nothing"]})


def test_more_last_blocks_than_there_are_is_an_error(clip: Path) -> None:
    with pytest.raises(SettingsError, match=r"last_blocks is 3, .* has 2 blocks: take tune all"):
        build(clip, tune="last", last_blocks=3)


MAKERS: dict[str, tuple[Callable[[Path], Path], str]] = {
    "videomae": (tiny_videomae, "video"),
    "vivit": (tiny_vivit, "video"),
    "timesformer": (tiny_timesformer, "video"),
    "siglip": (tiny_siglip, "image"),
    "dinov2": (tiny_dinov2, "image"),
    "bert": (tiny_bert, "text"),
    "siglip_text": (tiny_siglip, "text"),
    "ast": (tiny_ast, "audio"),
    "wav2vec2": (tiny_wav2vec2, "audio"),
    "whisper": (tiny_whisper, "audio"),
    "clap": (tiny_clap, "audio"),
}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    with quiet_transformers():
        return {name: make(tmp_path_factory.mktemp(name)) for name, (make, _) in MAKERS.items()}


def empty_hops(config: ModelConfig, modality: str) -> tuple[Tensor, ...]:
    """Two hops of a clip without any content, as the encoder takes them."""
    section = getattr(config, modality)
    tokenizer = None if modality != "text" else load_source_tokenizer(section.pretrained, section.max_tokens)
    transforms = Transforms(config, tokenizer)
    clip = Clip(schedule=build_schedule(Span(0.0, 1.0), config.windows), modalities={})
    return transforms.prepare(modality, *(torch.cat((it, it)) for it in transforms.gather(modality, clip).tensors))


@pytest.mark.parametrize("name", MAKERS)
@pytest.mark.parametrize("tune", ["last", "lora"])
def test_every_architecture_can_be_tuned(folders: dict[str, Path], name: str, tune: str) -> None:
    modality = MAKERS[name][1]
    section = {"source": str(folders[name]), "tune": tune, "last_blocks": 1}
    others = dict.fromkeys(("video", "audio", "text"))
    config = resolve_pretrained(
        ModelConfig.read(
            {
                "width": 24,
                "labels": 3,
                **others,
                modality: {"encoder": "pretrained", "pretrained": section},
                "fusion": {"kind": "late"},
            },
            source="test",
        )
    )
    model = build_model(config)
    load_pretrained(model, config)
    inject_adapters(model)
    encoder = model.encoders[modality]
    assert isinstance(encoder, PretrainedEncoder)
    inputs = empty_hops(config, modality)
    encoder.train()
    encoder(*inputs).square().mean().backward()
    learned = {name for name, parameter in encoder.backbone.named_parameters() if parameter.grad is not None}
    assert learned
    assert all(("lora_" in name) == (tune == "lora") for name in learned)
    before = encoder.eval()(*inputs)
    merge_adapters(model)
    torch.testing.assert_close(encoder(*inputs), before, atol=1e-5, rtol=0.0)


@pytest.mark.parametrize("backbone", [tiny_mvit(), tiny_swin(), S3D(num_classes=5)], ids=["mvit", "swin3d", "s3d"])
def test_torchvision_s_blocks_are_found(backbone: nn.Module) -> None:
    encoder = TorchvisionEncoder(backbone, PretrainedConfig(source="x", tune="last"), feature_width=1, width=1)
    assert len(encoder.blocks) == (12 if isinstance(backbone, S3D) else 2)
    assert all(isinstance(block, type(encoder.blocks[-1])) for block in encoder.blocks[-2:])
    assert {id(it) for it in encoder.backbone.parameters() if it.requires_grad} == {
        id(it) for block in encoder.blocks[-2:] for it in block.parameters()
    }
