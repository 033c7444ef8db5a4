"""``activity evaluate``: what a model reaches."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from cli.errors import require_files, user_errors
from cli.package import DEMO_CHECKPOINT
from cli.progress import bars, step

if TYPE_CHECKING:
    from training.evaluate import Evaluation


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
    require_files(data)
    with user_errors(), step("Loading the model"):
        from handler.pipeline import ActivityPipeline  # noqa: PLC0415 - help must not wait for the work's
        from training.evaluate import evaluate as run_evaluation  # noqa: PLC0415
        from training.manifest import read_ceilings  # noqa: PLC0415

        pipeline = ActivityPipeline.from_checkpoint(checkpoint)
    with user_errors(), bars() as report:
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


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{share:.1%}"
