"""Who may import whom, and how long a module may be."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[1]
PACKAGES = ("handler", "models", "retrieval", "training", "client", "cli")
ENTRY = Path("handler", "activity_handler.py")
FORBIDDEN = {
    "models": {"handler", "retrieval", "training", "client", "cli", "tests", "ts"},
    "handler": {"retrieval", "training", "client", "cli", "tests"},
    "retrieval": {"training", "client", "cli", "tests", "ts"},
    "training": {"client", "cli", "tests", "ts"},
    "client": {
        "handler",
        "models",
        "retrieval",
        "training",
        "cli",
        "tests",
        "ts",
        "torch",
        "torchaudio",
        "torchvision",
    },
    "cli": {"tests", "ts"},
}


def modules(package: str) -> list[Path]:
    """A package's modules, without those that protoc writes."""
    found = (PROJECT / package).rglob("*.py")
    return sorted(path.relative_to(PROJECT) for path in found if "_pb2" not in path.name)


def imported(source: str, package: str) -> Iterator[str]:
    """The top-level names that a module of ``package`` imports, wherever in it, by name or by text."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield package if node.level else str(node.module).split(".")[0]
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in {"import_module", "importlib.import_module"}:
            yield ast.unparse(node.args[0]).strip("'\"").split(".")[0]


@pytest.mark.parametrize(
    ("source", "names"),
    [
        ("import a.b, c as d", {"a", "c"}),
        ("from a.b import c", {"a"}),
        ("from . import c", {"handler"}),
        ("def f():\n    import a", {"a"}),
        ("if TYPE_CHECKING:\n    from a import b", {"a"}),
        ("importlib.import_module('a.b')", {"a"}),
        ("'import a'  # import b", set[str]()),
    ],
)
def test_every_way_to_import_is_seen(source: str, names: set[str]) -> None:
    assert set(imported(source, "handler")) == names


@pytest.mark.parametrize("package", PACKAGES)
def test_imports_go_in_the_directions_of_the_design(package: str) -> None:
    paths = modules(package)
    assert len(paths) > 3
    wrong = {
        str(path): names
        for path in paths
        if (names := set(imported((PROJECT / path).read_text(encoding="utf-8"), package)) & FORBIDDEN[package])
    }
    assert wrong == {}


def test_the_entry_alone_imports_the_server() -> None:
    paths = [path for package in PACKAGES for path in modules(package)]
    sources = {path: (PROJECT / path).read_text(encoding="utf-8") for path in paths}
    importers = [path for path, source in sources.items() if "ts" in imported(source, path.parts[0])]
    assert importers == [ENTRY]


def test_the_entry_is_short_and_defines_one_class() -> None:
    source = (PROJECT / ENTRY).read_text(encoding="utf-8")
    assert len(source.splitlines()) < 150
    classes = [node.name for node in ast.walk(ast.parse(source)) if isinstance(node, ast.ClassDef)]
    assert classes == ["ActivityHandler"]


@pytest.mark.parametrize("package", PACKAGES)
def test_no_module_is_longer_than_400_lines(package: str) -> None:
    lengths = {str(path): len((PROJECT / path).read_text(encoding="utf-8").splitlines()) for path in modules(package)}
    assert {name: length for name, length in lengths.items() if length > 400} == {}


def test_the_client_starts_without_torch() -> None:
    names = ["client.rest", "client.grpc", "client.management"]
    code = f"import sys, {', '.join(names)}; print(sorted({{'torch', 'handler', 'models', 'ts'}} & set(sys.modules)))"
    result = subprocess.run([sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
