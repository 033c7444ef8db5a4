"""``activity predict``: one clip's timed labels, from a server or in the process."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape

from cli.destination import DEFAULT_TIMEOUT_SECONDS, Destination
from cli.package import DEMO_CHECKPOINT
from cli.progress import stderr, step
from cli.record import RUN_DIR_VARIABLE, require_record, resolve_run_dir
from client.answer import Answer

AUTO = "auto"
"""The text that asks for the words of the sound."""


class Format(StrEnum):
    """How the answer is shown; all but the table are the server's bytes as they came."""

    table = "table"
    json = "json"
    ndjson = "ndjson"
    vtt = "vtt"
    srt = "srt"


def predict(  # noqa: PLR0913 - one argument an option of the command line
    clip: Annotated[
        Path | None, typer.Argument(help="The clip: a file with picture, sound or both.", exists=True, dir_okay=False)
    ] = None,
    *,
    audio: Annotated[
        Path | None, typer.Option(help="A sound file, used in place of the clip's own.", exists=True, dir_okay=False)
    ] = None,
    text: Annotated[
        Path | None,
        typer.Option(
            help="Words: plain, WebVTT or SRT; or 'auto', of a model with a transcriber: the words of the sound.",
            metavar="FILE|auto",
        ),
    ] = None,
    image: Annotated[Path | None, typer.Option(help="A picture.", exists=True, dir_okay=False)] = None,
    tabular: Annotated[
        Path | None, typer.Option(help="A row of a table: CSV, JSON or Parquet.", exists=True, dir_okay=False)
    ] = None,
    depth: Annotated[
        Path | None, typer.Option(help="A video whose grey is the depth.", exists=True, dir_okay=False)
    ] = None,
    part: Annotated[
        list[str] | None,
        typer.Option(
            help="A sequence of vectors that the model has, such as imu=FILE: CSV, JSON or Parquet.",
            metavar="NAME=FILE",
        ),
    ] = None,
    options: Annotated[
        str | None, typer.Option(help="Options of the request, one JSON object.", metavar="JSON")
    ] = None,
    format: Annotated[Format, typer.Option(help="How the answer is shown.")] = Format.table,  # noqa: A002
    grpc: Annotated[bool, typer.Option("--grpc", help="Ask by gRPC instead of REST.")] = False,
    local: Annotated[bool, typer.Option("--local", help="Predict in this process, without a server.")] = False,
    checkpoint: Annotated[
        Path, typer.Option(help="The model that --local uses.", show_default="model-store/demo")
    ] = DEMO_CHECKPOINT,
    server: Annotated[
        str | None,
        typer.Option(help="Address of another server: http://HOST:PORT, with --grpc HOST:PORT.", metavar="ADDRESS"),
    ] = None,
    token: Annotated[
        str | None, typer.Option(help="That server's inference key.", envvar="ACTIVITY_TOKEN", show_envvar=True)
    ] = None,
    model: Annotated[str | None, typer.Option(help="The model's registered name.", show_default="activity")] = None,
    version: Annotated[str | None, typer.Option(help="A version of it.", show_default="the default one")] = None,
    timeout: Annotated[float, typer.Option(help="Seconds to wait for the answer.", min=0.1)] = DEFAULT_TIMEOUT_SECONDS,
    run_dir: Annotated[
        Path | None,
        typer.Option(help="Run folder of the server.", envvar=RUN_DIR_VARIABLE, show_default=".activity"),
    ] = None,
) -> None:
    """Label what happens in a clip, with times.

    Asks the server that `activity serve` started; with --local the same model answers in this process, byte for byte
    alike. Any of the clip and the other parts may be left out: what is missing is said in the answer.

    [bold]Examples[/bold]

    $ activity predict clip.mp4 --text words.vtt
    $ activity predict clip.mp4 --format vtt > labels.vtt
    $ activity predict clip.mp4 --format ndjson | jq 'select(.type == "segment")'
    $ activity predict clip.mp4 --options '{"top_k": 3, "threshold": 0.5}' --format json
    $ activity predict clip.mp4 --grpc
    $ activity predict clip.mp4 --local
    $ activity predict clip.mp4 --text auto --options '{"extras": ["transcript", "descriptions"]}'
    $ activity predict clip.mp4 --local --checkpoint runs/zero-shot --options '{"labels": ["cooking", "typing"]}'

    Ends with 0 when there is a prediction, with 1 when the answer is an error, with 2 when the command is wrong.
    """
    files = {"video": clip, "audio": audio, "image": image, "tabular": tabular, "depth": depth}
    parts = {name: path.read_bytes() for name, path in files.items() if path is not None}
    parts |= ({} if text is None else {"text": read_text(text)}) | read_named_parts(part or ())
    if not parts:
        raise typer.BadParameter("give a CLIP, --audio, --text or another part")
    request_options = read_options(options, format)
    if local:
        answer = predict_local(parts, request_options, checkpoint)
    else:
        if server is None:
            record = require_record(resolve_run_dir(run_dir))
            destination = Destination.of_record(record, model=model, version=version, timeout_seconds=timeout)
        else:
            destination = Destination(server, server, token, model or "activity", version, timeout)
        with step("Asking the server"):
            answer = destination.ask(parts, request_options, grpc=grpc)
    show_answer(answer, format)
    if not answer.ok:
        raise typer.Exit(1)


