"""Training with a pretrained video encoder: from a source's folder to a checkpoint that needs it no longer."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from handler.pipeline import ActivityPipeline
from handler.request import ActivityRequest
from handler.response import Prediction
from handler.runtime import Runtime
from handler.transform import Transforms
from models.checkpoint import read_description
from models.model import build_model
from models.pretrained.resolve import load_pretrained, resolve_pretrained
from models.pretrained.weights import quiet_transformers
from models.settings import SettingsError
from tests.handler.requests import make_request
from tests.pretrained_factory import tiny_clip
from tests.training.clips import decode_tiny
from training.augment.config import AugmentationConfig, VideoAugmentation
from training.dataset import RunDataset, gather_contents, stack_runs
from training.encoding import Cached, RunEncoder
from training.recipe import Recipe
from training.synth.labels import LABELS
from training.tokens import cached_backbones, extract_features
from training.train import Initial, Watch, train

CPU = Runtime(torch.device("cpu"), torch.float32, threads=1)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    with quiet_transformers():
        return tiny_clip(tmp_path_factory.mktemp("source"))


def recipe_of(folder: Path, epochs: int = 2, **pretrained: Any) -> Recipe:
    video = {"encoder": "pretrained", "pretrained": {"source": str(folder), **pretrained}, "frames_per_hop": 2}
    model = {
        "width": 16,
        "labels": LABELS,
        "video": video,
        "audio": None,
        "text": None,
        "fusion": {"kind": "late"},
        "head": {"hidden": 16},
    }
    training = {
        "epochs": epochs,
        "clips_per_batch": 3,
        "hops_per_run": 5,
        "warmup_fraction": 0.0,
        "seed": 5,
        "ema_decay": 0.5,
        "early_stopping": {},
    }
    return Recipe.read({"name": "tiny", "model": model, "training": training}, source="test")


def answer(checkpoint: Path, request: ActivityRequest) -> Prediction:
    (prediction,) = ActivityPipeline.from_checkpoint(checkpoint, runtime=CPU).predict([request], ["1"])
    assert isinstance(prediction, Prediction)
    return prediction


@pytest.mark.parametrize("tune", ["frozen", "lora"])
def test_the_checkpoint_needs_its_source_no_longer(
    source: Path, tiny_manifest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tune: str
) -> None:
    folder, output = tmp_path / "source", tmp_path / "output"
    shutil.copytree(source, folder)
    notes: list[str] = []
    encoded: list[tuple[int, int]] = []
    watch = Watch(say=notes.append, encoded=lambda done, total: encoded.append((done, total)))
    recipe = recipe_of(folder, tune=tune)
    train(recipe, tiny_manifest, output, command="test", watch=watch)
    assert encoded == ([(n, 6) for n in range(1, 7)] if tune == "frozen" else [])
    cached = "frozen backbones: the clips' features of video were computed once"
    assert notes == ([cached] if tune == "frozen" else [])
    state = torch.load(output / "last.ckpt", weights_only=True)["state_dict"]
    assert any(".backbone." in name for name in state) == (tune != "frozen")
    video = read_description(output).config.video
    assert video is not None
    assert video.size == 32
    assert video.pretrained is not None
    assert video.pretrained.is_resolved

    request = make_request(video=(tiny_manifest.parent / "5.webm").read_bytes())
    with_source = answer(output, request)
    assert len(with_source.activities) == 5
    shutil.rmtree(folder)
    monkeypatch.setitem(sys.modules, "peft", None)  # importing it is an error
    assert answer(output, request) == with_source

    backbone = {name: it for name, it in load_file(output / "model.safetensors").items() if ".backbone." in name}
    published = load_file(source / "model.safetensors")
    vision = {f"encoders.video.backbone.{name.removeprefix('vision_model.')}": it for name, it in published.items()}
    assert backbone.keys() <= vision.keys()
    same = {name for name, tensor in backbone.items() if torch.equal(tensor, vision[name])}
    changed = {name.split(".")[-2] for name in backbone.keys() - same}
    assert changed == (set() if tune == "frozen" else {"q_proj", "v_proj"})


def test_a_training_that_begins_with_a_checkpoint_needs_no_source(
    source: Path, tiny_manifest: Path, tmp_path: Path
) -> None:
    folder, first, second = (tmp_path / name for name in ("source", "first", "second"))
    shutil.copytree(source, folder)
    recipe = recipe_of(folder, epochs=1, tune="all")
    train(recipe, tiny_manifest, first, command="test")
    shutil.rmtree(folder)
    with pytest.raises(SettingsError, match="is no folder"):
        train(recipe, tiny_manifest, second, command="test")
    wider = recipe.model_copy(update={"model": recipe_of(folder, tune="frozen").model.model_copy(update={"width": 20})})
    train(wider, tiny_manifest, second, command="test", initial=Initial(first))
    before, after = (load_file(output / "model.safetensors") for output in (first, second))
    backbone = [name for name in before if ".backbone." in name]
    assert backbone
    assert all(torch.equal(before[name], after[name]) for name in backbone)
    published = load_file(source / "model.safetensors")["vision_model.post_layernorm.weight"]
    assert not torch.equal(before["encoders.video.backbone.post_layernorm.weight"], published)


@pytest.mark.parametrize("tune", ["frozen", "lora"])
def test_a_stopped_training_goes_on(source: Path, tiny_manifest: Path, tmp_path: Path, tune: str) -> None:
    recipe = recipe_of(source, tune=tune, lora={"rank": 2})
    train(recipe, tiny_manifest, tmp_path / "whole", command="test")

    def stop(epoch: int, *_: object) -> None:
        if epoch == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(recipe, tiny_manifest, tmp_path / "parts", command="test", watch=Watch(on_epoch=stop))
    train(recipe, tiny_manifest, tmp_path / "parts", command="test", resume=True)
    whole, parts = (load_file(tmp_path / name / "model.safetensors") for name in ("whole", "parts"))
    for name, tensor in whole.items():
        torch.testing.assert_close(parts[name], tensor, atol=1e-6, rtol=0.0)


def test_features_beforehand_are_the_features_of_a_step(
    source: Path, tiny_manifest: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = resolve_pretrained(recipe_of(source).model)
    model = build_model(config)
    load_pretrained(model, config)
    encoder: Any = model.encoders["video"]
    transforms = Transforms(config, None)
    clips = decode_tiny(tiny_manifest, config)[:2]
    raw = gather_contents(clips, transforms)
    calls: list[int] = []
    extract = encoder.extract

    def counted(video: Tensor) -> Tensor:
        calls.append(len(video))
        return extract(video)  # type: ignore[no-any-return]

    monkeypatch.setattr(encoder, "extract", counted)
    held = extract_features(model, transforms, raw, torch.device("cpu"), {"video"})
    assert sum(calls) == sum(clip.clip.schedule.num_hops for clip in clips)  # each hop once
    batches = [
        stack_runs([RunDataset(clips, transforms, hops_per_run=5, seed=0, contents=it)[run] for run in range(2)])
        for it in (raw, held)
    ]
    model.train()
    by_step = RunEncoder(model, transforms)(batches[0])["video"]
    num_calls = len(calls)
    beforehand = RunEncoder(model, transforms, Cached(features=frozenset({"video"})))(batches[1])["video"]
    assert len(calls) == num_calls
    torch.testing.assert_close(beforehand, by_step, atol=1e-5, rtol=0.0)
    beforehand.sum().backward()
    assert all(parameter.grad is not None for parameter in encoder.project.parameters())


def test_features_are_computed_beforehand_only_where_nothing_changes_them(source: Path) -> None:
    def cached(recipe: Recipe) -> frozenset[str]:
        return cached_backbones(recipe, build_model(resolve_pretrained(recipe.model)))

    recipe = recipe_of(source)
    flipped = AugmentationConfig(video=VideoAugmentation(flip=True))
    mixed = recipe.training.model_copy(update={"mixup_alpha": 0.2})
    assert cached(recipe) == {"video"}
    assert cached(recipe.model_copy(update={"augmentation": flipped})) == frozenset()
    assert cached(recipe.model_copy(update={"training": mixed})) == frozenset()
    assert cached(recipe_of(source, tune="last")) == frozenset()


def test_a_clip_s_frames_are_the_processor_s_while_it_decodes(source: Path, tiny_manifest: Path) -> None:
    config = resolve_pretrained(recipe_of(source).model)
    clip = decode_tiny(tiny_manifest, config)[0].clip
    assert clip.frames is not None
    assert clip.frames.shape[1:] == (2, 3, 32, 32)
    # 160 x 120 is scaled to 43 x 32 and cropped to its middle, while our own encoders see all of it squashed.
    ours = decode_tiny(tiny_manifest, squashed(config))[0].clip.frames
    assert ours is not None
    middle = np.abs(clip.frames.astype(int) - ours.astype(int))[..., :, 12:20].mean()
    edges = np.abs(clip.frames.astype(int) - ours.astype(int))[..., :, :4].mean()
    assert middle < edges


def squashed(config: Any) -> Any:
    video = config.video.model_copy(update={"encoder": "cnn", "pretrained": None})
    return config.model_copy(update={"video": video})
