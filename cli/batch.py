"""Many clips, one after the other or several at a time, into a file of answers that can be gone on with."""

from __future__ import annotations

import json
import os
import signal
import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import typer

from cli.answers import AnswersFile, Line, as_json, model_of
from cli.asking import Asker
from cli.errors import CommandError
from cli.long_files import find_long_file, predict_long
from cli.progress import say
from client.answer import Answer
from client.errors import ClientError, ServerTimeout, TooLarge, UnexpectedAnswer, WorkerFailed

CLIP_FAILURES: dict[type[ClientError], str] = {
    ServerTimeout: "timeout",
    TooLarge: "too_large",
    WorkerFailed: "worker_failed",
    UnexpectedAnswer: "unexpected_answer",
}
"""What goes wrong with one clip, and its code; any other error would go wrong with the next one too."""

MANIFEST_SUFFIXES = frozenset({".jsonl", ".json"})
LOOK_SECONDS = 0.2
"""How often a stop is looked for while no answer comes."""


@dataclass(frozen=True)
class ClipFiles:
    """One clip of many: its files by part, and what a line calls it."""

    name: str
    files: Mapping[str, Path]

    def read(self, text: bytes | None) -> dict[str, bytes]:
        """The parts of its request; ``text`` stands for words that are not there.

        Raises:
            OSError: a file cannot be read.
        """
        media = {part: path.read_bytes() for part, path in self.files.items() if part != "text"}
        return self.read_words(text) | media

    def read_words(self, text: bytes | None) -> dict[str, bytes]:
        """The part ``text`` of its request, where there is one.

        Raises:
            OSError: the file cannot be read.
        """
        if "text" in self.files:
            return {"text": self.files["text"].read_bytes()}
        return {} if text is None else {"text": text}


def list_clips(given: Sequence[Path], modalities: Collection[str], *, words: bool, folder: Path) -> list[ClipFiles]:
    """Every clip of folders, manifests and files, each once, in the order of the command line and of their names.

    Args:
        given: folders (looked through as for an index), manifests, media files.
        modalities: what is looked for in folders; words stand beside a clip.
        words: take them.
        folder: names are relative to it.

    Raises:
        typer.BadParameter: there is no such file.
        CommandError: a manifest lists a clip twice, or there is nothing at all.
    """
    from retrieval.sources import build_single_source, find_sources  # noqa: PLC0415 - help must not wait for it

    wanted = [name for name in modalities if words or name != "text"]
    found: dict[str, ClipFiles] = {}
    for path in given:
        if path.is_dir():
            files: list[Mapping[str, Path]] = [source.files for source in find_sources(path, wanted)]
        elif not path.is_file():
            raise typer.BadParameter(f"there is no file or folder {path}")
        elif path.suffix.lower() in MANIFEST_SUFFIXES:
            files = _files_of_manifest(path, words=words)
        else:
            files = [build_single_source(path, wanted).files]
        for parts in files:
            name = Path(os.path.relpath(next(iter(parts.values())), folder)).as_posix()
            found.setdefault(name, ClipFiles(name, parts))
    if not found:
        remedy = f"Give media files, such as .mp4 or .wav, or a folder that has some ({', '.join(wanted)})."
        raise CommandError(f"no media file in {', '.join(map(str, given))}", remedy=remedy)
    return list(found.values())


def _files_of_manifest(path: Path, *, words: bool) -> list[Mapping[str, Path]]:
    from training.manifest import read_manifest  # noqa: PLC0415 - as above

    found: dict[Path, Mapping[str, Path]] = {}
    for entry in read_manifest(path):
        files = {"video" if part == "clip" else part: file for part, file in entry.files.items()}
        if not words and len(files) > 1:
            files.pop("text", None)
        first = next(iter(files.values()))
        if first in found:
            raise CommandError(f"{path.name} lists {first.name} twice", remedy="List each clip once.")
        found[first] = files
    return list(found.values())


