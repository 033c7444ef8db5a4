"""A recording that is too long for one request: sent as a stream of chunks, answered as one request would be."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from cli.asking import Asker
from cli.errors import CommandError
from cli.progress import say, stderr
from cli.timed_words import split_words
from client.answer import Answer

LONG_SECONDS = 120.0
"""A longer recording goes in chunks: one request would say nothing of itself for as long as it takes."""
LONG_BYTES = 48 * 1024 * 1024
"""So does a larger one: a request may have 64 MiB of one part."""
CHUNK_SECONDS = 20.0
STREAM_EXTRAS = frozenset({"windows", "timing"})
"""Extras that a stream can have; the others need the whole recording."""
STREAM_PARTS = frozenset({"video", "audio", "text", "image", "tabular"})
CONTENT_TYPES = {
    "json": "application/json",
    "ndjson": "application/x-ndjson",
    "vtt": "text/vtt; charset=utf-8",
    "srt": "application/x-subrip; charset=utf-8",
}


@dataclass(frozen=True)
class LongFile:
    """A recording that is sent in chunks."""

    path: Path
    part: str
    """What it is sent as: ``video`` or ``audio``."""
    duration_seconds: float


def find_long_file(
    files: Mapping[str, Path], parts: Mapping[str, bytes], options: Mapping[str, Any]
) -> LongFile | None:
    """The recording of a request that is to be sent in chunks.

    Args:
        files: the request's media by part.
        parts: its other parts.
        options: its options.

    Returns:
        None where one request does: it is short, asks for what needs the whole recording, or has several files that go
        on with time; and where this side cannot open it, so that the server's error says why.
    """
    if {"video", "audio"}.isdisjoint(files) or len(files) > 1 or not _takes_chunks(parts, options):
        return None
    ((part, path),) = files.items()
    from client.chunk_files import choose_format  # noqa: PLC0415 - help must not wait for what only the work needs
    from client.errors import SourceUnusable  # noqa: PLC0415
    from client.sources import open_source, read_address  # noqa: PLC0415

    try:
        with open_source(read_address(str(path))) as source:
            if choose_format(source.container, source.codecs) is None:
                return None  # it would be encoded anew
            declared = source.duration_seconds
            seconds = declared if declared is not None else max((float(held.stop) for held in source.held()), default=0)
    except SourceUnusable:
        return None
    is_long = seconds > LONG_SECONDS or path.stat().st_size > LONG_BYTES
    return LongFile(path, part, seconds) if is_long else None


def _takes_chunks(parts: Mapping[str, bytes], options: Mapping[str, Any]) -> bool:
    if not parts.keys() <= STREAM_PARTS or parts.get("text") == b"auto" or options.get("transcribe"):
        return False
    extras = options.get("extras", [])
    is_known = isinstance(extras, list) and all(extra in STREAM_EXTRAS for extra in extras)
    if extras and options.get("format") in ("vtt", "srt"):  # they have no place for any: the server says so
        return False
    return is_known and not {"chunk", "stream"} & options.keys()


def predict_long(
    long: LongFile,
    asker: Asker,
    parts: Mapping[str, bytes],
    options: Mapping[str, Any],
    *,
    report: Callable[[float], None] = lambda _: None,
    stopped: threading.Event | None = None,
) -> Answer:
    """Answer a long recording as one request would be: to the byte, but for what is rounded.

    Args:
        long: the recording.
        asker: whom to ask.
        parts: the request's other parts.
        options: the request's options; its ``format`` is made here.
        report: is told how many seconds are done.
        stopped: ends it between two chunks.

    Raises:
        CommandError: it was stopped.
        ClientError: the model did not answer.
    """
    from client.cutting import cut_file  # noqa: PLC0415 - help must not wait for what only the work needs
    from client.errors import ChunkRefused  # noqa: PLC0415
    from client.stream import ActivityStream  # noqa: PLC0415
    from handler.answer_text import encode_json, render_values  # noqa: PLC0415

    shown = options.get("format", "json")
    asked = {name: value for name, value in options.items() if name != "format"}
    stream = ActivityStream(AskingClient(asker), asked, part=long.part)
    words = split_words(parts.get("text"))
    others = {name: body for name, body in parts.items() if name != "text"}
    try:
        for chunk in cut_file(str(long.path), CHUNK_SECONDS):
            if stopped is not None and stopped.is_set():
                raise _stopped(long, chunk.start_seconds)
            text = words.take(chunk)
            answer = stream.send(chunk, **others, **({} if text is None else {"text": text}))
            if answer.begun_anew:
                say(f"{long.path.name}: begun anew at {chunk.start_seconds:.1f} s ({answer.begun_anew})")
            report(chunk.stop_seconds)
    except ChunkRefused as error:
        return Answer(error.status, CONTENT_TYPES["json"], encode_json(error.body))
    return Answer(200, CONTENT_TYPES[shown], render_values(stream.answer(), shown))


def predict_shown(long: LongFile, asker: Asker, parts: Mapping[str, bytes], options: Mapping[str, Any]) -> Answer:
    """:func:`predict_long` with its progress on standard error.

    Raises:
        CommandError: Ctrl-C ended it.
        ClientError: the model did not answer.
    """
    done = 0.0

    with seconds_bar(asker.title, long.duration_seconds) as advance:

        def report(seconds: float) -> None:
            nonlocal done
            done = seconds
            advance(seconds)

        try:
            return predict_long(long, asker, parts, options, report=report)
        except KeyboardInterrupt:
            raise _stopped(long, done) from None


@contextmanager
def seconds_bar(title: str, total_seconds: float, console: Console = stderr) -> Iterator[Callable[[float], None]]:
    """A bar in seconds of media, with how many of them a second does; the block calls it with those that are done."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("{task.completed:.0f} of {task.total:.0f} s, {task.fields[speed]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as progress:
        task = progress.add_task(title, total=total_seconds, speed="")

        def advance(seconds: float) -> None:
            elapsed = progress.tasks[0].elapsed or 0.0
            speed = f"{seconds / elapsed:.1f} x real time" if elapsed > 0 else ""
            progress.update(task, completed=min(seconds, total_seconds), speed=speed)

        yield advance
        progress.update(task, completed=total_seconds)


def _stopped(long: LongFile, seconds: float) -> CommandError:
    done = f"{seconds:.0f} of {long.duration_seconds:.0f} s"
    return CommandError(f"stopped in {long.path.name} after {done}", remedy="Run the same command again.")


@dataclass(frozen=True)
class AskingClient:
    """Whom a command asks, as a stream's client."""

    asker: Asker

    def predict(self, *, options: Mapping[str, Any] | None = None, **parts: Any) -> Answer:
        """Send one request."""
        sent = {name: body.encode() if isinstance(body, str) else body for name, body in parts.items()}
        return self.asker.ask(sent, options or {})
