"""``activity openapi``: the description of the inference API."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from cli.errors import user_errors


def openapi(
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="File to write.", show_default="standard output")
    ] = None,
) -> None:
    """Write the description of the inference API in OpenAPI 3.1: requests, answers, errors, with examples.

    [bold]Examples[/bold]

    $ activity openapi -o docs/openapi.json
    """
    text = render_description()
    if output is None:
        typer.echo(text, nl=False)
        return
    with user_errors():
        output.write_text(text, encoding="utf-8")


def render_description() -> str:
    """The description as JSON in lines."""
    from cli.api_document import build_document  # noqa: PLC0415 - it imports the handler

    return json.dumps(build_document(), indent=1, ensure_ascii=False) + "\n"
