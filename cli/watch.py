"""``activity watch``: what happens in a recording, a camera or a stream, while it happens."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer
from rich.console import Console

from cli.asking import Place
from cli.destination import DEFAULT_TIMEOUT_SECONDS
from cli.errors import user_errors
from cli.long_files import STREAM_EXTRAS, AskingClient
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
from cli.predict import AUTO, Format, read_text, read_whole_options
from cli.progress import say
from cli.timed_words import split_words

if TYPE_CHECKING:
    from cli.watching import View
    from client.stream import ActivityStream
    from handler.answer_text import AnswerFormat


def watch(  # noqa: PLR0913 - one argument an option of the command line
    source: Annotated[
        str, typer.Argument(help="A file, a camera such as /dev/video0, or an address: rtsp://, http://, ...")
    ],
    *,
    text: Annotated[
        Path | None, typer.Option(help="Words: plain, or WebVTT or SRT by the source's clock.", metavar="FILE")
    ] = None,
    chunk_seconds: Annotated[float, typer.Option(help="Wanted length of a chunk.", min=0.2, max=60)] = 2.0,
    fast: Annotated[
        bool, typer.Option("--fast", help="As quickly as it is answered, and nothing is ever dropped.")
    ] = False,
    encode: Annotated[
        bool, typer.Option("--encode", help="Encode here (H.264, AAC), also where copying would do.")
    ] = False,
    input_format: Annotated[
        str | None, typer.Option(help="FFmpeg's input format, where the source does not tell it.", metavar="NAME")
    ] = None,
    input_option: Annotated[
        list[str] | None, typer.Option(help="FFmpeg's option for it, such as video_size=640x480.", metavar="KEY=VALUE")
    ] = None,
    options: OptionsJson = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Write the whole stream's answer here at its end.")
    ] = None,
    format: Annotated[Format, typer.Option(help="The format of -o.")] = Format.json,  # noqa: A002
    json_lines: Annotated[bool, typer.Option("--json", help="A line of JSON a chunk.")] = False,
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
    """Watch a source: label what happens while it happens.

    The source is opened here, cut into chunks of about --chunk-seconds, at key frames where there are any in time, and
    sent as a stream. A source that the server cannot keep up with loses its oldest waiting chunks, which is said. A
    file goes at its own pace, or with --fast as quickly as it is answered. Ctrl-C ends the stream and shows all of it.

    [bold]Examples[/bold]

    $ activity watch recording.mp4 --text words.vtt
    $ activity watch recording.mp4 --fast -o labels.vtt --format vtt
    $ activity watch /dev/video0 --input-option video_size=640x480
    $ activity watch rtsp://camera/stream1 --json
    $ activity watch testsrc=size=320x240:rate=25 --input-format lavfi
    """
    # Help must not wait for what only the work needs.
    from cli.watching import Watcher, latency_words, stop_by_ctrl_c  # noqa: PLC0415
    from client.sources import open_source, read_address  # noqa: PLC0415
    from client.stream import ActivityStream  # noqa: PLC0415

    asked = read_whole_options(options, "a live view")
    if output is not None and format is Format.table:
        raise typer.BadParameter("-o is written as json, ndjson, vtt or srt")
    wants_windows = "windows" in asked.get("extras", ())
    check_extras(asked)
    words = None if text is None else read_text(text)
    if words == AUTO.encode():
        raise typer.BadParameter("the words of the sound need the whole recording: a stream has none")
    address = read_address(source, format=input_format, options=read_pairs(input_option or ()))
    place = Place(local, checkpoint, grpc, server, token, model, version, timeout, run_dir, ca)
    with user_errors(), open_source(address) as opened:
        asker = place.find()
        extras = list(dict.fromkeys((*asked.get("extras", ()), "windows")))
        stream = ActivityStream(AskingClient(asker), {**asked, "extras": extras}, keeps_windows=wants_windows)
        try:
            with build_view(source, chunk_seconds, json_lines=json_lines) as view:
                watcher = Watcher(
                    opened, stream, view, chunk_seconds, is_fast=fast, encode=encode, words_of=split_words(words).take
                )
                with stop_by_ctrl_c(watcher.stop, view.say):
                    watcher.run()
                if len(watcher.latencies) > 1:
                    view.say(latency_words(watcher.latencies))
        finally:
            finish(stream, output, format, is_quiet=json_lines)


def check_extras(options: Mapping[str, Any]) -> None:
    """Hold that a stream can have the extras that were asked for.

    Raises:
        typer.BadParameter: naming the others.
    """
    extras = options.get("extras", [])
    if not isinstance(extras, list) or set(map(str, extras)) - STREAM_EXTRAS:
        raise typer.BadParameter(f"a stream's extras are of {', '.join(sorted(STREAM_EXTRAS))}, got {extras}")


def read_pairs(pairs: Sequence[str]) -> dict[str, str]:
    """``KEY=VALUE`` each.

    Raises:
        typer.BadParameter: one is none.
    """
    found: dict[str, str] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not key or not equals:
            raise typer.BadParameter(f"--input-option must be KEY=VALUE, such as video_size=640x480, got {pair!r}")
        found[key] = value
    return found


@contextmanager
def build_view(source: str, chunk_seconds: float, *, json_lines: bool) -> Iterator[View]:
    """The view that suits where standard output goes."""
    from cli.watch_views import JsonView, LineView, LiveView  # noqa: PLC0415 - as above

    console = Console(highlight=False)
    if json_lines:
        yield JsonView()
    elif console.is_terminal:
        with LiveView(source, chunk_seconds, console) as view:
            yield view
    else:
        yield LineView()


def finish(stream: ActivityStream, output: Path | None, shown: Format, *, is_quiet: bool) -> None:
    """Write and show the whole stream, as far as it was answered."""
    from handler.answer_text import render_values  # noqa: PLC0415 - as above

    if not stream.has_answer:
        return
    answer = stream.answer()
    if output is not None:
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_bytes(render_values(answer, cast("AnswerFormat", shown.value)))
        say(f"{len(answer['segments'])} segments in {output}")
    if not is_quiet:
        from cli.timeline import render_answer  # noqa: PLC0415 - as above

        sys.stdout.flush()
        render_answer(answer, Console(highlight=False))
