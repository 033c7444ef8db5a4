"""The command line: ``activity COMMAND``. Commands import what they need when they run, so help is quick."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable

import typer
from rich.markup import escape

from cli.assemble import assemble
from cli.attach import attach
from cli.crossval import crossval
from cli.errors import CommandError
from cli.evaluate import evaluate
from cli.explain import explain
from cli.fetch import fetch
from cli.fit import fit
from cli.front import front
from cli.importing import import_data
from cli.index import index
from cli.inspection import inspect_model
from cli.openapi import openapi
from cli.package import package
from cli.predict import predict
from cli.progress import stderr
from cli.ready import ready
from cli.recall import recall
from cli.render import render
from cli.rollout import rollback, rollout
from cli.search import search
from cli.serve import scale, serve, stop
from cli.split import split
from cli.status import status
from cli.synth import synth
from cli.train import train
from cli.watch import watch
from client.errors import ClientError

app = typer.Typer(
    name="activity",
    help="Timed activity labels from a clip's picture, sound and words.\n\n"
    "The usual way: [bold]activity package[/bold] builds the archive from a checkpoint, [bold]activity serve[/bold] "
    "starts a TorchServe with it and waits until it answers rightly, [bold]activity predict CLIP[/bold] asks it, "
    "[bold]activity stop[/bold] ends it.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_show_locals=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

SERVING, MODEL, RETRIEVAL = "Serving", "Model", "Retrieval"


def add_command(command: Callable[..., None], panel: str) -> None:
    """Add a command to the panel of the help that it belongs to."""
    name = command.__name__.removesuffix("_model").removesuffix("_data")
    app.command(name, help=flow(command.__doc__ or ""), rich_help_panel=panel)(command)


def flow(docstring: str) -> str:
    """A docstring as help: each paragraph one line, which the terminal breaks where it likes; examples stay lines."""
    lines: list[str] = []
    for line in inspect.cleandoc(docstring).splitlines():
        goes_on = bool(line and lines and lines[-1]) and not line.startswith("$")
        if goes_on:
            lines[-1] = f"{lines[-1]} {line}"
        else:
            lines.append(line)
    return "\n".join(lines)


PANELS: dict[str, tuple[Callable[..., None], ...]] = {
    SERVING: (serve, stop, status, openapi, ready, scale, rollout, rollback, front, predict, watch, render, explain),
    MODEL: (synth, import_data, split, fetch, train, assemble, fit, crossval, evaluate, inspect_model, attach, package),
    RETRIEVAL: (index, search, recall),
}
for panel, commands in PANELS.items():
    for command in commands:
        add_command(command, panel)


def main() -> None:
    """The command ``activity``."""
    run(app)


def run(application: typer.Typer) -> None:
    """Run a command line; an error that the user can act on ends with exit code 1 and says what to do."""
    try:
        application()
    except (CommandError, ClientError) as error:
        stderr.print(f"[red]Error:[/red] {escape(error.message)}")
        stderr.print(escape(error.remedy))
        sys.exit(1)


if __name__ == "__main__":
    main()
