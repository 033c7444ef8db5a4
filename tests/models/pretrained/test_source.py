"""Sources: folders, the hub's cache as the hub's library lays it out, and a hub that nobody reaches."""

from __future__ import annotations

import json
import pickle
import re
import shutil
import time
from pathlib import Path

import pytest
import torch
from huggingface_hub import constants
from huggingface_hub.utils import close_session
from transformers import BertConfig, BertModel

from models.pretrained.source import check_folder, find_source, weight_files
from models.settings import SettingsError

NAME, COMMIT = "someone/tiny-bert", "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model whose weights stand in several files."""
    folder = tmp_path_factory.mktemp("bert")
    torch.manual_seed(0)
    config = BertConfig(vocab_size=64, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32)
    BertModel(config).save_pretrained(folder, max_shard_size="8KB")
    return folder


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty hub cache; the hub itself is an address at which nobody listens."""
    folder = tmp_path / "hub"
    folder.mkdir()
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(folder))
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    return folder


def fill(cache: Path, bert: Path) -> Path:
    """Lay the model into the cache as the hub's library does: blobs, and links to them in the commit's snapshot."""
    repository = cache / f"models--{NAME.replace('/', '--')}"
    snapshot = repository / "snapshots" / COMMIT
    snapshot.mkdir(parents=True)
    (repository / "blobs").mkdir()
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(COMMIT)
    for path in bert.iterdir():
        shutil.copyfile(path, repository / "blobs" / f"blob-{path.name}")
        (snapshot / path.name).symlink_to(Path("..", "..", "blobs", f"blob-{path.name}"))
    return snapshot


def test_a_folder_is_its_own_source(bert: Path) -> None:
    assert find_source(str(bert), None) == bert
    names = weight_files(bert)
    assert len(names) > 2
    loaded = BertModel.from_pretrained(bert, use_safetensors=True, local_files_only=True)
    assert sum(parameter.numel() for parameter in loaded.parameters()) > 0


def test_the_cache_gives_a_pinned_name(cache: Path, bert: Path) -> None:
    snapshot = fill(cache, bert)
    assert find_source(NAME, COMMIT) == snapshot


def test_the_cache_needs_no_network(cache: Path, bert: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(cache, bert)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert find_source(NAME, COMMIT).name == COMMIT


def test_another_commit_is_not_what_the_cache_holds(cache: Path, bert: Path) -> None:
    fill(cache, bert)
    with pytest.raises(SettingsError, match="cannot be reached"):
        find_source(NAME, COMMIT[::-1])


@pytest.mark.parametrize("revision", [None, "main", COMMIT[:7], COMMIT.upper()])
def test_a_name_needs_its_commit(cache: Path, bert: Path, revision: str | None) -> None:
    fill(cache, bert)
    with pytest.raises(SettingsError, match="the commit, 40 hexadecimal digits"):
        find_source(NAME, revision)


@pytest.mark.parametrize("lost", ["config.json", "model.safetensors.index.json", "shard"])
def test_a_cache_that_is_not_whole_is_noticed(cache: Path, bert: Path, lost: str) -> None:
    snapshot = fill(cache, bert)
    (snapshot / (weight_files(bert)[1] if lost == "shard" else lost)).unlink()
    with pytest.raises(SettingsError, match="does not have all of it"):
        find_source(NAME, COMMIT)


def test_a_link_that_leads_nowhere_is_noticed(cache: Path, bert: Path) -> None:
    snapshot = fill(cache, bert)
    (snapshot / weight_files(bert)[0]).resolve().unlink()
    with pytest.raises(SettingsError, match="does not have all of it"):
        find_source(NAME, COMMIT)


def test_an_unreachable_hub_is_said_at_once_and_without_noise(
    cache: Path, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    began = time.monotonic()
    with pytest.raises(SettingsError, match=f"activity fetch {NAME} --revision {COMMIT}"):
        find_source(NAME, COMMIT)
    assert time.monotonic() - began < 4.0
    assert capfd.readouterr().err == ""
    assert not caplog.records
    assert not any(cache.iterdir())


@pytest.mark.usefixtures("cache")
def test_offline_is_named_as_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    close_session()  # the library's sessions read it when they are made
    try:
        with pytest.raises(SettingsError, match="HF_HUB_OFFLINE is set"):
            find_source(NAME, COMMIT)
    finally:
        close_session()


@pytest.mark.usefixtures("cache")
def test_a_folder_that_was_not_fetched_yet_is_thought_of() -> None:
    with pytest.raises(SettingsError, match=r"If a folder was meant, `activity fetch NAME .* --output weights/clip`"):
        find_source("weights/clip", None)


def test_neither_a_folder_nor_a_name(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="is no folder"):
        find_source(str(tmp_path / "nothing"), None)


class Mark:
    """Unpickled, it makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (_leave_mark, (str(self.path),))


def _leave_mark(path: str) -> None:
    Path(path).touch()


def test_a_pickle_is_refused_and_never_runs(bert: Path, tmp_path: Path) -> None:
    folder, mark = tmp_path / "pickled", tmp_path / "mark"
    folder.mkdir()
    shutil.copyfile(bert / "config.json", folder / "config.json")
    with (folder / "pytorch_model.bin").open("wb") as file:
        pickle.dump(Mark(mark), file)
    with pytest.raises(SettingsError, match="Only safetensors are loaded"):
        find_source(str(folder), None)
    assert not mark.exists()
    pickle.loads((folder / "pytorch_model.bin").read_bytes())  # noqa: S301 - it is ours, and shows that it would run
    assert mark.exists()


@pytest.mark.parametrize(
    ("index", "message"),
    [
        ("no json", "is no index of weights"),
        ("{}", "is no index of weights"),
        ("[]", "is no index of weights"),
        (json.dumps({"weight_map": {}}), "must name safetensors files beside it"),
        (json.dumps({"weight_map": {"a": "../a.safetensors"}}), "must name safetensors files beside it"),
        (json.dumps({"weight_map": {"a": "pytorch_model.bin"}}), "must name safetensors files beside it"),
        (json.dumps({"weight_map": {"a": "model-00001-of-00002.safetensors"}}), "is not whole"),
    ],
)
def test_an_index_names_files_beside_it(tmp_path: Path, index: str, message: str) -> None:
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "model.safetensors.index.json").write_text(index)
    with pytest.raises(SettingsError, match=re.escape(message)):
        check_folder(tmp_path)
