"""Beginning with a checkpoint: what is taken, what stays frozen, and tokens that are computed only once."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from handler.transform import Transforms
from models.config import ModelConfig
from models.encoder_config import VectorConfig
from models.model import build_model
from models.settings import SettingsError
from models.tokenizer import train_tokenizer
from tests.training.clips import TINY, decode_once
from training.dataset import LabelledClip, RunDataset, gather_contents, stack_runs
from training.encoding import Cached
from training.initial import adopt_statistics, take_weights
from training.learner import Learner
from training.recipe import Recipe
from training.tokens import encode_contents, may_cache
from training.train import Initial, Watch, train

FROZEN = [{"name": "fusion", "epochs": 2, "freeze": "all"}]


def make_recipe(model: ModelConfig = TINY, **sections: Any) -> Recipe:
    training = {"clips_per_batch": 3, "hops_per_run": 5, "seed": 5, "epochs": 1}
    values = {"model": model.model_dump(mode="json"), "training": training, **sections}
    return Recipe.read(values, source="r")


@pytest.fixture(scope="module")
def begun(tiny_manifest: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint to begin with."""
    output = tmp_path_factory.mktemp("begun")
    train(make_recipe(), tiny_manifest, output, command="c", decode=decode_once)
    return output


def weights_of(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")


def test_a_fusion_is_trained_on_frozen_encoders_whose_tokens_are_computed_once(
    begun: Path, tiny_manifest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []
    model_class = type(build_model(TINY))
    encode = model_class.encode

    def counted(model: Any, name: str, *inputs: torch.Tensor) -> torch.Tensor:
        calls.append(name)
        return encode(model, name, *inputs)

    said: list[str] = []
    in_training: list[int] = []
    step = Learner.training_step

    def training_step(learner: Learner, batch: Any, index: int) -> torch.Tensor:
        before = len(calls)
        loss = step(learner, batch, index)
        in_training.append(len(calls) - before)
        return loss

    monkeypatch.setattr(model_class, "encode", counted)
    monkeypatch.setattr(Learner, "training_step", training_step)
    recipe = make_recipe(curriculum=FROZEN)
    begin = Initial(begun, encoders_only=True)
    train(recipe, tiny_manifest, tmp_path, command="c", initial=begin, watch=Watch(say=said.append), decode=decode_once)
    assert in_training == [0] * 6
    before, after = weights_of(begun), weights_of(tmp_path)
    for name, tensor in after.items():
        assert torch.equal(tensor, before[name]) == name.startswith("encoders."), name
    assert (tmp_path / "tokenizer.json").read_bytes() == (begun / "tokenizer.json").read_bytes()
    count = sum(name.startswith("encoders.") for name in after)
    assert said[0].endswith(f": {count} of {len(after)} tensors, with the encoders of video, audio, text")
    record = json.loads((tmp_path / "model.json").read_text(encoding="utf-8"))["training"]
    assert record["initial"]["checkpoint"] == str(begun)
    assert record["curriculum"] == [{"name": "fusion", "epochs": 2, "freeze": "all"}]


def test_cached_tokens_are_what_the_encoders_give(tiny_clips: list[LabelledClip]) -> None:
    torch.manual_seed(0)
    transforms = Transforms(TINY, train_tokenizer(["hello there", "good bye"] * 2, 96))
    model = build_model(TINY)
    recipe = make_recipe(curriculum=FROZEN)
    raw = gather_contents(tiny_clips, transforms)
    tokens = encode_contents(model, transforms, raw, torch.device("cpu"))
    logits = []
    for contents, encoded in ((raw, False), (tokens, True)):
        dataset = RunDataset(tiny_clips, transforms, hops_per_run=6, seed=0, contents=contents)
        batch = stack_runs([dataset[index] for index in range(6)])
        learner = Learner(model, transforms, recipe, steps_per_epoch=1, cached=Cached(tokens=encoded)).eval()
        with torch.no_grad():
            logits.append(learner(batch, [batch.masks])[0])
    torch.testing.assert_close(logits[0], logits[1], rtol=0, atol=1e-5)
    assert logits[0].std() > 1e-3


def test_tokens_are_kept_only_where_they_never_change() -> None:
    assert may_cache(make_recipe(curriculum=FROZEN))
    assert may_cache(make_recipe(curriculum=[{"name": "f", "epochs": 1, "freeze": ["text", "audio", "video"]}]))
    assert not may_cache(make_recipe(curriculum=[*FROZEN, {"name": "all", "epochs": 1}]))
    assert not may_cache(make_recipe(curriculum=FROZEN, augmentation={"text": {"word_dropout": 0.1}}))
    assert not may_cache(make_recipe(curriculum=FROZEN, training={"mixup_alpha": 0.2}))
    assert not may_cache(make_recipe())


def test_what_fits_by_name_and_shape_is_taken() -> None:
    assert TINY.audio is not None
    other = TINY.model_copy(update={"audio": TINY.audio.model_copy(update={"channels": (4, 12)}), "text": None})
    torch.manual_seed(0)
    source, model = build_model(TINY), build_model(other)
    untouched = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    taken = take_weights(model, source)
    assert taken.encoders == ("video",)
    left = set(taken.left)
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, untouched[name] if name in left else source.state_dict()[name])
    assert {name for name in left if name.startswith("encoders.audio")}
    assert taken.tensors == len(untouched) - len(left)
    assert taken.model_tensors == len(untouched)


def test_without_the_checkpoint_s_encoder_nothing_is_frozen_for_good(
    begun: Path, tiny_manifest: Path, tmp_path: Path
) -> None:
    assert TINY.audio is not None
    other = TINY.model_copy(update={"audio": TINY.audio.model_copy(update={"channels": (4, 12)})})
    recipe = make_recipe(other, curriculum=FROZEN)
    with pytest.raises(SettingsError, match="the recipe freezes audio in every stage, but no checkpoint gives"):
        train(recipe, tiny_manifest, tmp_path, command="c", initial=Initial(begun), decode=decode_once)


def test_the_statistics_of_the_checkpoint_are_kept() -> None:
    imu = VectorConfig(channels=2, rate_hz=50.0)
    learned = imu.model_copy(update={"mean": (1.0, 2.0), "std": (3.0, 4.0)})
    fitted = imu.model_copy(update={"mean": (9.0, 9.0), "std": (9.0, 9.0)})
    source = TINY.model_copy(update={"vectors": {"imu": learned}})
    adopted = adopt_statistics(TINY.model_copy(update={"vectors": {"imu": fitted, "gyro": fitted}}), source)
    assert adopted.vectors == {"imu": learned, "gyro": fitted}
