"""``activity assemble``: a checkpoint from pretrained parts, without training."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from cli.errors import CommandError, require_files, user_errors
from cli.progress import say, stderr, step


def assemble(
    recipe: Annotated[Path, typer.Argument(help="A recipe with zero_shot, of pretrained towers.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the checkpoint.")],
    *,
    force: Annotated[bool, typer.Option("--force", help="Replace the checkpoint that OUTPUT holds.")] = False,
) -> None:
    """Make a checkpoint that recognises labels of the request's choice, from pretrained towers and without training.

    The recipe names the towers' sources: folders, or names on the model hub with a revision. OUTPUT then holds all that
    they gave, weights and tokenizers included, and is packaged, served and asked like any other checkpoint; a request's
    options say what to tell apart.

    [bold]Examples[/bold]

    $ activity assemble config/recipes/zero-shot-clip-clap.yaml --output runs/zero-shot
    $ activity predict clip.mp4 --local --checkpoint runs/zero-shot --options '{"labels": ["cooking", "typing"]}'
    $ activity fit runs/zero-shot --data mine/manifest.jsonl --output runs/few-shot
    """
    require_files(recipe)
    if (output / "model.json").exists() and not force:
        raise CommandError(
            f"{output} holds a checkpoint already", remedy="Name another folder, or replace it by --force."
        )
    with user_errors(), step("Reading the sources"):
        from training.assemble import assemble as put_together  # noqa: PLC0415 - help must not wait for the work's
        from training.recipe import Recipe  # noqa: PLC0415

        command = shlex.join(["activity", *sys.argv[1:]])
        description = put_together(Recipe.read_yaml(recipe), output, command=command)
    size = sum(path.stat().st_size for path in output.rglob("*") if path.is_file())
    modalities = ", ".join(description.config.modalities)
    stderr.print(f"[bold]{output}[/bold]: {size / 1e6:.1f} MB, for {modalities}")
    say(f"Next: activity package --checkpoint {shlex.quote(str(output))} -o model-store/mine.mar")
