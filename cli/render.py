"""``activity render``: a clip with its labels burnt in."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape

from cli.asking import Place
from cli.destination import DEFAULT_TIMEOUT_SECONDS
from cli.errors import CommandError, require_files, user_errors
from cli.package import DEMO_CHECKPOINT
from cli.place_options import (
    Ca,
    Local,
    LocalCheckpoint,
    ModelName,
    ModelVersion,
    OptionsJson,
    RestServer,
    ServerRunDir,
    Timeout,
    Token,
)
from cli.predict import read_text, read_whole_options
from cli.printable import printable
from cli.progress import bars, stderr, step
from cli.timeline import TimedLabel


def render(  # noqa: PLR0913 - one argument an option of the command line
    clip: Annotated[Path, typer.Argument(help="A file with picture, sound or both.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The mp4 that is written.")],
    *,
    text: Annotated[
        Path | None, typer.Option(help="Words of the clip, as of activity predict.", metavar="FILE|auto")
    ] = None,
    options: OptionsJson = None,
    answer: Annotated[
        Path | None, typer.Option(help="Draw this JSON answer, of activity predict, and ask nobody.")
    ] = None,
    local: Local = False,
    checkpoint: LocalCheckpoint = DEMO_CHECKPOINT,
    server: RestServer = None,
    token: Token = None,
    model: ModelName = None,
    version: ModelVersion = None,
    timeout: Timeout = DEFAULT_TIMEOUT_SECONDS,
    run_dir: ServerRunDir = None,
    ca: Ca = None,
) -> None:
    """Write a clip with its labels burnt in.

    What holds stands on the picture with its score, all segments in a strip below it. Frames keep their times; the
    picture is turned upright. A sound gets a plain picture.

    [bold]Examples[/bold]

    $ activity render clip.mp4 --text words.vtt -o labelled.mp4
    $ activity render clip.mp4 --local -o labelled.mp4
    $ activity render clip.mp4 --answer answer.json -o labelled.mp4
    """
    require_files(clip, *(() if answer is None else (answer,)))
    if output.suffix.lower() != ".mp4":
        raise typer.BadParameter(f"-o must name an .mp4, got {output}")
    if output.exists() and output.samefile(clip):
        raise typer.BadParameter("-o must be another file than the clip")
    with user_errors():
        data = clip.read_bytes()
        if answer is not None:
            prediction = read_answer(answer)
        else:
            place = Place(local, checkpoint, False, server, token, model, version, timeout, run_dir, ca)
            parts = {"video": data} | ({} if text is None else {"text": read_text(text)})
            prediction = _ask(place, parts, read_whole_options(options, "a rendered clip"))
        output.parent.mkdir(parents=True, exist_ok=True)
        from cli.burn import burn  # noqa: PLC0415 - help must not wait for the work's

        with bars() as progress:
            num_frames = burn(data, prediction, output, lambda done, total: progress("Rendering", done, total))
    num_segments = len(prediction["segments"])
    counted = "1 segment" if num_segments == 1 else f"{num_segments} segments"
    stderr.print(f"{counted} on {num_frames} frames: {escape(printable(str(output)))}")


def _ask(place: Place, parts: dict[str, bytes], options: dict[str, Any]) -> dict[str, Any]:
    asker = place.find(patience_seconds=place.timeout_seconds)
    with step(asker.title):
        answered = asker.ask(parts, options)
    if not answered.ok:
        error = answered.json()
        raise CommandError(f"{error['code']}: {error['message']}", remedy=error.get("remedy", ""))
    return answered.json()


def read_answer(path: Path) -> dict[str, Any]:
    """A JSON answer from a file.

    Raises:
        CommandError: it is none.
    """
    try:
        value = json.loads(path.read_bytes())
        times = [value["start_seconds"], value["duration_seconds"]]
        for segment in map(TimedLabel.from_json, value["segments"]):
            times += [segment.start_seconds, segment.stop_seconds, segment.score]
            if not isinstance(segment.label, str):
                raise TypeError
        if not all(map(math.isfinite, times)):
            raise ValueError
    except (ValueError, KeyError, TypeError, RecursionError) as exc:
        remedy = "Make one with `activity predict CLIP --format json`."
        raise CommandError(f"{path} is no JSON answer", remedy=remedy) from exc
    return dict(value)
