"""Pretrained sound and text from a recipe to an answer, the sources being gone by then."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer

from handler.pipeline import ActivityPipeline
from handler.runtime import Runtime
from models.checkpoint import Checkpoint, CheckpointDescription, load_checkpoint
from models.config import ModelConfig
from models.model import build_model
from models.pretrained.resolve import resolve_pretrained
from models.pretrained.words import load_source_tokenizer
from models.settings import SettingsError
from tests.models.tiny import TINY as OWN
from tests.models.tiny import tiny_tokenizer
from tests.pretrained_factory import tiny_bert, tiny_whisper
from training.augment.augmenter import Augmenter
from training.augment.config import AugmentationConfig
from training.initial import adopt_tokenizer
from training.recipe import Recipe
from training.synth.labels import LABELS
from training.train import Initial, train


def model_values(sources: Path) -> dict[str, Any]:
    return {
        "width": 16,
        "labels": list(LABELS),
        "video": None,
        "audio": {
            "encoder": "pretrained",
            "tokens_per_hop": 2,
            "pretrained": {"source": str(sources / "whisper")},
        },
        "text": {"encoder": "pretrained", "pretrained": {"source": str(sources / "bert"), "tune": "all"}},
        "fusion": {"kind": "cross_attention", "heads": 2},
        "head": {"hidden": 16},
    }


def make_sources(folder: Path) -> Path:
    tiny_whisper(folder / "whisper")
    tiny_bert(folder / "bert")
    return folder


@pytest.fixture(scope="module")
def trained(tiny_manifest: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A checkpoint, and the weights of the sources that it was made of, without the rest of them."""
    sources, output = make_sources(tmp_path_factory.mktemp("sources")), tmp_path_factory.mktemp("trained")
    kept = tmp_path_factory.mktemp("kept")
    for name in ("whisper", "bert"):
        shutil.copy(sources / name / "model.safetensors", kept / f"{name}.safetensors")
    settings = {"epochs": 1, "clips_per_batch": 3, "hops_per_run": 5, "warmup_fraction": 0.0, "seed": 5}
    augmentation = {"audio": {"noise": ["white"], "gain_db": [-3, 3], "shift_seconds": 0.1}}
    recipe = Recipe.read(
        {"model": model_values(sources), "training": settings, "augmentation": augmentation}, source="recipe"
    )
    train(recipe, tiny_manifest, output, command="c")
    shutil.rmtree(sources)
    return output, kept


def test_a_request_with_sound_and_words_is_answered(trained: tuple[Path, Path], tiny_manifest: Path) -> None:
    output, _ = trained
    pipeline = ActivityPipeline.from_checkpoint(output, runtime=Runtime(torch.device("cpu"), torch.float32, threads=1))
    folder = tiny_manifest.parent
    request = {"video": (folder / "4.mp4").read_bytes(), "text": (folder / "4.vtt").read_bytes()}
    alone, first, second = (
        pipeline.respond(batch, [str(index) for index in range(len(batch))])
        for batch in ([request], [request, {"text": b"chop"}], [{"text": b"chop"}])
    )
    assert [response.status for response in first] == [200, 200]
    assert alone[0].body == first[0].body
    assert second[0].body == first[1].body
    answer = json.loads(alone[0].body)
    assert answer["modalities"]["audio"] == answer["modalities"]["text"] == {"used": True}
    assert {segment["label"] for segment in answer["segments"]} <= set(LABELS)
    assert json.loads(second[0].body)["modalities"]["audio"]["used"] is False


def test_what_is_frozen_is_the_sources_and_what_is_tuned_has_moved(trained: tuple[Path, Path]) -> None:
    output, kept = trained
    weights, whisper, bert = (
        load_file(path)
        for path in (output / "model.safetensors", kept / "whisper.safetensors", kept / "bert.safetensors")
    )
    frozen = {name: tensor for name, tensor in whisper.items() if name.startswith("model.encoder.")}
    assert len(frozen) > 20
    for name, tensor in frozen.items():
        assert torch.equal(weights[name.replace("model.encoder.", "encoders.audio.backbone.")], tensor), name
    embedded = "embeddings.word_embeddings.weight"
    assert not torch.equal(weights[f"encoders.text.backbone.{embedded}"], bert[embedded])
    assert not [name for name in weights if "decoder" in name or "pooler" in name]


def test_the_sources_tokenizer_stands_in_the_checkpoint(trained: tuple[Path, Path]) -> None:
    checkpoint = load_checkpoint(trained[0])
    assert checkpoint.tokenizer is not None
    assert checkpoint.tokenizer.encode("stir the soup").ids == [2, 7, 5, 6, 3] + [0] * 7
    text = checkpoint.description.config.text
    assert text is not None
    assert (text.vocab_size, text.max_tokens) == (87, 12)


def test_a_resolved_recipe_goes_on_without_its_sources(
    trained: tuple[Path, Path], tiny_manifest: Path, tmp_path: Path
) -> None:
    output, _ = trained
    model = load_checkpoint(output).description.config.model_dump(mode="json")
    recipe = Recipe.read(
        {"model": model, "training": {"epochs": 1, "clips_per_batch": 3, "hops_per_run": 5}}, source="recipe"
    )
    train(recipe, tiny_manifest, tmp_path, command="c", initial=Initial(output))
    before, after = (load_file(folder / "model.safetensors") for folder in (output, tmp_path))
    for name, tensor in before.items():
        if name.startswith("encoders.audio.backbone."):
            assert torch.equal(after[name], tensor)
    assert (tmp_path / "tokenizer.json").read_bytes() == (output / "tokenizer.json").read_bytes()


def checkpoint_of(config: ModelConfig, tokenizer: Tokenizer) -> Checkpoint:
    return Checkpoint(CheckpointDescription(name="n", version="1", config=config), build_model(config), tokenizer)


def test_a_tokenizer_is_taken_only_where_it_gives_the_same_ids(tmp_path: Path) -> None:
    config = resolve_pretrained(ModelConfig.read(model_values(make_sources(tmp_path)), source="model"))
    assert config.text is not None
    assert config.text.pretrained is not None
    tokenizer = load_source_tokenizer(config.text.pretrained, 12)
    shorter = config.model_copy(update={"text": config.text.model_copy(update={"max_tokens": 8})})
    own, theirs = checkpoint_of(OWN, tiny_tokenizer()), checkpoint_of(config, tokenizer)
    assert adopt_tokenizer(config, theirs) is tokenizer
    assert adopt_tokenizer(shorter, theirs) is None
    assert adopt_tokenizer(OWN, theirs) is None
    assert adopt_tokenizer(config, own) is None
    assert adopt_tokenizer(OWN, own) is own.tokenizer


@pytest.mark.parametrize(("augmentation", "message"), [
    ({"audio": {"time_masks": 1, "stretch": [0.9, 1.1]}}, "augmentation.audio has time_masks, stretch, which changes"),
    ({"text": {"word_dropout": 0.1}}, "a pretrained encoder's special ones too"),
])  # fmt: skip
def test_augmentation_that_it_does_not_bear_is_refused(
    augmentation: dict[str, Any], message: str, tmp_path: Path
) -> None:
    model = ModelConfig.read(model_values(tmp_path), source="model")
    with pytest.raises(SettingsError, match=message):
        Augmenter(AugmentationConfig.read(augmentation, source="a"), model)
