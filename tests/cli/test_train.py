"""The commands that train: what they hand on, what they write, and what they refuse."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from cli.crossval import crossval
from cli.errors import CommandError
from cli.split import split
from cli.train import _without_option, train
from tests.training.clips import TINY, render_tiny
from training.manifest import read_manifest, write_manifest

RECIPE = {
    "model": {**TINY.model_dump(mode="json"), "text": None, "video": None},
    "training": {"epochs": 1, "clips_per_batch": 3, "hops_per_run": 5},
}


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return render_tiny(tmp_path_factory.mktemp("clips"))


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.yaml"
    path.write_text(yaml.safe_dump(RECIPE), encoding="utf-8")
    return path


def test_every_fold_is_trained_and_tested(
    manifest: Path, recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["activity", "crossval", "tiny.yaml"])
    output = tmp_path / "folds"
    crossval(recipe, manifest, output, folds=2, val=0.3, seed=0, jobs=1)
    record = json.loads((output / "crossval.json").read_text(encoding="utf-8"))
    assert (record["command"], record["measure"]) == ("activity crossval tiny.yaml", "window_accuracy")
    folds = record["folds"]
    assert [(fold["fold"], fold["train_clips"], fold["val_clips"], fold["test_clips"]) for fold in folds] == [
        (1, 2, 1, 3),
        (2, 2, 1, 3),
    ]
    one, two = (fold["window_accuracy"] for fold in folds)
    assert record["mean"] == pytest.approx((one + two) / 2, abs=1e-4)
    assert record["spread"] == pytest.approx(abs(one - two) / 2**0.5, abs=1e-4)
    assert all(fold["clip_accuracy"] is None for fold in folds)  # two activities a clip
    assert all((output / f"fold-{fold}" / "model.safetensors").is_file() for fold in (1, 2))
    assert "over 2 folds" in capsys.readouterr().out


def test_clips_are_dealt(manifest: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = manifest.with_name("split.jsonl")
    split(manifest, output, val=0.2, test=0.3, seed=0)
    splits = [str(entry.split) for entry in read_manifest(output)]
    assert sorted(splits) == ["test", "test", "train", "train", "train", "val"]
    assert "3 train, 1 val, 2 test clips" in capsys.readouterr().err
    with pytest.raises(CommandError, match="leave nothing to learn from"):
        split(manifest, output, val=0.5, test=0.5, seed=0)


def test_a_test_clip_is_not_trained_on(manifest: Path, recipe: Path, tmp_path: Path) -> None:
    """It is not even read: this one's file is no media."""
    entries = read_manifest(manifest)
    (manifest.parent / "broken.mp4").write_bytes(b"no container")
    entries[0] = type(entries[0])(manifest.parent / "broken.mp4", None, None, entries[0].segments, "test")
    listed = manifest.with_name("with-test.jsonl")
    write_manifest(listed, entries)
    train(recipe, listed, tmp_path / "out")
    record = json.loads((tmp_path / "out" / "model.json").read_text(encoding="utf-8"))
    assert record["training"]["clips"] == 3


def test_several_processes_are_started_by_torchrun(
    manifest: Path, recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[list[str]] = []

    class Ended:
        returncode = 3

    def run(command: list[str], **_: Any) -> Ended:
        started.append(command)
        return Ended()

    monkeypatch.setattr("cli.train.subprocess.run", run)
    monkeypatch.setattr(sys, "argv", ["activity", "train", "r.yaml", "--processes", "2", "--resume"])
    with pytest.raises(CommandError, match="in 2 processes ended with code 3"):
        train(recipe, manifest, tmp_path / "out", processes=2)
    assert started[0][-8:] == ["--standalone", "--nproc-per-node", "2", "-m", "cli.app", "train", "r.yaml", "--resume"]
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("given", [["--processes", "2"], ["--processes=2"]])
def test_the_option_is_not_handed_on(given: list[str]) -> None:
    assert _without_option(["train", *given, "r.yaml"], "--processes") == ["train", "r.yaml"]


def test_only_encoders_of_what(manifest: Path, recipe: Path, tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="says what is taken from a checkpoint"):
        train(recipe, manifest, tmp_path / "out", encoders_only=True)


def test_a_checkpoint_is_replaced_only_by_force(manifest: Path, recipe: Path, tmp_path: Path) -> None:
    output = tmp_path / "mine"
    output.mkdir()
    (output / "model.json").write_text("{}", encoding="utf-8")
    with pytest.raises(CommandError, match="holds a checkpoint already") as refused:
        train(recipe, manifest, output)
    assert "--force" in refused.value.remedy
    assert (output / "model.json").read_text(encoding="utf-8") == "{}"
