"""``activity fit``: a model of a few labelled clips' labels."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from cli.errors import CommandError, require_files, user_errors
from cli.progress import bars, say, stderr, step

if TYPE_CHECKING:
    from training.fit import FitResult


def fit(
    checkpoint: Annotated[Path, typer.Argument(help="A checkpoint's folder, assembled or trained.")],
    data: Annotated[Path, typer.Option(help="The manifest of the labelled clips; split 'test' is left alone.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the new checkpoint.")],
    *,
    force: Annotated[bool, typer.Option("--force", help="Replace the checkpoint that OUTPUT holds.")] = False,
) -> None:
    """Fit a linear classifier to a handful of labelled clips, on a model whose embeddings stay as they are.

    An assembled model gets one for each modality, whose scores are averaged; a trained one a new head. How strongly the
    weights are held small is chosen by leaving clips out (those of one group together), which also says how many
    windows of unseen clips are recognised. One clip a label is enough to fit, and too few to know how well.

    [bold]Examples[/bold]

    $ activity fit runs/zero-shot --data mine/manifest.jsonl --output runs/few-shot
    $ activity predict clip.mp4 --local --checkpoint runs/few-shot
    """
    require_files(checkpoint / "model.json", data)
    if (output / "model.json").exists() and not force:
        raise CommandError(
            f"{output} holds a checkpoint already", remedy="Name another folder, or replace it by --force."
        )
    if output.resolve() == checkpoint.resolve():
        raise CommandError("OUTPUT is the checkpoint to begin with", remedy="Name another folder.")
    with user_errors(), step("Loading the training code"):
        from training.fit import fit as fit_probes  # noqa: PLC0415 - help must not wait for the work's
    command = shlex.join(["activity", *sys.argv[1:]])
    with user_errors(), bars() as progress:
        result = fit_probes(
            checkpoint,
            data,
            output,
            command=command,
            decoded=lambda i, n: progress("Decoding", i, n),
            embedded=lambda i, n: progress("Embedding", i, n),
        )
    show_result(result, Console())
    stderr.print(f"[bold]{output}[/bold]: {len(result.labels)} labels, fitted on {', '.join(result.strengths)}")
    say(f"Next: activity package --checkpoint {shlex.quote(str(output))} -o model-store/mine.mar")


def show_result(result: FitResult, console: Console) -> None:
    """Print a row a label, and what could not be done."""
    table = Table("label", title="windows of clips that were left out")
    for heading in ("clips", "windows", "recognised"):
        table.add_column(heading, justify="right")
    for label in result.labels:
        table.add_row(escape(label.label), str(label.clips), str(label.windows), _share(label.accuracy))
    table.add_section()
    windows = sum(label.windows for label in result.labels)
    table.add_row("all", str(result.clips), str(windows), _share(result.accuracy))
    console.print(table)
    for kind in result.left_out:
        console.print(f"{kind} is left out: some label has no clip with it")
    if result.accuracy is None:
        console.print("nothing could be validated: no label has clips of two groups")
    elif any(label.accuracy is None for label in result.labels):
        console.print("labels with clips of one group alone could not be validated")


def _share(accuracy: float | None) -> str:
    return "-" if accuracy is None else f"{accuracy:.0%}"
