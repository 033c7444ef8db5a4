from __future__ import annotations

from pathlib import Path

import pytest
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


@pytest.mark.parametrize(("kind", "recipe"), [("events", "events"), ("sentiment", "sentiment"), ("moments", "towers")])
def test_other_kinds(tmp_path: Path, kind: str, recipe: str) -> None:
    result = CliRunner().invoke(app, ["synth", str(tmp_path), "--kind", kind, "--clips", "1", "--jobs", "1"])
    assert result.exit_code == 0
    assert f"config/recipes/{recipe}.yaml" in result.output
    (entry,) = read_manifest(tmp_path / "manifest.jsonl")
    assert entry.labels


def test_tracks_and_labels(tmp_path: Path) -> None:
    options = ["--clips", "1", "--jobs", "1", "--tracks", "depth, imu", "--labels", "sound,motion"]
    result = CliRunner().invoke(app, ["synth", str(tmp_path), *options])
    assert result.exit_code == 0
    assert "config/recipes/imu.yaml" in result.output
    (entry,) = read_manifest(tmp_path / "manifest.jsonl")
    assert sorted(entry.files) == ["clip", "depth", "imu", "text"]
    assert set(entry.labels) <= {"wave_rise", "wave_fall", "bounce_rise", "bounce_fall"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--tracks", "gps"], "--tracks names gps"),
        (["--labels", "motion,smell"], "--labels names smell"),
        (["--labels", ""], "--labels names nothing"),
        (["--kind", "events", "--tracks", "imu"], "--tracks and --labels are not for events"),
        (["--kind", "sentiment", "--labels", "motion"], "--tracks and --labels are not for sentiment"),
    ],
)
def test_options_that_cannot_be_used(tmp_path: Path, options: list[str], message: str) -> None:
    result = CliRunner().invoke(app, ["synth", str(tmp_path), *options])
    assert isinstance(result.exception, CommandError)
    assert message in result.exception.message
    assert not list(tmp_path.iterdir())
