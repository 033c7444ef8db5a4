from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from models.checkpoint import load_checkpoint, tokenizer_files
from models.pretrained.label_tower import read_number
from models.pretrained.weights import quiet_transformers
from models.settings import SettingsError
from models.zero_shot import ZeroShotModel
from tests.pretrained_factory import tiny_bert, tiny_clap, tiny_clip, tiny_siglip
from tests.zero_shot import assembled, pipeline_of, recipe_values
from training.assemble import assemble
from training.recipe import Recipe
from training.train import train


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    with quiet_transformers():
        return tiny_clip(tmp_path_factory.mktemp("clip"))


def test_a_checkpoint_needs_its_sources_no_more(tmp_path: Path) -> None:
    with quiet_transformers():
        values = recipe_values(video=tiny_clip(tmp_path / "clip"), audio=tiny_clap(tmp_path / "clap"))
    folder = assembled(tmp_path / "made", values)
    for source in ("clip", "clap"):
        shutil.rmtree(tmp_path / source)
    checkpoint = load_checkpoint(folder)
    assert isinstance(checkpoint.model, ZeroShotModel)
    assert sorted(path.name for path in folder.iterdir()) == [
        *("model.json", "model.safetensors"),
        *sorted(tokenizer_files(checkpoint.description.config)),
    ]
    assert set(tokenizer_files(checkpoint.description.config)) == {"tokenizer-sight.json", "tokenizer-sound.json"}
    assert float(checkpoint.model.tower("sight").scale) == pytest.approx(14.285, abs=1e-2)
    assert checkpoint.description.training == {"command": "activity assemble"}
    saved = load_file(folder / "model.safetensors")
    assert {name.split(".")[0] for name in saved} == {"encoders", "towers"}


def test_siglip_is_compared_by_its_own_scale_and_bias(tmp_path: Path) -> None:
    with quiet_transformers():
        source = tiny_siglip(tmp_path / "siglip")
    model = load_checkpoint(assembled(tmp_path / "made", recipe_values(image=source))).model
    assert isinstance(model, ZeroShotModel)
    tower = model.tower("sight")
    assert tower.scoring == "sigmoid"
    assert float(tower.scale) == pytest.approx(float(read_number(source, "logit_scale").exp()))
    assert float(tower.bias) == pytest.approx(float(read_number(source, "logit_bias")))
    with pytest.raises(SettingsError, match="missing: logit_scale_a"):
        read_number(source, "logit_scale_a")


def test_towers_of_two_sources_must_fit(clip: Path, tmp_path: Path) -> None:
    with quiet_transformers():
        other = tiny_siglip(tmp_path / "siglip")
    values = recipe_values(image=clip)
    values["model"]["zero_shot"]["spaces"]["sight"]["text"]["source"] = str(other)
    values["model"]["image"]["pretrained"] = {"source": str(clip), "output": "embedding"}
    with pytest.raises(SettingsError, match="embeddings of image have 12 values, those of the text tower of sight 16"):
        assembled(tmp_path / "made", values)


def test_a_source_without_a_joint_space_is_refused(clip: Path, tmp_path: Path) -> None:
    with quiet_transformers():
        words = tiny_bert(tmp_path / "bert")
    values = recipe_values(image=clip)
    values["model"]["image"]["pretrained"] = {"source": str(clip), "output": "embedding"}
    values["model"]["zero_shot"]["spaces"]["sight"]["text"] = {"source": str(words), "output": "embedding"}
    with pytest.raises(SettingsError, match="has no embedding that words share"):
        assembled(tmp_path / "made", values)


def test_training_and_assembling_know_their_own_recipes(clip: Path, tmp_path: Path) -> None:
    recipe = Recipe.read(recipe_values(image=clip), source="recipe")
    with pytest.raises(SettingsError, match="activity assemble"):
        train(recipe, [], tmp_path, command="")
    trained = Recipe.read({"model": {"labels": ["a", "b"]}}, source="recipe")
    with pytest.raises(SettingsError, match="activity train"):
        assemble(trained, tmp_path, command="")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"weights": {"audio": 1.0}}, "weights names audio, which is in no space"),
        ({"none_label": "nothing"}, "none_label needs a none_threshold in each space: sight has none"),
        ({"labels": ["a  b"]}, "label 'a  b' must be written 'a b'"),
        ({"spaces": {"sight": {"modalities": ["image", "video"]}}}, "they name image, video, the model has image"),
        ({"spaces": {"sight": {"templates": ["{} {}"]}}}, "exactly one {}"),
        ({"spaces": {"sight": {"text": {"source": "x"}}}}, "text.output must be embedding"),
    ],
)
def test_recipes_that_make_no_sense(clip: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError, match=message.replace("{", r"\{").replace("}", r"\}")):
        Recipe.read(recipe_values(image=clip, **changes), source="recipe")


def test_the_words_of_a_clip_may_take_part(clip: Path, tmp_path: Path) -> None:
    values = recipe_values(image=clip)
    source = {"source": str(clip), "output": "embedding"}
    values["model"]["text"] = {"encoder": "pretrained", "pretrained": source}
    values["model"]["zero_shot"]["spaces"]["words"] = {"modalities": ["text"], "text": source}
    pipeline = pipeline_of(assembled(tmp_path, values))
    options = b'{"labels": ["stir the soup", "pour milk"], "top_k": 1}'
    (response,) = pipeline.respond([{"text": b"pour milk", "options": options}], ["1"])
    assert b'"activities":[{"label":"pour milk"' in response.body


def test_labels_that_compete_do_not_hold_at_once(clip: Path, tmp_path: Path) -> None:
    values = recipe_values(image=clip)
    values["model"]["head"] = {"task": "multi_label"}
    with pytest.raises(SettingsError, match="those of the space sight sum to 1"):
        assembled(tmp_path / "clip", values)
    with quiet_transformers():
        siglip = recipe_values(image=tiny_siglip(tmp_path / "source"))
    siglip["model"]["head"] = {"task": "multi_label"}
    assert (assembled(tmp_path / "siglip", siglip) / "model.safetensors").is_file()
