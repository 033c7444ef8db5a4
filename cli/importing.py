"""``activity import``: a published dataset as a manifest and its files."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated, Literal

import typer

from cli.errors import user_errors
from cli.progress import bars, say, stderr


def import_data(
    layout: Annotated[Literal["esc10"], typer.Argument(help="Which dataset: esc10.")],
    folder: Annotated[Path, typer.Argument(help="Its folder, as it was published.", exists=True, file_okay=False)],
    out: Annotated[Path, typer.Argument(help="Folder for files and manifest.jsonl; made where it is missing.")],
) -> None:
    """Bring a published dataset into the form that training takes.

    esc10: the ten environmental sounds of ESC-10, from a folder with esc10.csv (audio, label, fold) or from that of
    ESC-50. The manifest has the published folds, and takes of one recording are a group.

    [bold]Example[/bold]

    $ activity import esc10 ESC-50-master runs/esc10
    """
    del layout  # there is one so far, and the word keeps a place for others
    from training.importers.esc10 import import_esc10  # noqa: PLC0415 - help must not wait for the work's

    with user_errors(), bars() as report:
        manifest = import_esc10(folder, out, lambda i, n: report("Copying", i, n))
    stderr.print(f"[bold]{manifest}[/bold]")
    say(
        f"Next: activity crossval config/recipes/esc10.yaml --data {shlex.quote(str(manifest))} "
        f"--output {shlex.quote(str(out / 'folds'))}"
    )
