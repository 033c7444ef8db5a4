"""The benchmark of the recipes with pretrained parts, at a small size; and that its large size is the published one."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console
from transformers import BertConfig, BertModel

from benchmarks import pretrained
from benchmarks.pretrained import Case, Make, Row
from benchmarks.pretrained_stages import ONE_THREAD, PROCESSOR, Measured, measure
from benchmarks.published import PUBLISHED, check_parameters, count_parameters
from benchmarks.published_words import bert_tokenizer
from handler.runtime import Runtime
from models.pretrained.torchvision_folder import build_torchvision, save_torchvision
from tests import pretrained_factory as factory
from tests import side_factory

SECONDS = 3.0
RUNTIMES = {
    name: Runtime(torch.device("cpu"), torch.float32, threads) for threads, name in enumerate((ONE_THREAD, "two"), 1)
}
CASES = {case.name: case for case in pretrained.find_cases()}


def small_torchvision(folder: Path) -> Path:
    """Torchvision's smallest model that takes small pictures, which S3D does not."""
    save_torchvision("swin3d_t", build_torchvision("swin3d_t").state_dict(), folder, num_frames=2)
    path = folder / "config.json"
    values = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps(values | {"resize_size": [36, 36], "crop_size": [32, 32]}), encoding="utf-8")
    return folder


def small_minilm(folder: Path) -> Path:
    """A BERT of width 16, for texts as long as the recipes have them."""
    layers: dict[str, Any] = {
        "hidden_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 32,
    }
    tokenizer = bert_tokenizer(200)
    BertModel(BertConfig(**layers, vocab_size=200, max_position_embeddings=64)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


MAKE: Mapping[str, Make] = {
    "ast": factory.tiny_ast,
    "blip": side_factory.tiny_blip,
    "clap": factory.tiny_clap,
    "clip": factory.tiny_clip,
    "clip-large": factory.tiny_clip,
    "dinov2": factory.tiny_dinov2,
    "minilm": small_minilm,
    "s3d": small_torchvision,
    "siglip": factory.tiny_siglip,
    "videomae": factory.tiny_videomae,
    "wav2vec2": factory.tiny_wav2vec2,
    "whisper-base": side_factory.tiny_whisper,
    "whisper-small": side_factory.tiny_whisper,
}


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the cases share what is made of their sources."""
    return tmp_path_factory.mktemp("sources")


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A small clip and its words."""
    return pretrained.write_clip(tmp_path_factory.mktemp("clip"), seconds=SECONDS, size=(96, 64))


def run(case: Case, sources: Path, clip: tuple[Path, Path], backend: str | None = None) -> Row:
    """A case at a small size, in this process."""
    ask = partial(measure, clip=clip[0], words=clip[1], num_labels=3, runtimes=RUNTIMES, rounds=1, backend=backend)
    return pretrained.run_case(case, MAKE, sources, ask, seconds=SECONDS)


@pytest.mark.parametrize("name", sorted(PUBLISHED))
def test_the_real_size_is_the_published_one(name: str) -> None:
    with torch.device("meta"):
        model = PUBLISHED[name].build()
    check_parameters(PUBLISHED[name], model)
    assert count_parameters(model) == PUBLISHED[name].num_parameters > 8_000_000


def test_another_size_is_refused() -> None:
    with torch.device("meta"):
        model = PUBLISHED["minilm"].build()
    with pytest.raises(RuntimeError, match="151,277,313 parameters, this model 22,713,216"):
        check_parameters(PUBLISHED["clip"], model)


@pytest.mark.filterwarnings("ignore:std")  # the library's, of a Whisper that says one token
@pytest.mark.parametrize("name", sorted(name for name in CASES if "," not in name))
def test_each_shipped_recipe_is_put_together_and_measured(name: str, sources: Path, clip: tuple[Path, Path]) -> None:
    row = run(CASES[name], sources, clip)
    stages = row.measured.stages
    config = pretrained.read_case(CASES[name], sources, seconds=SECONDS)[0].model
    expected = {"decode", "transform", "fuse", *config.modalities}
    expected |= {"labels"} if config.zero_shot is not None else set()
    expected |= {"transcribe"} if config.transcriber is not None else set()
    expected |= {"describe"} if config.captioner is not None else set()
    assert set(stages) == {PROCESSOR, ONE_THREAD, "two"}
    assert all(set(it) == expected for it in stages.values())
    assert row.measured.clip_seconds == pytest.approx(SECONDS, abs=0.05)
    assert row.num_parameters * 4 == pytest.approx(1e6 * row.megabytes, rel=0.9)


def test_every_source_of_a_case_is_one_whose_size_is_known(tmp_path: Path) -> None:
    for case in CASES.values():
        _, places = pretrained.read_case(case, tmp_path, seconds=SECONDS)
        assert places
        assert set(places) <= set(PUBLISHED)


def test_a_variant_has_another_encoder(sources: Path, clip: tuple[Path, Path]) -> None:
    recipe, places = pretrained.read_case(CASES["pretrained, DINOv2"], sources, seconds=SECONDS)
    assert set(places) == {"dinov2", "clap", "minilm"}
    assert recipe.model.video is not None
    assert recipe.model.video.pretrained is not None
    assert recipe.model.video.pretrained.source == str(sources / "dinov2")
    assert run(CASES["pretrained, DINOv2"], sources, clip, backend="eager").measured.num_windows >= 1


def test_the_real_time_factor_leaves_out_what_is_not_in_every_request() -> None:
    seconds = {"decode": 1.0, "video": 3.0, "fuse": 1.0, "labels": 9.0, "transcribe": 7.0}
    measured = Measured(500.0, 900.0, 400.0, 2.0, 8, 10.0, "float32", {"1 thread": seconds}, gpu_megabytes=77.0)
    assert measured.real_time_factor("1 thread") == 0.5
    output = io.StringIO()
    pretrained.show([Row("any", 12_000_000, 48.0, measured)], Console(file=output, width=200))
    assert "12.0" in output.getvalue()
    assert "(transcribe)" in output.getvalue()
    assert "0.50" in output.getvalue()
    assert "1.6" in output.getvalue()  # 8 windows in 5 s
