"""``activity synth``: datasets of real media files whose truth is known."""

from __future__ import annotations

import os
import shlex
import shutil
from pathlib import Path
from typing import Annotated

import typer

from cli.errors import CommandError
from cli.progress import bars, say, stderr

Jobs = Annotated[int, typer.Option(min=1, help="Processes.", show_default="the cores that may be used")]
ALL_CORES = len(os.sched_getaffinity(0))


def synth(
    out: Annotated[Path, typer.Argument(help="Folder for clips and manifest.jsonl; made where it is missing.")],
    clips: Annotated[int, typer.Option(min=1, help="How many clips.")] = 100,
    seed: Annotated[int, typer.Option(min=0, help="Another seed gives a held-out set.")] = 0,
    val_fraction: Annotated[float, typer.Option(min=0.0, max=1.0, help="Share of the clips of split 'val'.")] = 0.1,
    jobs: Jobs = ALL_CORES,
    *,
    force: Annotated[bool, typer.Option("--force", help="Replace the dataset that OUT holds.")] = False,
) -> None:
    """Render a dataset of real media files whose truth is known.

    Each of the eight activities is a motion, a sound and a phrase, one bit each: by construction one modality alone
    cannot name more than 25 % of them and two not more than 50 %. A clip takes about 0.7 s of one core.

    [bold]Examples[/bold]

    $ activity synth runs/data --clips 480 --seed 1
    $ activity synth runs/held-out --clips 400 --seed 2 --val-fraction 0
    """
    from training.synth.dataset import MANIFEST_NAME  # noqa: PLC0415 - help must not wait for the work's
    from training.synth.render import render_dataset  # noqa: PLC0415

    if (out / MANIFEST_NAME).exists():
        if not force:
            raise CommandError(
                f"{out} holds a dataset already", remedy="Name another folder, or replace it by --force."
            )
        shutil.rmtree(out / "clips", ignore_errors=True)
    with bars() as report:
        manifest = render_dataset(
            out, clips, seed, val_fraction=val_fraction, jobs=jobs, progress=lambda i, n: report("Rendering", i, n)
        )
    stderr.print(f"[bold]{manifest}[/bold]: {clips} clips")
    say(f"Next: activity train config/recipes/demo.yaml --data {shlex.quote(str(manifest))} --output runs/mine")
