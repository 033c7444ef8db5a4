"""A file of answers, one JSON line a clip, that can be gone on with after whatever stopped its writer.

A line is written in one piece, and a piece of one that a killed writer left is cut off at the next start. So that no
file mixes what cannot be compared, each line says what it was asked with, and every prediction says its model.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from cli.errors import CommandError

LINE_START = b'{"file":'
OTHER_FILE = "Write to another file with -o, or run the command as it was run for this one."


@dataclass(frozen=True)
class Line:
    """What one clip came to."""

    file: str
    """The clip, relative to the folder of the answers."""
    status: int | None
    """200, or that of the model's error; None where the model did not answer."""
    error: Mapping[str, Any] | None = None
    """The error's body; None for a prediction."""
    model: tuple[str, str] | None = None
    """Name and version that the prediction says."""

    @classmethod
    def from_json(cls, value: Any, asked: Mapping[str, Any]) -> Self:
        """Read a line of the file.

        Raises:
            KeyError, TypeError, AttributeError: it is no line of such a file.
            CommandError: it was asked for in another way.
        """
        if value["asked"] != asked:
            differing = sorted(key for key in {*value["asked"], *asked} if value["asked"].get(key) != asked.get(key))
            raise CommandError(
                f"the answers so far were asked for with another value of: {', '.join(differing)}", remedy=OTHER_FILE
            )
        return cls(value["file"], value["status"], value.get("error"), model_of(value.get("answer")))


def model_of(answer: Any) -> tuple[str, str] | None:
    """Name and version that a JSON prediction says; WebVTT and SRT say none."""
    return (answer["model"]["name"], answer["model"]["version"]) if isinstance(answer, dict) else None


@dataclass
class AnswersFile:
    """An open file of answers; made by :func:`open_answers`."""

    path: Path
    asked: Mapping[str, Any]
    """How every clip is asked for: JSON values."""
    descriptor: int = field(repr=False)
    """Of the file, which is locked; what is written goes to its end."""
    lines: dict[str, Line] = field(default_factory=dict)
    """What is there, by clip."""
    cut_bytes: int = 0
    """The length of the half line that was cut off."""

    def append(self, line: Line, body: bytes) -> None:
        """Write a clip's line.

        Args:
            line: what it came to.
            body: the answer or the error, as JSON without a line end: it stands in the line byte for byte.

        Raises:
            CommandError: the answer is another model's than those that are there.
            OSError: the disk is full, or the like; the piece that is there is cut off, as another line may follow it.
        """
        self._check_place()
        known = next((it.model for it in self.lines.values() if it.model is not None), line.model)
        if line.model is not None and line.model != known:
            raise CommandError(
                f"{line.file} was answered by {' '.join(line.model)}, those before it by {' '.join(known or ())}",
                remedy="Ask for that one with --version, or write to another file with -o.",
            )
        key = b"answer" if line.error is None else b"error"
        head = {"file": line.file, "status": line.status, "asked": self.asked}
        start = json.dumps(head, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "backslashreplace")
        whole = start[:-1] + b',"' + key + b'":' + body + b"}\n"
        length = os.fstat(self.descriptor).st_size
        try:
            while whole:
                whole = whole[os.write(self.descriptor, whole) :]
        except OSError:
            os.ftruncate(self.descriptor, length)
            raise
        self.lines[line.file] = line

    def _check_place(self) -> None:
        """Hold that lines still go to the file of that name: an editor that saves it puts another one there."""
        try:
            is_current = os.path.samestat(os.fstat(self.descriptor), self.path.stat())
        except FileNotFoundError:
            is_current = False
        if not is_current:
            raise CommandError(
                f"{self.path} was replaced or taken away while it was written to", remedy="Run the command again."
            )


@contextmanager
def open_answers(path: Path, asked: Mapping[str, Any], *, forget_failures: bool = False) -> Iterator[AnswersFile]:
    """Open a file of answers, which is made where it is missing, as its only writer.

    Args:
        path: the file.
        asked: how every clip is asked for.
        forget_failures: take out the lines of clips that failed, so that they are asked for again.

    Raises:
        CommandError: it holds something else, was asked for otherwise, or another process writes to it.
        OSError: the place cannot be written to.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists() and not path.is_file():  # a pipe's end would be waited for, a device keeps nothing
        raise CommandError(f"{path} is no file that can be gone on with", remedy="Name a file with -o.")
    path = Path(os.path.realpath(path))  # what a link is to is written and replaced, not the link
    descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        try:
            # The kernel's own lock: it ends with the process, however that ends.
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            is_current = os.path.samestat(os.fstat(descriptor), path.stat())  # its last writer may have replaced it
        except BlockingIOError:
            is_current = False
        if not is_current:
            remedy = "Wait for it, or write to another file with -o."
            raise CommandError(f"another command is writing to {path}", remedy=remedy)
        answers = AnswersFile(path, asked, descriptor)
        _read(answers)
        if forget_failures:
            _forget_failures(answers)
        yield answers
    finally:
        os.close(descriptor)


def _read(answers: AnswersFile) -> None:
    """Read every line, and mend the last."""
    content = answers.path.read_bytes()
    *whole, tail = content.split(b"\n")
    for number, text in enumerate(whole, start=1):
        _take(answers, text, f"line {number}")
    if not tail:
        return
    if _is_json(tail):  # an editor has taken the last line's end
        _take(answers, tail, f"line {len(whole) + 1}")
        os.write(answers.descriptor, b"\n")
    elif tail.startswith(LINE_START) or LINE_START.startswith(tail):
        os.ftruncate(answers.descriptor, len(content) - len(tail))
        answers.cut_bytes = len(tail)
    else:
        raise _is_no_answers(answers.path, f"line {len(whole) + 1}")


def _take(answers: AnswersFile, text: bytes, place: str) -> None:
    try:
        line = Line.from_json(json.loads(text), answers.asked)
        answers.lines[line.file] = line
    except (ValueError, KeyError, TypeError, AttributeError) as exc:
        raise _is_no_answers(answers.path, place) from exc


def _forget_failures(answers: AnswersFile) -> None:
    """Put a file without the failures in the place of this one's content; a kill leaves the one or the other."""
    kept = {name: line for name, line in answers.lines.items() if line.error is None}
    if len(kept) == len(answers.lines):
        return
    lines = answers.path.read_bytes().splitlines(keepends=True)
    draft = answers.path.with_name(f".{answers.path.name}.draft")
    draft.write_bytes(b"".join(line for line in lines if json.loads(line)["file"] in kept))
    descriptor = os.open(draft, os.O_RDWR | os.O_APPEND | os.O_CLOEXEC)
    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    draft.replace(answers.path)
    os.dup2(descriptor, answers.descriptor, inheritable=False)  # the lock goes with it
    os.close(descriptor)
    answers.lines.clear()
    answers.lines.update(kept)


def _is_no_answers(path: Path, place: str) -> CommandError:
    return CommandError(
        f"{path} is no file of answers: {place} is not one", remedy="Name another file with -o; nothing was changed."
    )


def _is_json(text: bytes) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


def as_json(body: bytes, *, is_json: bool) -> bytes:
    """A body as one line of JSON: JSON as it came, unless it has line ends; anything else, such as WebVTT, a string."""
    if is_json:
        return body if b"\n" not in body and b"\r" not in body else json.dumps(json.loads(body)).encode()
    return json.dumps(body.decode("utf-8", "replace"), ensure_ascii=False).encode()
