"""``activity synth``, ``activity train`` and ``activity evaluate``: data, a model, and what it reaches."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from cli.errors import CommandError
from cli.package import DEMO_CHECKPOINT
from cli.progress import bars, say, stderr, step

if TYPE_CHECKING:
    from training.evaluate import Evaluation

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
    from training.synth.render import MANIFEST_NAME, render_dataset  # noqa: PLC0415 - help must not wait for the work's

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
    _require_files(recipe, data)
    with _user_errors(), step("Loading the training code"):
        from training.recipe import Recipe  # noqa: PLC0415 - as above
        from training.train import train as run_training  # noqa: PLC0415
    with _user_errors(), bars() as report:
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


def evaluate(
    data: Annotated[Path, typer.Option(help="The manifest of held-out clips.")],
    checkpoint: Annotated[
        Path, typer.Option(help="A checkpoint's folder.", show_default="model-store/demo")
    ] = DEMO_CHECKPOINT,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Also save the figures as JSON here.")] = None,
) -> None:
    """Measure a checkpoint on held-out clips.

    Prints the accuracy of windows that lie inside one activity, for every subset of the modalities and beside what
    the data allows at most (where `activity synth` made it), then what the segments are worth: F1 at three overlaps,
    edit score, boundary error, and the calibration error of the scores.

    [bold]Example[/bold]

    $ activity evaluate --data runs/held-out/manifest.jsonl -o runs/held-out/evaluation.json
    """
    _require_files(data)
    with _user_errors(), step("Loading the model"):
        from handler.pipeline import ActivityPipeline  # noqa: PLC0415 - as above
        from training.evaluate import evaluate as run_evaluation  # noqa: PLC0415
        from training.manifest import read_ceilings  # noqa: PLC0415

        pipeline = ActivityPipeline.from_checkpoint(checkpoint)
    with _user_errors(), bars() as report:
        result = run_evaluation(pipeline, data, ceilings=read_ceilings(data), progress=report)
    if output is not None:
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_text(json.dumps(result.to_json(), indent=2) + "\n", encoding="utf-8")
    show_evaluation(result, Console())


def show_evaluation(result: Evaluation, console: Console) -> None:
    """Print the two tables of an evaluation."""
    from rich.table import Table  # noqa: PLC0415 - as above

    accuracy = Table(title=f"{result.num_windows} windows inside one activity, {result.num_clips} clips")
    accuracy.add_column("modalities")
    accuracy.add_column("accuracy", justify="right")
    accuracy.add_column("ceiling", justify="right")
    for subset in result.subsets:
        accuracy.add_row(" + ".join(subset.modalities), _percent(subset.accuracy), _percent(subset.ceiling))
    segments = Table(title="Segments, all modalities")
    segments.add_column("measure")
    segments.add_column("value", justify="right")
    for overlap, score in result.f1.items():
        segments.add_row(f"F1 at IoU {overlap}", f"{score:.3f}")
    segments.add_row("edit score", f"{result.edit:.3f}")
    error = result.mean_boundary_error_seconds
    segments.add_row("mean boundary error", "-" if error is None else f"{error:.3f} s")
    calibration = result.calibration_error
    segments.add_row("expected calibration error", "-" if calibration is None else f"{calibration:.3f}")
    console.print(accuracy)
    console.print(segments)


def _require_files(*paths: Path) -> None:
    """A wrong path is said at once, not after the seconds that loading torch takes."""
    for path in paths:
        if not path.is_file():
            raise CommandError(f"there is no file {path}", remedy="Check the path.")


def _say_epoch(number: int, total: int, accuracy: float) -> None:
    say(f"epoch {number} of {total}: window accuracy {accuracy:.1%} on the validation split")


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{share:.1%}"


@contextmanager
def _user_errors() -> Iterator[None]:
    """What is wrong with a recipe, a manifest, a checkpoint or a clip is said without a traceback."""
    from handler.errors import ActivityError  # noqa: PLC0415 - as above
    from models.settings import SettingsError  # noqa: PLC0415
    from training.manifest import ManifestError  # noqa: PLC0415

    try:
        yield
    except ActivityError as error:
        raise CommandError(error.message, remedy=error.remedy) from error
    except (SettingsError, ManifestError) as error:
        raise CommandError(str(error), remedy="Mend what it names and run the command again.") from error
    except FileNotFoundError as error:
        raise CommandError(f"there is no file {error.filename}", remedy="Check the path.") from error
