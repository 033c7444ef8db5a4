"""SECURITY.md names tests, each of which is there."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
TEXT = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
NAMED = sorted(set(re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", TEXT)))
PROMISED = TEXT.split("\n## Promised\n")[1].split("\n## ")[0]


@pytest.mark.parametrize(("path", "name"), NAMED)
def test_each_named_test_is_there(path: str, name: str) -> None:
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    assert name in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


def test_each_promise_names_its_test() -> None:
    promises = re.split(r"^- ", PROMISED, flags=re.MULTILINE)[1:]
    assert len(promises) > 12
    assert [promise for promise in promises if "::test_" not in promise] == []


def test_each_name_is_written_so_that_it_is_found() -> None:
    assert len(re.findall(r"::test_", TEXT)) == len(re.findall(r"`tests/[\w/]+\.py::test_\w+`", TEXT))


def test_each_attack_that_it_names_is_a_script() -> None:
    table = TEXT.split("\n## Attack it yourself\n")[1].split("\n## ")[0]
    named = [
        name for row in re.findall(r"^\| (`.*?) \|", table, flags=re.MULTILINE) for name in re.findall(r"`(\w+)`", row)
    ]
    assert len(named) == 12
    scripts = {name: ROOT / "benchmarks" / f"{name}.py" for name in named}
    assert [name for name, path in scripts.items() if "argparse" not in path.read_text(encoding="utf-8")] == []


def test_the_readme_leads_there() -> None:
    assert "(SECURITY.md)" in (ROOT / "README.md").read_text(encoding="utf-8")
