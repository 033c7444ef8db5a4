"""``activity predict``: timed labels of one clip or of many, from a server or in the process."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape

from cli.answers import open_answers
from cli.asking import Asker, Place
from cli.batch import MANIFEST_SUFFIXES, Batch, list_clips
from cli.destination import DEFAULT_TIMEOUT_SECONDS
from cli.errors import user_errors
from cli.failures import end_with_failures
from cli.long_files import find_long_file, predict_shown
from cli.package import DEMO_CHECKPOINT
from cli.place_options import (
    Ca,
    Grpc,
    Local,
    LocalCheckpoint,
    ModelName,
    ModelVersion,
    OptionsJson,
    Server,
    ServerRunDir,
    Timeout,
    Token,
)
from cli.progress import bars, say, stderr, step
from client.answer import Answer
from handler.strict_json import JsonError, parse_json

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
    clips: Annotated[
        list[Path] | None,
        typer.Argument(
            help="A file with picture, sound or both; with -o also folders, manifests, many files.", metavar="[CLIP]..."
        ),
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
    options: OptionsJson = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Answer many clips into this file, one JSON line a clip.")
    ] = None,
    jobs: Annotated[int, typer.Option(help="With -o: requests at a time.", min=1, max=64)] = 1,
    words: Annotated[
        bool, typer.Option("--words/--no-words", help="With -o: take the .vtt, .srt or .txt beside each clip.")
    ] = True,
    retry: Annotated[bool, typer.Option("--retry", help="With -o: ask again for the clips that failed.")] = False,
    format: Annotated[Format, typer.Option(help="How the answer is shown.")] = Format.table,  # noqa: A002
    grpc: Grpc = False,
    local: Local = False,
    checkpoint: LocalCheckpoint = DEMO_CHECKPOINT,
    server: Server = None,
    token: Token = None,
    model: ModelName = None,
    version: ModelVersion = None,
    timeout: Timeout = DEFAULT_TIMEOUT_SECONDS,
    run_dir: ServerRunDir = None,
    ca: Ca = None,
) -> None:
    """Label what happens in a clip, with times.

    Asks the server that `activity serve` started; with --local the same model answers in this process, byte for byte
    alike. Any of the clip and the other parts may be left out: what is missing is said in the answer.

    A recording of more than two minutes goes in chunks, with a bar that says how far it is; the answer is that of one
    request.

    With -o every clip of the folders, manifests and files is answered, and each becomes a line of JSON: its path from
    the file's folder, the status, and the answer, or the error. Stopped or killed at any moment, the same command
    goes on where it was; what has a line is not asked for again.

    [bold]Examples[/bold]

    $ activity predict clip.mp4 --text words.vtt
    $ activity predict clip.mp4 --format vtt > labels.vtt
    $ activity predict clip.mp4 --format ndjson | jq 'select(.type == "segment")'
    $ activity predict clip.mp4 --options '{"top_k": 3, "threshold": 0.5}' --format json
    $ activity predict clip.mp4 --grpc
    $ activity predict clip.mp4 --local
    $ activity predict recordings --jobs 4 -o answers.jsonl
    $ activity predict clip.mp4 --text auto --options '{"extras": ["transcript", "descriptions"]}'
    $ activity predict clip.mp4 --local --checkpoint runs/zero-shot --options '{"labels": ["cooking", "typing"]}'

    Ends with 0 when there is a prediction, with 1 when the answer is an error, with 2 when the command is wrong; with
    -o and N clips that failed with 100 + N, at most 125.
    """
    place = Place(local, checkpoint, grpc, server, token, model, version, timeout, run_dir, ca)
    given = tuple(clips or ())
    clip = None if output is not None else single_clip(given)
    files = {"video": clip, "audio": audio, "image": image, "tabular": tabular, "depth": depth}
    given_files = {name: path for name, path in files.items() if path is not None}
    parts = ({} if text is None else {"text": read_text(text)}) | read_named_parts(part or ())
    request_options = read_options(options, format)
    if output is not None:
        if not given or given_files or parts.keys() - {"text"} or parts.get("text", b"auto") != AUTO.encode():
            raise typer.BadParameter("with -o give clips, and of the other parts --text auto at most")
        many = Many(given, output, jobs, words, retry)
        predict_many(many, place, request_options, parts.get("text"))
        return
    if not parts and not given_files:
        raise typer.BadParameter("give a CLIP, --audio, --text or another part")
    answer = answer_one(place.find(), given_files, parts, request_options)
    show_answer(answer, format)
    if not answer.ok:
        raise typer.Exit(1)


def answer_one(
    asker: Asker, files: Mapping[str, Path], parts: Mapping[str, bytes], options: Mapping[str, Any]
) -> Answer:
    """Answer one request, or a recording that is too long for one chunk by chunk, and show how far it is.

    Raises:
        ClientError: the model did not answer.
    """
    long = find_long_file(files, parts, options)
    if long is not None:
        return predict_shown(long, asker, parts, options)
    with step(asker.title) as asking:
        asker.watch(asking.update)
        return asker.ask({**{name: path.read_bytes() for name, path in files.items()}, **parts}, options)


def single_clip(given: Sequence[Path]) -> Path | None:
    """The one clip to be shown, if there is one.

    Raises:
        typer.BadParameter: there is no such file, or what was given is many clips.
    """
    if not given:
        return None
    clip = given[0]
    if len(given) > 1 or clip.is_dir() or clip.suffix.lower() in MANIFEST_SUFFIXES:
        raise typer.BadParameter("many clips are answered into a file: add -o answers.jsonl")
    if not clip.is_file():
        raise typer.BadParameter(f"there is no file {clip}")
    return clip


@dataclass(frozen=True)
class Many:
    """What the command line says about answering many clips."""

    given: Sequence[Path]
    output: Path
    jobs: int = 1
    words: bool = True
    """Take those beside each clip."""
    retry: bool = False
    """Ask again for those that failed."""


def predict_many(many: Many, place: Place, options: dict[str, Any], text: bytes | None) -> None:
    """Answer every clip into a file; the failures are listed at the end.

    Args:
        many: which clips, into which file.
        place: whom to ask.
        options: the requests' options.
        text: what stands for the words of a clip that has none beside it.

    Raises:
        CommandError: it cannot go on; what the file has is whole.
        typer.Exit: with 100 and the number of clips that failed.
    """
    # A full queue is waited for as long as an answer may take.
    asker = place.find(patience_seconds=place.timeout_seconds)
    with user_errors():
        folder = many.output.absolute().parent
        clips = list_clips(many.given, asker.modalities, words=many.words, folder=folder)
        asked = {"options": options, "words": many.words, "text": text is not None and text.decode(), **asker.asked}
        with open_answers(many.output, asked, forget_failures=many.retry) as answers:
            if answers.cut_bytes:
                say(f"The last line of {many.output} was half written: its clip is asked for again.")
            with bars() as progress:
                batch = Batch(asker, options, text, many.jobs)
                batch.answer_all(clips, answers, lambda done, total: progress(asker.title, done, total))
    end_with_failures([answers.lines[clip.name] for clip in clips], many.output)


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
        typer.BadParameter: when the text is no JSON object, names another format, or asks for what is no table.
    """
    try:
        options = parse_json(text) if text else {}
    except JsonError as exc:
        raise typer.BadParameter(f"--options is no JSON: {exc}") from exc
    if not isinstance(options, dict):
        raise typer.BadParameter(f'--options must be a JSON object such as {{"top_k": 3}}, got {text}')
    wanted = "json" if shown is Format.table else shown.value
    if options.get("format", wanted) != wanted:
        raise typer.BadParameter(f"--options asks for the format '{options['format']}', --format for '{shown.value}'")
    if options.get("stream") is True and shown is Format.table:
        raise typer.BadParameter("--options asks for lines as they come (stream): add --format ndjson, or leave it out")
    # JSON is the server's default: left out, a clip alone can go as one raw body.
    return options if wanted == "json" else {**options, "format": wanted}


def read_whole_options(text: str | None, what: str) -> dict[str, Any]:
    """The request's options for ``what``, which settles itself whether the answer comes whole.

    Raises:
        typer.BadParameter: as :func:`read_options`, or they ask for an answer in parts.
    """
    options = read_options(text, Format.json)
    parts = [name for name in ("stream", "chunk") if options.get(name) not in (None, False)]
    if parts:
        raise typer.BadParameter(f"--options: leave out {' and '.join(parts)}: {what} settles that itself")
    return options


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
