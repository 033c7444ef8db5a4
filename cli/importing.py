"""``activity import``: a published dataset as a manifest and its files."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated, Literal, get_args

import typer

from cli.errors import user_errors
from cli.progress import bars, say, stderr

Layout = Literal["esc10", "grid"]
Word = Literal["command", "colour", "preposition", "letter", "digit", "adverb"]


def import_data(
    layout: Annotated[Layout, typer.Argument(help=f"Which dataset: {' or '.join(get_args(Layout))}.")],
    folder: Annotated[Path, typer.Argument(help="Its folder, as it was published.", exists=True, file_okay=False)],
    out: Annotated[Path, typer.Argument(help="Folder for files and manifest.jsonl; made where it is missing.")],
    word: Annotated[Word, typer.Option(help="Of grid: the word of the sentence that is the label.")] = "command",
    *,
    whole: Annotated[bool, typer.Option("--whole", help="Of grid: whole clips and sentences, for retrieval.")] = False,
) -> None:
    """Bring a published dataset into the form that training takes.

    esc10: the ten environmental sounds of ESC-10, from a folder with esc10.csv (audio, label, fold) or from that of
    ESC-50. The manifest has the published folds, and takes of one recording are a group.

    grid: spoken sentences of six words, from a speaker's folder of GRID with clips/CODE.mp4 and align/CODE.align. Each
    clip is cut to the 1.2 s around the word that is asked for, and the text has no answer in it; --whole leaves both
    whole. The splits are those of config/splits/grid.yaml, by the spelt letter.

    [bold]Examples[/bold]

    $ activity import esc10 ESC-50-master runs/esc10

    $ activity import grid GRID/s1 runs/grid-command --word command

    $ activity import grid GRID/s1 runs/grid-whole --whole
    """
    with user_errors(), bars() as report:
        if layout == "esc10":
            from training.importers.esc10 import import_esc10  # noqa: PLC0415 - help must not wait for the work's

            manifest = import_esc10(folder, out, lambda i, n: report("Copying", i, n))
        else:
            from training.importers.grid import import_grid  # noqa: PLC0415 - as above

            manifest = import_grid(folder, out, word, whole=whole, progress=lambda i, n: report("Copying", i, n))
    stderr.print(f"[bold]{manifest}[/bold]")
    data = f"--data {shlex.quote(str(manifest))} --output"
    if layout == "esc10":
        say(f"Next: activity crossval config/recipes/esc10.yaml {data} {shlex.quote(str(out / 'folds'))}")
    else:
        recipe = "towers" if whole else word
        say(f"Next: activity train config/recipes/grid-{recipe}.yaml {data} {shlex.quote(str(out / 'model'))}")
