"""``activity evaluate``: what a model reaches."""

from __future__ import annotations

import json
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from cli.errors import require_files, user_errors
from cli.package import DEMO_CHECKPOINT
from cli.progress import bars, say, step


class SplitName(StrEnum):
    """The entries of a manifest that are measured."""

    TRAIN = "train"
    VAL = "val"
    TEST = "test"


def evaluate(
    data: Annotated[Path, typer.Option(help="The manifest of held-out clips.")],
    checkpoint: Annotated[
        Path, typer.Option(help="A checkpoint's folder.", show_default="model-store/demo")
    ] = DEMO_CHECKPOINT,
    split: Annotated[SplitName | None, typer.Option(help="Only these entries.", show_default="all")] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Also save the figures as JSON here.")] = None,
    report: Annotated[
        Path | None, typer.Option(help="Also write report.html and report.png to this folder.", show_default=False)
    ] = None,
    *,
    robustness: Annotated[
        bool, typer.Option("--robustness", help="Also with modalities missing by chance, and noise on the sound.")
    ] = False,
    latency: Annotated[bool, typer.Option("--latency", help="Also how long a clip takes, of up to 50.")] = False,
) -> None:
    """Measure a checkpoint on held-out clips.

    Prints how good the windows' labels are (accuracy, or with several labels at a time mean average precision) for
    every subset of the modalities, beside what the data allows at most (where `activity synth` made it); each label;
    what the segments are worth; how steady, how sure and how much in agreement the modalities are. Every figure has
    its 95 % interval, by bootstrap over clips, or over their groups where the manifest has them.

    [bold]Examples[/bold]

    $ activity evaluate --data runs/held-out/manifest.jsonl -o runs/held-out/evaluation.json
    $ activity evaluate --checkpoint runs/mine --data runs/data/manifest.jsonl --split val --report runs/mine
    $ activity evaluate --data runs/held-out/manifest.jsonl --robustness --latency
    """
    require_files(data)
    with user_errors(), step("Loading the model"):
        from handler.pipeline import ActivityPipeline  # noqa: PLC0415 - help must not wait for the work's
        from training.evaluate import Wanted  # noqa: PLC0415
        from training.evaluate import evaluate as run_evaluation  # noqa: PLC0415
        from training.manifest import read_ceilings  # noqa: PLC0415

        pipeline = ActivityPipeline.from_checkpoint(checkpoint)
    with user_errors(), bars() as progress:
        result = run_evaluation(
            pipeline,
            data,
            split=None if split is None else split.value,
            wanted=Wanted(robustness=robustness, latency=latency),
            ceilings=read_ceilings(data),
            progress=progress,
        )
    if output is not None:
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_text(json.dumps(result.to_json(), indent=2) + "\n", encoding="utf-8")
    if report is not None:
        with step("Drawing the report"):
            from training.report.history import read_curves  # noqa: PLC0415 - as above
            from training.report.page import write_report  # noqa: PLC0415

            page = write_report(report, result, read_curves(checkpoint))
        say(f"Open {page}")
    from cli.evaluation_tables import show_evaluation  # noqa: PLC0415 - as above

    show_evaluation(result, Console())
