"""``activity recall``: how well a checkpoint's towers find what belongs together."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from cli.errors import require_files, user_errors
from cli.evaluate import SplitName
from cli.progress import bars, step

if TYPE_CHECKING:
    from training.evaluation.recall import Direction, RecallReport


def recall(
    checkpoint: Annotated[Path, typer.Argument(help="A checkpoint with towers.")],
    data: Annotated[Path, typer.Option(help="The manifest of held-out clips.")],
    split: Annotated[SplitName | None, typer.Option(help="Only these entries.", show_default="all")] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Also save the figures as JSON here.")] = None,
) -> None:
    """Measure retrieval: how often the right one is among the first 1, 5 or 10 that are found.

    Windows that do not overlap are asked for by each of their modalities, and by the sentence that holds during them;
    what is relevant to a window is its own other modality, to a sentence every window during which it holds. Beside
    each figure stand its 95 % interval, by bootstrap over clips or their groups, and what chance would give.

    [bold]Examples[/bold]

    $ activity recall runs/towers --data runs/moments-held/manifest.jsonl
    $ activity recall runs/grid-towers --data runs/grid-whole/manifest.jsonl --split test -o runs/recall.json
    """
    require_files(data)
    with user_errors(), step("Loading the checkpoint"):
        from handler.embedding import Embedder  # noqa: PLC0415 - help must not wait for the work's
        from models.checkpoint import load_checkpoint  # noqa: PLC0415
        from training.evaluate import decode_some, read_split  # noqa: PLC0415
        from training.evaluation.recall import measure_recall  # noqa: PLC0415

        loaded = load_checkpoint(checkpoint)
        embedder = Embedder(loaded)
    with user_errors(), bars() as progress:
        entries = read_split(data, None if split is None else split.value)
        clips = decode_some(entries, embedder.config, lambda _, done, total: progress("Embedding", done, total))
        name = f"{loaded.description.name} {loaded.description.version}"
        report = measure_recall(embedder, clips, model=name)
    if output is not None:
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_text(json.dumps(report.to_json(), indent=2) + "\n", encoding="utf-8")
    _show(report)


def _show(report: RecallReport) -> None:
    title = f"{report.num_windows} windows, {report.num_clips} clips; recall in % (95 % of resamples), below it chance"
    table = Table(title=title, title_justify="left")
    table.add_column("asked by,\nqueries")
    table.add_column("among,\ncandidates", overflow="fold")
    for k in report.directions[0].recall:
        table.add_column(f"at {k}", justify="right", no_wrap=True)
    for it in report.directions:
        asked, found = f"{it.asked}\n{it.num_queries}", f"{' + '.join(it.found)}\n{it.num_candidates}"
        table.add_row(asked, found, *(_figure(it, k) for k in it.recall))
    Console(highlight=False).print(table)


def _figure(direction: Direction, k: int) -> str:
    estimate = direction.recall[k]
    if estimate is None:
        return "-"
    measured = f"{100 * estimate.value:.1f} ({100 * estimate.low:.1f}-{100 * estimate.high:.1f})"
    return f"{measured}\n{100 * direction.chance[k]:.1f}"
