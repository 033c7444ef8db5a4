"""``activity train``: a model from a recipe."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from cli.errors import CommandError, require_files, user_errors
from cli.progress import bars, say, stderr, step


def train(
    recipe: Annotated[Path, typer.Argument(help="A recipe, for example config/recipes/demo.yaml.")],
    data: Annotated[Path, typer.Option(help="The manifest; it needs entries of split 'val'.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the checkpoint.")],
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the last finished epoch in OUTPUT.")] = False,
) -> None:
    """Train a model from a recipe.

    The clips are decoded once, by the server's own decode and transforms, and stay in memory (with the demo's
    recipe about 170 kB for each second). After every epoch OUTPUT/last.ckpt is written: stop with Ctrl-C, go on with
    --resume. At the end OUTPUT holds model.safetensors, model.json and tokenizer.json.

    [bold]Examples[/bold]

    $ activity train config/recipes/demo.yaml --data runs/data/manifest.jsonl --output runs/mine
    $ activity train config/recipes/demo.yaml --data runs/data/manifest.jsonl --output runs/mine --resume
    """
    require_files(recipe, data)
    with user_errors(), step("Loading the training code"):
        from training.recipe import Recipe  # noqa: PLC0415 - help must not wait for the work's
        from training.train import train as run_training  # noqa: PLC0415
    with user_errors(), bars() as report:
        try:
            result = run_training(
                Recipe.read_yaml(recipe),
                data,
                output,
                command=shlex.join(["activity", *sys.argv[1:]]),
                resume=resume,
                progress=lambda i, n: report("Decoding", i, n),
                show_progress=stderr.is_terminal,
                on_epoch=None if stderr.is_terminal else _say_epoch,  # a line between the bars would break them
            )
        except KeyboardInterrupt as stopped:
            raise CommandError(
                "the training was stopped", remedy="Go on with the same command and --resume."
            ) from stopped
    stderr.print(
        f"[bold]{result.checkpoint}[/bold]: window accuracy {result.val_accuracy:.1%} on the validation split; "
        f"decoding took {result.decode_seconds:.0f} s, training {result.fit_seconds:.0f} s"
    )
    say(f"Next: activity package --checkpoint {shlex.quote(str(output))} -o model-store/mine.mar")


def _say_epoch(number: int, total: int, accuracy: float) -> None:
    say(f"epoch {number} of {total}: window accuracy {accuracy:.1%} on the validation split")