def read_text(path: Path) -> bytes:
    """The words of a file, or the word that asks for those of the sound, where no file has that name.

    Raises:
        typer.BadParameter: when there is no such file.
    """
    if str(path) == AUTO and not path.exists():
        return AUTO.encode()
    try:
        return path.read_bytes()
    except OSError as exc:
        raise typer.BadParameter(f"--text {path} cannot be read: {exc.strerror}") from exc


def read_named_parts(named: Sequence[str]) -> dict[str, bytes]:
    """The parts that ``NAME=FILE`` names.

    Raises:
        typer.BadParameter: when there is no name, or no such file.
    """
    parts: dict[str, bytes] = {}
    for pair in named:
        name, _, path = pair.partition("=")
        if not name or not path:
            raise typer.BadParameter(f"--part must be NAME=FILE, such as imu=imu.csv, got {pair!r}")
        try:
            parts[name] = Path(path).read_bytes()
        except OSError as exc:
            raise typer.BadParameter(f"--part {name}: {path} cannot be read: {exc.strerror}") from exc
    return parts


def read_options(text: str | None, shown: Format) -> dict[str, Any]:
    """The request's options: the JSON object in ``text``, with the format that ``shown`` needs.

    Raises:
        typer.BadParameter: when the text is no JSON object, or names another format.
    """
    try:
        options = json.loads(text) if text else {}
    except ValueError as exc:
        raise typer.BadParameter(f"--options is no JSON: {exc}") from exc
    if not isinstance(options, dict):
        raise typer.BadParameter(f'--options must be a JSON object such as {{"top_k": 3}}, got {text}')
    wanted = "json" if shown is Format.table else shown.value
    if options.get("format", wanted) != wanted:
        raise typer.BadParameter(f"--options asks for the format '{options['format']}', --format for '{shown.value}'")
    # JSON is the server's default: left out, a clip alone can go as one raw body.
    return options if wanted == "json" else {**options, "format": wanted}


def predict_local(parts: dict[str, bytes], options: dict[str, Any], checkpoint: Path) -> Answer:
    """Answer in this process, with what the server would be given by gRPC."""
    from client.parts import build_parts  # noqa: PLC0415

    with step(f"Loading {checkpoint.name}"):
        from handler.pipeline import ActivityPipeline  # noqa: PLC0415 - torch takes seconds: they are shown
        from models.settings import SettingsError  # noqa: PLC0415

        try:
            pipeline = ActivityPipeline.from_checkpoint(checkpoint)
        except SettingsError as exc:
            raise typer.BadParameter(str(exc)) from exc
    media = {name: content for name, content in parts.items() if name not in ("video", "audio", "text")}
    request = build_parts(parts.get("video"), parts.get("audio"), parts.get("text"), options, media)
    with step("Predicting"):
        (response,) = pipeline.respond([{name: bytearray(body) for name, body in request.items()}], ["local"])
    return Answer(response.status, response.content_type, response.body)


def show_answer(answer: Answer, shown: Format) -> None:
    """Print an answer: bytes or a table on standard output, an error's message and remedy on standard error."""
    if answer.ok and shown is Format.table:
        from cli.timeline import render_answer  # noqa: PLC0415

        render_answer(answer.json(), Console(highlight=False))
        return
    if answer.ok or shown in (Format.json, Format.ndjson):
        sys.stdout.buffer.write(answer.body)
        sys.stdout.buffer.flush()
    if not answer.ok:
        error = answer.json()
        stderr.print(f"[red]Error {answer.status}[/red] ({error['code']}): {escape(error['message'])}")
        stderr.print(escape(error.get("remedy", "")))
