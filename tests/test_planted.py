"""A pickle planted wherever something is loaded is refused, and never unpickled."""

from __future__ import annotations

import pickle
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
import torch
from transformers import WhisperForConditionalGeneration

from cli.archive import build_archive
from cli.errors import CommandError
from handler.pipeline import ActivityPipeline
from handler.runtime import choose_runtime
from handler.side import load_side_model
from models.checkpoint import load_checkpoint
from models.pretrained.build import build_pretrained
from models.pretrained.config import PretrainedConfig
from models.pretrained.resolve import load_source, resolve_source
from models.settings import SettingsError
from retrieval.errors import IndexUnusable
from retrieval.store import STORE_FILE, EmbeddedWindow, open_store
from tests import side_factory
from tests.cli.checkpoints import write_tiny_checkpoint
from tests.planted import FORMS, zipped_pickle
from tests.pretrained_factory import tiny_bert
from training.loop import RESUME_FILE
from training.train import _find_state

Form = Callable[[Path], bytes]
BESIDE = ("pytorch_model.bin", "model.pt", "model.pkl", "model.ckpt", "training_args.bin", "data.pkl", "vocab.pkl")
"""Where others keep pickles."""

UNPICKLING = ("pickle.load", "Unpickler", "allow_pickle=True", "joblib", "marshal.load", "yaml.load(", "code=True")


@pytest.fixture
def mark(tmp_path: Path) -> Path:
    return tmp_path / "mark"


@pytest.mark.parametrize("form", FORMS)
def test_unpickling_one_leaves_the_mark(mark: Path, form: Form, tmp_path: Path) -> None:
    """So that the others know to see it."""
    (tmp_path / "file").write_bytes(form(mark))
    with suppress(Exception):
        pickle.loads((tmp_path / "file").read_bytes())  # noqa: S301 - it is this test's own
    with suppress(Exception):
        torch.load(tmp_path / "file", weights_only=False)
    assert mark.exists()


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_checkpoint(tmp_path_factory.mktemp("checkpoint"))


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_bert(tmp_path_factory.mktemp("bert"))


@pytest.fixture(scope="module")
def whisper(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return side_factory.tiny_whisper(tmp_path_factory.mktemp("whisper"))


def copied(folder: Path, to: Path) -> Path:
    return Path(shutil.copytree(folder, to / "planted"))


def load_words(folder: Path) -> None:
    config = resolve_source("text", PretrainedConfig(source=str(folder)))
    load_source(build_pretrained("text", config, width=8), config)


def load_transcriber(folder: Path) -> None:
    load_side_model(WhisperForConditionalGeneration, folder, choose_runtime(None))


LOADERS = {
    "checkpoint": (load_checkpoint, {"model.safetensors", "model.json", "tokenizer.json"}),
    "words": (load_words, {"model.safetensors", "config.json", "tokenizer.json"}),
    "whisper": (load_transcriber, {"model.safetensors", "config.json"}),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", LOADERS)
def test_in_place_of_each_file_of_a_model(
    name: str, form: Form, mark: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    whole: Path = request.getfixturevalue(name)
    load, needed = LOADERS[name]
    load(copied(whole, tmp_path / "control"))
    refused = set()
    for file in sorted(path.name for path in whole.iterdir()):
        folder = copied(whole, tmp_path / file)
        (folder / file).write_bytes(form(mark))
        try:
            load(folder)
        except SettingsError:
            refused.add(file)
        assert not mark.exists(), file
    assert needed <= refused


@pytest.mark.parametrize("name", LOADERS)
def test_beside_a_models_files_and_in_place_of_its_weights(
    name: str, mark: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    load, _ = LOADERS[name]
    folder = copied(request.getfixturevalue(name), tmp_path)
    for file in BESIDE:
        (folder / file).write_bytes(zipped_pickle(mark))
    load(folder)
    (folder / "model.safetensors").unlink()
    with pytest.raises(SettingsError):
        load(folder)
    assert not mark.exists()


@pytest.mark.parametrize("form", FORMS)
def test_in_an_archive(checkpoint: Path, mark: Path, tmp_path: Path, form: Form) -> None:
    folder = copied(checkpoint, tmp_path)
    (folder / "model.safetensors").write_bytes(form(mark))
    with pytest.raises(CommandError):
        build_archive(folder, tmp_path / "a.mar")
    with pytest.raises(SettingsError):  # what the handler calls in the unpacked archive
        ActivityPipeline.from_checkpoint(folder)
    assert not mark.exists()


@pytest.mark.parametrize("form", FORMS)
def test_in_an_index(mark: Path, tmp_path: Path, form: Form) -> None:
    with open_store(tmp_path, write=True) as store:
        vectors = {("joint", "audio"): torch.ones(4).numpy()}
        store.replace_file("a", "stamp", [EmbeddedWindow(0.0, 1.0, vectors)])
    for table, column in (("vectors", "vector"), ("files", "name"), ("files", "stamp"), ("meta", "value")):
        with sqlite3.connect(tmp_path / STORE_FILE) as connection:
            connection.execute(f"UPDATE {table} SET {column} = ?", (form(mark),))  # noqa: S608
        connection.close()
        with suppress(IndexUnusable), open_store(tmp_path) as store:
            store.stamps()
            store.vectors(("joint", "audio"))
            store.moments()
    (tmp_path / STORE_FILE).write_bytes(form(mark))
    with pytest.raises(IndexUnusable), open_store(tmp_path):
        pass
    assert not mark.exists()


@pytest.mark.parametrize("form", FORMS)
def test_in_the_state_of_a_training(mark: Path, tmp_path: Path, form: Form) -> None:
    (tmp_path / RESUME_FILE).write_bytes(form(mark))
    with pytest.raises(SettingsError, match="is no state of a training"):
        _find_state(tmp_path, "key")
    assert not mark.exists()


def test_no_code_loads_a_pickle_without_saying_weights_only() -> None:
    """What calls ``torch.load`` says ``weights_only=True``, and nothing calls what else unpickles."""
    project = Path(__file__).parents[1]
    packages = ("handler", "models", "training", "retrieval", "client", "cli", "benchmarks")
    for path in (path for package in packages for path in (project / package).rglob("*.py")):
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
            where = f"{path.relative_to(project)}:{number}"
            assert "torch.load(" not in line or "weights_only=True" in line, where
            for name in (
                "pickle.load",
                "pickle.Unpickler",
                "allow_pickle=True",
                "joblib",
                "marshal.load",
                "yaml.load(",
            ):
                assert name not in line, where
            assert "trust_remote_code=True" not in line, where
