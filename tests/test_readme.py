"""What the README shows is what the project does."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import typer.main
import yaml

from cli.app import app
from handler.limits import HandlerSettings
from handler.options import RequestOptions

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```", README, flags=re.MULTILINE | re.DOTALL)
COMMANDS = [
    line.split("#")[0].strip()
    for language, block in BLOCKS
    if language == ""
    for line in block.splitlines()
    if line.startswith("activity ")
]


@pytest.mark.parametrize("line", COMMANDS)
def test_each_command_parses(line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("CLIP", "WORDS", "cert.pem", "key.pem"):
        Path(name).touch()
    for name in ("ESC-50-master", "GRID/s1"):
        Path(name).mkdir(parents=True)
    _, name, *arguments = shlex.split(line)
    group = typer.main.get_command(app)
    context = group.make_context("activity", [name], resilient_parsing=True)
    command = group.get_command(context, name)  # type: ignore[attr-defined]  # it is a group
    assert command is not None
    command.make_context(name, arguments, parent=context)


def test_it_shows_every_command() -> None:
    shown = {shlex.split(line)[1] for line in COMMANDS}
    assert shown == set(typer.main.get_command(app).commands)  # type: ignore[attr-defined]  # it is a group


def test_it_lists_every_option_of_a_request() -> None:
    table = README.split("### Options")[1].split("###")[0]
    listed = {
        name for row in re.findall(r"^\| (`.*?) \|", table, flags=re.MULTILINE) for name in re.findall(r"`(\w+)`", row)
    }
    assert listed == set(RequestOptions.model_fields)


def test_the_settings_that_it_shows_are_read() -> None:
    (block,) = (block for language, block in BLOCKS if language == "yaml")
    settings = HandlerSettings.read(yaml.safe_load(block)["handler"], source="README.md")
    assert (settings.limits.max_decode_seconds, settings.requests_per_child) == (3, 1)
    assert set(HandlerSettings.model_fields) == set(yaml.safe_load(block)["handler"])


@pytest.mark.parametrize("target", sorted(set(re.findall(r"\]\(([^)#:]+)\)", README))))
def test_each_link_leads_somewhere(target: str) -> None:
    assert (ROOT / target).exists()


def test_the_scripts_that_it_names_are_there() -> None:
    for script in re.findall(r"bash (scripts/\w+\.sh)", README):
        assert (ROOT / script).is_file()