@dataclass(frozen=True)
class Batch:
    """How each clip of many is asked for."""

    asker: Asker
    options: Mapping[str, Any]
    text: bytes | None = None
    """For clips without words of their own."""
    jobs: int = 1
    """Requests at a time."""

    def answer_all(
        self, clips: Sequence[ClipFiles], answers: AnswersFile, progress: Callable[[int, int], None]
    ) -> None:
        """Ask for every clip that has no line yet.

        A stop by Ctrl-C, or an error that the next clip would meet too, lets what is in flight be answered and
        written first: nothing is asked for twice. A second Ctrl-C ends the process there and then.

        Raises:
            CommandError: it was stopped, or a clip was answered by another model than the ones before it.
            ClientError: the server is gone, does not know the token, the model, and the like.
        """
        left = iter([clip for clip in clips if clip.name not in answers.lines])
        num_done = sum(clip.name in answers.lines for clip in clips)
        progress(num_done, len(clips))
        failure: Exception | None = None
        running: dict[Future[tuple[Line, bytes]], ClipFiles] = {}
        with stop_by_ctrl_c() as stopped, ThreadPoolExecutor(self.jobs) as pool:
            while True:
                while failure is None and not stopped.is_set() and len(running) < self.jobs:
                    clip = next(left, None)
                    if clip is None:
                        break
                    running[pool.submit(self._answer, clip, stopped)] = clip
                if not running:
                    break
                finished, _ = wait(running, timeout=LOOK_SECONDS, return_when=FIRST_COMPLETED)
                for future in finished:
                    del running[future]
                    try:
                        answers.append(*future.result())
                    except (CommandError, ClientError, OSError) as error:
                        failure = failure or error
                        continue
                    num_done += 1
                    progress(num_done, len(clips))
        if failure is not None:
            raise failure
        if stopped.is_set() and num_done < len(clips):
            raise CommandError(f"stopped after {num_done} of {len(clips)} clips", remedy="Go on with the same command.")

    def _answer(self, clip: ClipFiles, stopped: threading.Event) -> tuple[Line, bytes]:
        try:
            ask = self._prepare(clip, stopped)
        except OSError as error:
            return _failed(clip, "unreadable_file", f"the file cannot be read: {error.strerror}", "Check its rights.")
        try:
            answer = ask()
        except tuple(CLIP_FAILURES) as error:
            return _failed(clip, CLIP_FAILURES[type(error)], error.message, error.remedy)
        return _answered(clip, answer)

    def _prepare(self, clip: ClipFiles, stopped: threading.Event) -> Callable[[], Answer]:
        """What asks for a clip, its files read; a long recording is read while it is sent, and may be stopped."""
        media = {part: path for part, path in clip.files.items() if part != "text"}
        words = clip.read_words(self.text)
        long = find_long_file(media, words, self.options)
        if long is not None:
            return lambda: predict_long(long, self.asker, words, self.options, stopped=stopped)
        parts = clip.read(self.text)
        return lambda: self.asker.ask(parts, self.options)


def _answered(clip: ClipFiles, answer: Answer) -> tuple[Line, bytes]:
    is_json = not answer.ok or answer.content_type.startswith("application/json")
    body = as_json(answer.body, is_json=is_json)
    if not answer.ok:
        return Line(clip.name, answer.status, error=answer.json()), body
    return Line(clip.name, answer.status, model=model_of(answer.json()) if is_json else None), body


def _failed(clip: ClipFiles, code: str, message: str, remedy: str) -> tuple[Line, bytes]:
    error = {"code": code, "message": message, "remedy": remedy}
    return Line(clip.name, None, error=error), json.dumps(error, ensure_ascii=False).encode("utf-8", "backslashreplace")


@contextmanager
def stop_by_ctrl_c() -> Iterator[threading.Event]:
    """Turn the first Ctrl-C into an event, so that no line is written half, or twice; the second ends the process."""
    stopped = threading.Event()

    def on_signal(_number: int, _frame: FrameType | None) -> None:
        if stopped.is_set():
            os._exit(130)  # every line is whole: they are written unbuffered
        stopped.set()
        say("Stopping: what is in flight is waited for; Ctrl-C again leaves at once.")

    if threading.current_thread() is not threading.main_thread():
        yield stopped
        return
    before = signal.signal(signal.SIGINT, on_signal)
    try:
        yield stopped
    finally:
        signal.signal(signal.SIGINT, before)
