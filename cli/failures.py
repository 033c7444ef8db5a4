"""What many clips came to: the failures by name, and an exit code that counts them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import typer
from rich.markup import escape

from cli.answers import Line
from cli.printable import printable
from cli.progress import stderr

SHOWN_FAILURES = 20
FAILED_EXIT_CODE = 100
MAX_EXIT_CODE = 125
"""The highest that a shell does not take for a signal or a missing command."""


def end_with_failures(lines: Sequence[Line], output: Path) -> None:
    """Say how many clips were answered and list those that failed.

    Raises:
        typer.Exit: with 100 and the number of failures, at most 125.
    """
    failures = [line for line in lines if line.error is not None]
    stderr.print(f"{len(lines) - len(failures)} of {len(lines)} clips answered in {escape(printable(str(output)))}")
    if not failures:
        return
    counted = "1 clip failed" if len(failures) == 1 else f"{len(failures)} clips failed"
    stderr.print(f"[red]{counted}:[/red]")
    for line in failures[:SHOWN_FAILURES]:
        error = line.error or {}
        stderr.print(f"  {escape(printable(line.file))}: {escape(printable(str(error.get('message', ''))))}")
    if len(failures) > SHOWN_FAILURES:
        stderr.print(f"  and {len(failures) - SHOWN_FAILURES} more, each with its line there")
    stderr.print("Ask for them again with the same command and --retry.")
    raise typer.Exit(min(FAILED_EXIT_CODE + len(failures), MAX_EXIT_CODE))
