"""``activity package``: a checkpoint becomes an archive."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cli.errors import user_errors
from cli.progress import stderr

PROJECT = Path(__file__).resolve().parent.parent
DEMO_CHECKPOINT = PROJECT / "model-store" / "demo"
DEFAULT_ARCHIVE = PROJECT / "model-store" / "activity.mar"
OWN = "the checkpoint's own"


def package(
    checkpoint: Annotated[
        Path,
        typer.Option(
            help="Folder with model.safetensors, model.json and tokenizer.json.", show_default="model-store/demo"
        ),
    ] = DEMO_CHECKPOINT,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="The archive to write.", show_default="model-store/activity.mar")
    ] = DEFAULT_ARCHIVE,
    name: Annotated[
        str | None, typer.Option(help="The model's name, in the archive and in its answers.", show_default=OWN)
    ] = None,
    version: Annotated[str | None, typer.Option(help="The model's version, likewise.", show_default=OWN)] = None,
) -> None:
    """Build a self-contained TorchServe archive (.mar) from a checkpoint.

    It carries code, all weights (safetensors), a transcriber's and a captioner's included, labels, preprocessing,
    tokenizer, the exact versions of what it imports, TorchServe's settings (config/model-config.yaml) and a canary: a
    short clip with the answer that this model gives to it. A server with those versions installed serves it without
    this checkout and without a network. What it weighs, part by part, is said before it is written. Its SHA-256 is
    printed and written beside it (FILE.mar.sha256): an archive is code, and `activity serve` takes it as it was
    packaged or not at all.

    [bold]Examples[/bold]

    $ activity package
    $ activity package --checkpoint runs/mine -o model-store/activity-2.mar --version 2.0
    """
    from cli.archive import build_archive  # noqa: PLC0415 - help must not wait for what only the work needs
    from cli.archive_check import sum_path  # noqa: PLC0415

    with user_errors():
        summary = build_archive(checkpoint, output, name=name, version=version)
    stderr.print(f"[bold]{summary.path}[/bold]: {summary.num_files} files, {summary.size_bytes / 1e6:.1f} MB")
    stderr.print(f"SHA-256 {summary.sha256}, which also stands in {sum_path(summary.path).name}")
