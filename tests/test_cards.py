"""docs/cards.md has a card for each shipped recipe with pretrained parts, which says what its users must know."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import typer.main

from benchmarks.pretrained import find_cases, read_case
from benchmarks.published import PUBLISHED
from cli.app import app

ROOT = Path(__file__).resolve().parent.parent
TEXT = (ROOT / "docs/cards.md").read_text(encoding="utf-8")
CARDS = dict(re.findall(r"^## `([\w-]+)`\n(.*?)(?=^## |\Z)", TEXT, flags=re.MULTILINE | re.DOTALL))
TABLE = [row.split("|")[1:-1] for row in TEXT.splitlines() if row.startswith("| `")]
ROWS = {cells[0].strip(" `"): cells for cells in TABLE}
RECIPES = {case.name: case for case in find_cases() if not case.instead}
COMMANDS = [line for line in TEXT.splitlines() if line.startswith("activity ")]
PARTS = ("Checkpoints", "Licence", "Memory", "Real-time factor", "Good at", "Bad at", "Each moment")


def sources_of(name: str) -> set[str]:
    """The last parts of the folders in which a recipe seeks its sources."""
    return set(read_case(RECIPES[name], Path("weights"), seconds=1.0)[1])


def header_of(name: str) -> str:
    """The comment at the head of a recipe, as one line."""
    lines = RECIPES[name].recipe.read_text(encoding="utf-8").splitlines()
    return " ".join(line.removeprefix("# ") for line in lines if line.startswith("#"))


def test_each_recipe_with_pretrained_parts_has_its_card() -> None:
    assert set(CARDS) == set(RECIPES)


@pytest.mark.parametrize("name", sorted(CARDS))
def test_a_card_has_all_its_parts(name: str) -> None:
    said = dict(re.findall(r"^- \*\*(.+?)\*\*: (.*?)(?=^- \*\*|^```|\Z)", CARDS[name], flags=re.MULTILINE | re.DOTALL))
    assert set(PARTS) <= set(said)
    for source in sources_of(name):
        _, hub, _, licence, *_ = (cell.strip() for cell in ROWS[source])
        assert hub in said["Checkpoints"]
        assert licence in said["Licence"]
    assert re.search(r"\d MB", said["Memory"])
    assert re.search(r"\b\d+\.\d+\b", said["Real-time factor"])
    assert re.search(r"^activity (train|assemble) config/recipes/" + name + r"\.yaml", CARDS[name], flags=re.MULTILINE)


@pytest.mark.parametrize("name", sorted(CARDS))
def test_a_recipe_says_where_each_source_comes_from(name: str) -> None:
    header = header_of(name)
    for source in sources_of(name):
        hub = PUBLISHED[source].name
        revision = "" if hub.startswith("torchvision:") else " --revision (COMMIT|[0-9a-f]{40})"
        assert re.search(rf"activity fetch {re.escape(hub)}{revision} --output weights/{source}\b", header)
        if "non-commercial" in ROWS[source][3]:
            assert "non-commercial" in header


@pytest.mark.parametrize("source", sorted({source for name in RECIPES for source in sources_of(name)}))
def test_the_table_has_each_source_with_its_size(source: str) -> None:
    _, hub, parameters, licence, *_ = (cell.strip() for cell in ROWS[source])
    assert hub == PUBLISHED[source].name
    assert parameters == f"{PUBLISHED[source].num_parameters / 1e6:.1f}"
    assert licence


@pytest.mark.parametrize("line", COMMANDS)
def test_each_command_parses(line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("CLIP").touch()
    _, name, *arguments = shlex.split(line.split("  #", maxsplit=1)[0])
    group = typer.main.get_command(app)
    command = group.get_command(group.make_context("activity", [name], resilient_parsing=True), name)  # type: ignore[attr-defined]
    assert command is not None
    command.make_context(name, arguments)
