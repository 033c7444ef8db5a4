"""Encoders that see whole windows: the same tokens in training and in serving, each of its own window alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from handler.clip import Clip
from handler.inference import Scorer
from handler.pipeline import ActivityPipeline
from handler.response import Prediction
from handler.runtime import Runtime
from handler.transform import Transforms
from models.config import ModelConfig
from models.model import ActivityModel, build_model
from models.pretrained.resolve import load_pretrained, resolve_pretrained
from models.pretrained.weights import quiet_transformers
from models.settings import SettingsError
from tests.handler.requests import make_request
from tests.pretrained_factory import tiny_ast, tiny_clip, tiny_videomae
from tests.training.clips import decode_tiny
from training.dataset import LabelledClip, RunDataset, gather_contents, stack_runs
from training.encoding import RunEncoder, cut_masks, cut_tokens
from training.recipe import Recipe
from training.synth.labels import LABELS
from training.tokens import cached_backbones
from training.train import train

CPU = Runtime(torch.device("cpu"), torch.float32, threads=1)
HOPS = 4


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    makers = {"videomae": tiny_videomae, "ast": tiny_ast, "clip": tiny_clip}
    with quiet_transformers():
        return {name: make(tmp_path_factory.mktemp(name)) for name, make in makers.items()}


def recipe_of(folders: dict[str, Path], *, hops: int = HOPS, video: str = "videomae") -> Recipe:
    def section(source: str) -> dict[str, Any]:
        return {"encoder": "pretrained", "pretrained": {"source": str(folders[source]), "span": "window"}}

    model = {
        "width": 16,
        "dropout": 0.0,
        "labels": LABELS,
        "windows": {"stride_seconds": 0.5, "hops": hops},
        "video": section(video),
        "audio": section("ast"),
        "text": None,
        "fusion": {"kind": "cross_attention", "heads": 2},
        "head": {"hidden": 16},
    }
    training = {"epochs": 1, "clips_per_batch": 3, "hops_per_run": 6, "seed": 5}
    return Recipe.read({"name": "tiny", "model": model, "training": training}, source="test")


@pytest.fixture(scope="module")
def built(folders: dict[str, Path], tiny_manifest: Path) -> tuple[ModelConfig, ActivityModel, LabelledClip]:
    config = resolve_pretrained(recipe_of(folders).model)
    model = build_model(config).eval()
    load_pretrained(model, config)
    return config, model, decode_tiny(tiny_manifest, config)[0]


def test_a_window_s_hops_make_up_the_encoder_s_clip(
    built: tuple[ModelConfig, ActivityModel, LabelledClip], folders: dict[str, Path]
) -> None:
    config = built[0]
    assert config.video is not None
    assert config.video.frames_per_hop == 1  # 4 frames, 4 hops
    assert config.heard_samples == HOPS * config.hop_samples
    with pytest.raises(SettingsError, match="sees 4 frames at once, which 3 hops a window cannot share"):
        resolve_pretrained(recipe_of(folders, hops=3).model)
    with pytest.raises(SettingsError, match=r"sees each moment for itself: video.pretrained.span must be hop"):
        resolve_pretrained(recipe_of(folders, video="clip").model)


def test_each_window_is_encoded_as_the_clip_that_it_is(built: tuple[ModelConfig, ActivityModel, LabelledClip]) -> None:
    config, model, labelled = built
    clip, transforms = labelled.clip, Transforms(config, None)
    encoded = Scorer(model, transforms, CPU).encode(clip)
    assert clip.frames is not None
    assert clip.samples is not None
    num_windows = clip.schedule.num_windows
    assert num_windows > 3
    for window in (0, 3, num_windows - 1):
        inside = slice(window, window + HOPS)
        frames, samples = clip.frames[inside, 0], clip.samples[inside].reshape(-1)
        contents = {"video": torch.from_numpy(frames), "audio": torch.from_numpy(samples)}
        for name, content in contents.items():
            with torch.no_grad():
                alone = model.encode(name, *transforms.prepare(name, content[None]))[0]
            torch.testing.assert_close(encoded.tokens[name][window], alone, atol=1e-5, rtol=0.0)


def test_training_and_serving_say_the_same(built: tuple[ModelConfig, ActivityModel, LabelledClip]) -> None:
    config, model, labelled = built
    transforms = Transforms(config, None)
    served = Scorer(model, transforms, CPU).score(labelled.clip).scores
    contents = gather_contents([labelled], transforms)
    hops = labelled.clip.schedule.num_hops
    dataset = RunDataset([labelled], transforms, hops_per_run=hops, seed=0, contents=contents)
    batch = stack_runs([dataset[0]])
    num_windows = batch.targets.shape[1]
    with torch.no_grad():
        runs = RunEncoder(model, transforms)(batch)
        assert runs["video"].shape == (1, num_windows, 2, 16)
        output = model(cut_tokens(runs, config, num_windows), cut_masks(batch.masks, config, num_windows))
    np.testing.assert_allclose(output.logits.softmax(-1).numpy(), served, atol=1e-5)


def test_other_moments_do_not_change_a_window(built: tuple[ModelConfig, ActivityModel, LabelledClip]) -> None:
    config, model, labelled = built
    scorer = Scorer(model, Transforms(config, None), CPU)
    before = scorer.score(labelled.clip).scores
    assert labelled.clip.frames is not None
    frames = labelled.clip.frames.copy()
    frames[-1] = 255 - frames[-1]
    changed = Clip(**{**vars(labelled.clip), "frames": frames})
    after = scorer.score(changed).scores
    assert np.array_equal(before[:-1], after[:-1])
    assert not np.array_equal(before[-1], after[-1])


def test_it_trains_and_answers(folders: dict[str, Path], tiny_manifest: Path, tmp_path: Path) -> None:
    recipe = recipe_of(folders)
    model = build_model(resolve_pretrained(recipe.model))
    assert cached_backbones(recipe, model) == frozenset()  # its features are of windows
    train(recipe, tiny_manifest, tmp_path, command="test")
    pipeline = ActivityPipeline.from_checkpoint(tmp_path, runtime=CPU)
    (answer,) = pipeline.predict([make_request(video=(tiny_manifest.parent / "5.webm").read_bytes())])
    assert isinstance(answer, Prediction)
    assert {name for name, status in answer.modalities.items() if status.used} == {"video", "audio"}
