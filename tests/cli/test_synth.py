from __future__ import annotations

from pathlib import Path

from typer.testing import CliRunner

from cli.app import app
from cli.errors import CommandError
from training.manifest import read_manifest


def test_a_dataset_is_replaced_only_by_force(tmp_path: Path) -> None:
    runner = CliRunner()
    command = ["synth", str(tmp_path), "--jobs", "1", "--seed", "3"]
    assert runner.invoke(app, [*command, "--clips", "2"]).exit_code == 0
    refused = runner.invoke(app, [*command, "--clips", "1"])
    assert isinstance(refused.exception, CommandError)
    assert "--force" in refused.exception.remedy
    assert len(read_manifest(tmp_path / "manifest.jsonl")) == 2
    assert runner.invoke(app, [*command, "--clips", "1", "--force"]).exit_code == 0
    assert len(list((tmp_path / "clips").iterdir())) == 2  # one clip and its words
