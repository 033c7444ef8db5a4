"""``activity crossval``: a recipe trained and measured on every fold of a dataset."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from cli.errors import CommandError, require_files, user_errors
from cli.progress import bars, say, stderr, step

if TYPE_CHECKING:
    from training.crossval import CrossValidation, FoldResult

RESULT_FILE = "crossval.json"


def crossval(
    recipe: Annotated[Path, typer.Argument(help="A recipe, for example config/recipes/demo.yaml.")],
    data: Annotated[Path, typer.Option(help="The manifest; its splits are not looked at.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the checkpoints and crossval.json.")],
    folds: Annotated[int, typer.Option(min=2, help="How many, where the manifest's clips have no 'fold'.")] = 5,
    val: Annotated[float, typer.Option(min=0.01, max=0.9, help="Share of the learned clips that validate.")] = 0.1,
    seed: Annotated[int, typer.Option(min=0, help="Of the dealing.")] = 0,
    jobs: Annotated[int, typer.Option(min=1, help="Folds at a time, each with one thread.")] = 2,
    *,
    val_only: Annotated[
        bool, typer.Option("--val-only", help="Leave the test clips alone, to compare recipes.")
    ] = False,
) -> None:
    """Cross-validate a recipe: for each fold, train on the others and test on it.

    The folds are the manifest's 'fold', else its groups are dealt. Of what is learned from, a share validates: it ends
    the training and calibrates. No group is on two sides. Prints the accuracy of each fold, of whole clips where each
    has one label, else of windows.

    [bold]Example[/bold]

    $ activity crossval config/recipes/demo.yaml --data runs/data/manifest.jsonl -o runs/folds --jobs 2
    """
    require_files(recipe, data)
    with user_errors(), step("Loading the training code"):
        from training.crossval import cross_validate  # noqa: PLC0415 - help must not wait for the work's
        from training.manifest import read_manifest  # noqa: PLC0415
        from training.recipe import Recipe  # noqa: PLC0415
        from training.splits import deal_folds  # noqa: PLC0415
    command = shlex.join(["activity", *sys.argv[1:]])
    with user_errors(), bars() as report:
        try:
            result = cross_validate(
                Recipe.read_yaml(recipe),
                deal_folds(read_manifest(data), num_folds=folds, val=val, seed=seed),
                output,
                command=command,
                jobs=jobs,
                with_test=not val_only,
                progress=lambda i, n: report("Epochs of all folds", i, n),
                on_fold=None if stderr.is_terminal else _say_fold,  # a line between the bars would break them
            )
        except KeyboardInterrupt as stopped:
            raise CommandError("the cross-validation was stopped", remedy="Begin it again.") from stopped
    record = {"command": command, "recipe": str(recipe), "data": str(data), "val": val, "seed": seed}
    output.mkdir(parents=True, exist_ok=True)
    text = json.dumps({**record, **result.to_json()}, indent=2, ensure_ascii=False)
    (output / RESULT_FILE).write_text(text + "\n", encoding="utf-8")
    show_folds(result, Console())


def show_folds(result: CrossValidation, console: Console) -> None:
    """Print a row for each fold, then mean and spread."""
    measure = result.measure.replace("_", " ")
    table = Table(title=f"{measure}: {result.mean:.2%} ± {result.spread:.2%} over {len(result.folds)} folds")
    for name in ("fold", "learned from", "validated on", "tested on", "val accuracy", measure, "seconds"):
        table.add_column(name, justify="right")
    for fold, value in zip(result.folds, result.values, strict=True):
        counts = (fold.train_clips, fold.val_clips, fold.test_clips)
        table.add_row(
            str(fold.fold), *map(str, counts), f"{fold.val_accuracy:.2%}", f"{value:.2%}", f"{fold.seconds:.0f}"
        )
    console.print(table)


def _say_fold(fold: FoldResult) -> None:
    reached = fold.val_accuracy if fold.window_accuracy is None else fold.window_accuracy
    where = "validation" if fold.window_accuracy is None else "test"
    say(f"fold {fold.fold}: window accuracy {reached:.1%} on the {where} clips after {fold.seconds:.0f} s")
