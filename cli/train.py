"""``activity train``: a model from a recipe."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer

from cli.errors import CommandError, require_files, user_errors
from cli.progress import bars, say, stderr, step


def train(  # noqa: PLR0913 - each is an option
    recipe: Annotated[Path, typer.Argument(help="A recipe, for example config/recipes/demo.yaml.")],
    data: Annotated[Path, typer.Option(help="The manifest; it needs entries of split 'val'.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the checkpoint.")],
    init: Annotated[Path | None, typer.Option(help="Begin with this checkpoint's weights, where they fit.")] = None,
    processes: Annotated[int, typer.Option(min=1, help="Processes that share the work, on this machine.")] = 1,
    *,
    encoders_only: Annotated[bool, typer.Option("--encoders-only", help="Take only encoders from --init.")] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the last finished epoch in OUTPUT.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace the checkpoint that OUTPUT holds.")] = False,
    report: Annotated[bool, typer.Option(help="At the end, draw what the validation clips give.")] = True,
) -> None:
    """Train a model from a recipe.

    The clips are decoded once, by the server's own decode and transforms, and stay in memory (with the demo's
    recipe about 170 kB for each second). After every epoch OUTPUT/last.ckpt is written: stop with Ctrl-C, go on with
    --resume. At the end OUTPUT holds model.safetensors, model.json and tokenizer.json, the history in metrics.csv,
    logs for TensorBoard, and report.html with report.png: the training's curves and what the validation clips give.

    [bold]Examples[/bold]

    $ activity train config/recipes/demo.yaml --data runs/data/manifest.jsonl --output runs/mine
    $ activity train config/recipes/demo.yaml --data runs/data/manifest.jsonl --output runs/mine --resume
    $ activity train runs/fusion.yaml --data runs/data/manifest.jsonl --output runs/fusion --init model-store/demo
    """
    require_files(recipe, data)
    if encoders_only and init is None:
        raise CommandError("--encoders-only says what is taken from a checkpoint", remedy="Give one by --init.")
    if (output / "model.json").exists() and not (resume or force):
        raise CommandError(
            f"{output} holds a checkpoint already", remedy="Name another folder, or replace it by --force."
        )
    if processes > 1:
        _train_together(processes)
        return
    if int(os.environ.get("RANK", "0")) > 0:
        stderr.quiet = True  # the first process speaks for all
    with user_errors(), step("Loading the training code"):
        from training.recipe import Recipe  # noqa: PLC0415 - help must not wait for the work's
        from training.train import Initial, Watch  # noqa: PLC0415
        from training.train import train as run_training  # noqa: PLC0415
    with user_errors(), bars() as progress:
        try:
            result = run_training(
                Recipe.read_yaml(recipe),
                data,
                output,
                command=shlex.join(["activity", *sys.argv[1:]]),
                resume=resume,
                initial=None if init is None else Initial(init, encoders_only),
                watch=Watch(
                    decoded=lambda i, n: progress("Decoding", i, n),
                    encoded=lambda i, n: progress("Encoding", i, n),
                    on_epoch=None if stderr.is_terminal else _say_epoch,  # a line between the bars would break them
                    say=say,
                    show_progress=stderr.is_terminal,
                ),
            )
        except KeyboardInterrupt as stopped:
            raise CommandError(
                "the training was stopped", remedy="Go on with the same command and --resume."
            ) from stopped
    stderr.print(
        f"[bold]{result.checkpoint}[/bold]: window accuracy {result.val_accuracy:.1%} on the validation split; "
        f"decoding took {result.decode_seconds:.0f} s, training {result.fit_seconds:.0f} s"
    )
    if report and int(os.environ.get("RANK", "0")) == 0:
        _write_report(output, data)
    say(f"Next: activity package --checkpoint {shlex.quote(str(output))} -o model-store/mine.mar")


def _write_report(output: Path, data: Path) -> None:
    from training.report.checkpoint import report_checkpoint  # noqa: PLC0415 - as above

    with user_errors(), bars() as progress:
        page = report_checkpoint(output, output, data, progress=progress)
    stderr.print(f"[bold]{page}[/bold]: curves, and what the validation clips give")


def _train_together(processes: int) -> None:
    """Run the same command by ``torchrun``, in so many processes."""
    arguments = _without_option(sys.argv[1:], "--processes")
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    ended = subprocess.run([sys.executable, *launcher, "-m", "cli.app", *arguments], check=False)
    if ended.returncode:
        raise CommandError(
            f"a training in {processes} processes ended with code {ended.returncode}",
            remedy="What it said stands above; with --processes 1 there is one process less to look at.",
        )


def _without_option(arguments: list[str], option: str) -> list[str]:
    """The command line without an option and its value."""
    kept: list[str] = []
    words = iter(arguments)
    for word in words:
        if word == option:
            next(words, None)
        elif not word.startswith(f"{option}="):
            kept.append(word)
    return kept


def _say_epoch(number: int, total: int, accuracy: float) -> None:
    say(f"epoch {number} of {total}: window accuracy {accuracy:.1%} on the validation split")
