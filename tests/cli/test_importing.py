from __future__ import annotations

from pathlib import Path

from typer.testing import CliRunner

from cli.app import app
from tests.training.importers.test_grid import publish
from training.manifest import read_manifest


def test_import_says_what_to_do_next(tmp_path: Path) -> None:
    (tmp_path / "esc10.csv").write_text("audio,label,fold\n1-100-A.ogg,rain,1\n", encoding="utf-8")
    (tmp_path / "1-100-A.ogg").write_bytes(b"")
    result = CliRunner().invoke(app, ["import", "esc10", str(tmp_path), str(tmp_path / "out")])
    assert result.exit_code == 0
    assert "activity crossval config/recipes/esc10.yaml" in " ".join(result.output.split())
    assert read_manifest(tmp_path / "out" / "manifest.jsonl")[0].group == "100"


def test_import_of_grid_leads_to_the_words_recipe(tmp_path: Path) -> None:
    publish(tmp_path / "in", "bbaf2n")
    options = [str(tmp_path / "in"), str(tmp_path / "out"), "--word", "digit"]
    result = CliRunner().invoke(app, ["import", "grid", *options])
    assert result.exit_code == 0
    assert "activity train config/recipes/grid-digit.yaml" in " ".join(result.output.split())
    assert read_manifest(tmp_path / "out" / "manifest.jsonl")[0].label == "two"


def test_import_names_the_datasets_it_knows(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["import", "urbansound", str(tmp_path), str(tmp_path / "out")])
    assert result.exit_code == 2
    assert "esc10" in result.output
