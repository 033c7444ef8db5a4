"""``activity index``: files to an index of vectors that can be searched."""

from __future__ import annotations

import os
import shlex
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from cli.errors import CommandError, user_errors
from cli.printable import printable
from cli.progress import bars, say, stderr, step

if TYPE_CHECKING:
    from collections.abc import Collection

    from handler.limits import Limits
    from retrieval.indexing import IndexReport
    from retrieval.sources import Source

SHOWN_FAILURES = 20


def index(
    files: Annotated[Path, typer.Argument(help="A folder with media files, or a manifest.")],
    checkpoint: Annotated[Path, typer.Option(help="The checkpoint that embeds: one with towers.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The index's folder; made where it is missing.")],
    max_seconds: Annotated[float, typer.Option(min=1.0, help="Longer files are left out.")] = 600.0,
) -> None:
    """Index the moments of media files, for `activity search`.

    Every window of every file below the folder (its links and hidden files aside) is embedded by each of its
    modalities alone; words stand beside a file as .vtt, .srt or .txt of the same name. Run again, it embeds what is
    new or has changed and forgets what is gone; stopped or killed at any moment, it goes on where it was. Files that
    do not decode are listed at the end.

    [bold]Examples[/bold]

    $ activity index recordings --checkpoint runs/towers -o runs/index
    $ activity index runs/moments/manifest.jsonl --checkpoint runs/towers -o runs/index
    """
    if not files.exists():
        raise CommandError(f"there is no folder or manifest {files}", remedy="Check the path.")
    with user_errors():
        with step("Loading the checkpoint"):
            from handler.embedding import Embedder  # noqa: PLC0415 - help must not wait for the work's
            from models.checkpoint import load_checkpoint  # noqa: PLC0415
            from retrieval.digest import digest_checkpoint  # noqa: PLC0415
            from retrieval.indexing import Identity, index_sources  # noqa: PLC0415

            embedder = Embedder(load_checkpoint(checkpoint))
            root = (files if files.is_dir() else files.parent).resolve()
            identity = Identity(checkpoint.resolve(), digest_checkpoint(checkpoint), root)
        sources = _list_sources(files, embedder.config.modalities)
        try:
            with bars() as progress:
                report = index_sources(
                    sources,
                    output,
                    embedder,
                    identity,
                    limits=_limits(max_seconds),
                    progress=lambda done, total: progress("Indexing", done, total),
                )
        except KeyboardInterrupt as stopped:
            raise CommandError("indexing was stopped", remedy="Go on with the same command.") from stopped
    _show_report(report)
    say(f'Next: activity search {shlex.quote(str(output))} "words that say what you look for"')


def _limits(max_seconds: float) -> Limits:
    """The server's limits, with those that grow with a file's length."""
    from handler.limits import Limits  # noqa: PLC0415 - as above

    usual = Limits()
    longer = max(1.0, max_seconds / usual.max_duration_seconds)
    return Limits(max_duration_seconds=max_seconds, max_packets=round(usual.max_packets * longer))


def _list_sources(files: Path, modalities: Collection[str]) -> list[Source]:
    """What is to be indexed, with names relative to the folder or the manifest's.

    Raises:
        CommandError: there is nothing.
    """
    from retrieval.sources import Source, find_sources  # noqa: PLC0415 - as above

    if files.is_dir():
        sources = find_sources(files, modalities)
    else:
        from training.manifest import read_manifest  # noqa: PLC0415 - as above

        sources = [
            Source(
                Path(os.path.relpath(next(iter(entry.files.values())), files.parent)).as_posix(),
                {"video" if part == "clip" else part: path for part, path in entry.files.items()},
            )
            for entry in read_manifest(files)
        ]
        twice = [name for name, count in Counter(source.name for source in sources).items() if count > 1]
        if twice:
            raise CommandError(f"{files.name} lists {printable(twice[0])} twice", remedy="List each clip once.")
    if not sources:
        raise CommandError(
            f"{files} has no media file that the checkpoint can embed ({', '.join(modalities)})",
            remedy="Give a folder with videos or sounds, such as .mp4 or .wav.",
        )
    return sources


def _show_report(report: IndexReport) -> None:
    windows = ", ".join(f"{count} of {name}" for (_, name), count in report.channels.items()) or "none"
    stderr.print(
        f"{report.embedded} files embedded, {report.unchanged} as they were, {report.dropped} gone; windows: {windows}"
    )
    if not report.failures:
        return
    stderr.print(f"[red]{len(report.failures)} files are not in the index:[/red]")
    for name, reason in list(report.failures.items())[:SHOWN_FAILURES]:
        stderr.print(f"  {escape(printable(name))}: {escape(reason)}")
    if len(report.failures) > SHOWN_FAILURES:
        stderr.print(f"  and {len(report.failures) - SHOWN_FAILURES} more")
