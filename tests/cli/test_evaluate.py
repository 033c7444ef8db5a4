"""The command from end to end, on the tiny model and one clip, and its tables on 80 columns."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner

from cli.app import app
from cli.errors import CommandError
from cli.evaluation_tables import show_evaluation
from handler.segments import Task
from models.checkpoint import load_checkpoint
from tests.cli.checkpoints import write_tiny_checkpoint
from tests.media import Sound, render
from tests.training.report.results import make_result
from training.manifest import ManifestEntry, write_manifest


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    """Two sounds of one label each, for testing."""
    label = load_checkpoint(write_tiny_checkpoint(tmp_path / "checkpoint")).description.config.labels[0]
    entries = []
    for name in ("one", "two"):
        (tmp_path / f"{name}.wav").write_bytes(render("wav", Sound(codec="pcm_s16le")))
        entries.append(ManifestEntry(None, None, tmp_path / f"{name}.wav", (), "test", label=label))
    write_manifest(tmp_path / "manifest.jsonl", entries)
    return tmp_path / "manifest.jsonl"


def test_json_page_and_tables(manifest: Path) -> None:
    folder = manifest.parent
    command = ["evaluate", "--checkpoint", str(folder / "checkpoint"), "--data", str(manifest), "--split", "test"]
    options = [
        "-o",
        str(folder / "new" / "figures.json"),
        "--report",
        str(folder / "page"),
        "--robustness",
        "--latency",
    ]
    result = CliRunner(env={"COLUMNS": "80"}).invoke(app, [*command, *options])
    assert result.exit_code == 0, result.output
    figures = json.loads((folder / "new" / "figures.json").read_text(encoding="utf-8"))
    assert (figures["num_clips"], figures["model"]) == (2, "tiny 0.1")
    assert figures["latency"]["num_clips"] == 2
    assert f"{figures['subsets'][-1]['accuracy']['value']:.1%}" in result.stdout
    assert {path.name for path in (folder / "page").iterdir()} == {"report.html", "report.png"}

    wrong = CliRunner().invoke(app, [*command[:-1], "val"])
    assert isinstance(wrong.exception, CommandError)
    assert "no clip of split 'val'; it has test" in wrong.exception.message


@pytest.mark.parametrize("task", ["single_label", "multi_label"])
def test_tables_fit_80_columns(task: Task) -> None:
    console = Console(width=80)
    with console.capture() as shown:
        show_evaluation(make_result(task=task, num_labels=30, modalities=("video", "audio", "text")), console)
    text = shown.get()
    assert max(map(len, text.splitlines())) <= 80
    assert "…" not in text
    assert ("mAP" if task == "multi_label" else "accuracy") in text
    assert re.search(r"of \d+ the 20 of the lowest F1", text)
    assert "p = 0.9" in text
    assert "-10 dB" in text
    assert "400.0 ms" in text
