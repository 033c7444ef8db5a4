from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from models.checkpoint import CheckpointDescription, load_checkpoint, read_description, save_checkpoint
from models.config import ModelConfig
from models.settings import SettingsError
from tests.models.tiny import TINY, tiny_model, tiny_tokenizer

DESCRIPTION = CheckpointDescription(
    name="tiny", version="0.1", config=TINY, temperature=1.25, training={"seed": 3}, metrics={"accuracy": 0.97}
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save_checkpoint(tmp_path / "demo", DESCRIPTION, tiny_model(), tiny_tokenizer())
    return tmp_path / "demo"


@pytest.mark.parametrize("killed_at", range(5))
def test_what_a_stop_in_the_middle_leaves_is_the_old_one_or_none(
    folder: Path, monkeypatch: pytest.MonkeyPatch, killed_at: int
) -> None:
    changed = TINY.model_copy(update={"labels": ("pour", "stir", "chop")})  # the same shapes, other meanings
    old, number = (folder / "model.json").read_bytes(), 0

    def stop(doing: Any) -> Any:
        def step(*given: Any, **named: Any) -> Any:
            nonlocal number
            number += 1
            if number > killed_at:
                raise KeyboardInterrupt
            return doing(*given, **named)

        return step

    with monkeypatch.context() as patched:
        patched.setattr("models.checkpoint.save_file", stop(save_file))
        for name in ("unlink", "replace"):
            patched.setattr(Path, name, stop(getattr(Path, name)))
        with pytest.raises(KeyboardInterrupt):
            save_checkpoint(
                folder, DESCRIPTION.model_copy(update={"config": changed}), tiny_model(seed=1), tiny_tokenizer()
            )
    if killed_at <= 1:
        assert (folder / "model.json").read_bytes() == old
        weights = load_checkpoint(folder).model.state_dict()
        assert all(torch.equal(tensor, weights[name]) for name, tensor in tiny_model().state_dict().items())
    else:
        with pytest.raises(SettingsError, match="is no checkpoint"):
            load_checkpoint(folder)


def test_weights_that_find_no_room_are_said(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise SafetensorError("I/O error: No space left on device")

    monkeypatch.setattr("models.checkpoint.save_file", full)
    with pytest.raises(SettingsError, match=r"the weights cannot be written to .*: I/O error: No space left"):
        save_checkpoint(folder, DESCRIPTION, tiny_model(seed=1), tiny_tokenizer())
    assert load_checkpoint(folder).description == DESCRIPTION


def test_a_pretrained_models_folder_is_not_written_to(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(SettingsError, match="holds a pretrained model, whose weights"):
        save_checkpoint(tmp_path, DESCRIPTION, tiny_model(), tiny_tokenizer())
    assert [path.name for path in tmp_path.iterdir()] == ["config.json"]


class Planted:
    """Whoever unpickles this writes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.write_text, (self.path, "unpickled")


def test_what_is_saved_is_loaded_bit_for_bit(folder: Path) -> None:
    checkpoint = load_checkpoint(folder)
    saved, loaded = tiny_model().state_dict(), checkpoint.model.state_dict()
    assert saved.keys() == loaded.keys()
    for name, tensor in saved.items():
        assert loaded[name].dtype == tensor.dtype
        assert loaded[name].numpy().tobytes() == tensor.numpy().tobytes(), name
    assert not checkpoint.model.training
    assert checkpoint.description == DESCRIPTION
    assert checkpoint.tokenizer is not None
    assert checkpoint.tokenizer.to_str() == tiny_tokenizer().to_str()


def test_whoever_reads_one_file_reads_all(folder: Path) -> None:
    assert len({path.stat().st_mode for path in folder.iterdir()}) == 1


def test_a_checkpoint_of_another_seed_differs(folder: Path, tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "other", DESCRIPTION, tiny_model(seed=1), tiny_tokenizer())
    one, other = ((path / "model.safetensors").read_bytes() for path in (folder, tmp_path / "other"))
    assert one != other
    assert len(one) == len(other)


def test_saving_again_gives_the_same_files(folder: Path, tmp_path: Path) -> None:
    checkpoint = load_checkpoint(folder)
    save_checkpoint(tmp_path / "again", checkpoint.description, checkpoint.model, checkpoint.tokenizer)
    for name in ("model.safetensors", "model.json", "tokenizer.json"):
        assert (tmp_path / "again" / name).read_bytes() == (folder / name).read_bytes()


def test_a_model_without_text_has_no_tokenizer(tmp_path: Path) -> None:
    config = ModelConfig(labels=("a", "b"), width=16, video=None, text=None)
    save_checkpoint(tmp_path, CheckpointDescription(name="n", version="1", config=config), tiny_model(config), None)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model.json", "model.safetensors"]
    assert load_checkpoint(tmp_path).tokenizer is None


@pytest.mark.parametrize("writer", ["pickle", "torch"])
def test_a_pickle_in_the_weights_place_is_refused_and_not_unpickled(writer: str, folder: Path, tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    weights = folder / "model.safetensors"
    if writer == "pickle":
        weights.write_bytes(pickle.dumps({"weight": Planted(trace)}))
    else:
        torch.save({"weight": Planted(trace)}, weights)
    with pytest.raises(SettingsError, match=r"model\.safetensors does not fit model\.json"):
        load_checkpoint(folder)
    assert not trace.exists()
    if writer == "pickle":
        pickle.loads(weights.read_bytes())  # noqa: S301 (shows that the plant works)
    else:
        torch.load(weights, weights_only=False)
    assert trace.exists()


def test_pickles_beside_the_weights_are_not_looked_at(folder: Path, tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    for name in ("model.pt", "model.pkl", "pytorch_model.bin"):
        (folder / name).write_bytes(pickle.dumps(Planted(trace)))
    load_checkpoint(folder)
    assert not trace.exists()


def test_weights_that_do_not_fit_are_refused(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    name = "head.4.weight"
    cases = {
        "shape": {**weights, name: torch.zeros(4, 16)},
        "missing": {key: value for key, value in weights.items() if key != name},
        "surplus": {**weights, "another": torch.zeros(1)},
    }
    for case in cases.values():
        save_file(case, folder / "model.safetensors")
        with pytest.raises(SettingsError, match=r"model\.safetensors does not fit model\.json"):
            load_checkpoint(folder)
    save_file(weights, folder / "model.safetensors")
    load_checkpoint(folder)


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json", "model.json"])
@pytest.mark.parametrize("content", [None, b"", b"\x80\x04 no file of this kind", b"[]"])
def test_a_missing_or_broken_file_is_named(name: str, content: bytes | None, folder: Path) -> None:
    if content is None:
        (folder / name).unlink()
    else:
        (folder / name).write_bytes(content)
    with pytest.raises(SettingsError, match=name.replace(".", r"\.")):
        load_checkpoint(folder)


def test_a_tokenizer_with_more_entries_than_the_model_is_refused(folder: Path) -> None:
    values = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    vocabulary = values["model"]["vocab"]
    vocabulary.update({f"surplus{place}": len(vocabulary) + place for place in range(65 - len(vocabulary))})
    (folder / "tokenizer.json").write_text(json.dumps(values), encoding="utf-8")
    with pytest.raises(SettingsError, match=r"tokenizer\.json has 65 entries, the model of model\.json knows 64"):
        load_checkpoint(folder)


def test_a_description_with_an_unknown_key_names_the_known_ones(folder: Path) -> None:
    values = json.loads((folder / "model.json").read_text(encoding="utf-8"))
    values["config"]["video"]["fps"] = 25
    (folder / "model.json").write_text(json.dumps(values), encoding="utf-8")
    with pytest.raises(SettingsError, match=r"unknown key 'config\.video\.fps' \(known keys: channels, crop, depth,"):
        read_description(folder)
