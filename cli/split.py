"""``activity split``: which clips are learned from, which validate, which test."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Annotated

import typer

from cli.errors import require_files, user_errors
from cli.progress import stderr


def split(
    manifest: Annotated[Path, typer.Argument(help="A manifest, JSON lines.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The manifest to write, in the same folder.")],
    val: Annotated[float, typer.Option(min=0.0, max=1.0, help="Share of the clips of split 'val'.")] = 0.1,
    test: Annotated[float, typer.Option(min=0.0, max=1.0, help="Share of the clips of split 'test'.")] = 0.1,
    seed: Annotated[int, typer.Option(min=0, help="Another seed deals otherwise.")] = 0,
) -> None:
    """Deal the clips of a manifest to train, val and test.

    Clips of the same 'group' (a speaker, a recording) stay together, and labels are spread evenly; the splits that the
    manifest has are dealt anew.

    [bold]Example[/bold]

    $ activity split runs/data/manifest.jsonl --val 0.1 --test 0.1 -o runs/data/split.jsonl
    """
    require_files(manifest)
    with user_errors():
        from training.splits import write_split  # noqa: PLC0415 - help must not wait for the work's

        entries = write_split(manifest, output, val=val, test=test, seed=seed)
    counts = Counter(str(entry.split) for entry in entries)
    shown = ", ".join(f"{counts[name]} {name}" for name in ("train", "val", "test"))
    groups = len({entry.group for entry in entries if entry.group is not None})
    stderr.print(f"[bold]{output}[/bold]: {shown} clips" + (f", {groups} groups kept whole" if groups else ""))
