"""Progress on standard error: spinners on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

stderr = Console(stderr=True, highlight=False, soft_wrap=True)
"""Progress and messages; standard output is left to what a command answers with."""


class Step:
    """One step while it runs; ``update`` says how far it is."""

    def __init__(self, title: str, console: Console) -> None:
        self._console = console
        self._title = title
        self._said = title
        self._result = ""
        self._status = console.status(escape(title)) if console.is_terminal else None

    def update(self, detail: str) -> None:
        """Say what the step does right now; the same words twice are said once."""
        text = f"{self._title}: {detail}"
        if text == self._said:
            return
        self._said = text
        if self._status is not None:
            self._status.update(escape(text))
        else:
            self._console.print(escape(text))

    def result(self, detail: str) -> None:
        """Say at the end what came of it."""
        self._result = detail

    @contextmanager
    def shown(self) -> Iterator[None]:
        """Show the step while the block runs, and its outcome after it."""
        began = time.monotonic()
        if self._status is not None:
            self._status.start()
        else:
            self._console.print(f"{escape(self._title)} ...")
        mark = "[red]✗[/red]"
        try:
            yield
            mark = "[green]✓[/green]"
        finally:
            if self._status is not None:
                self._status.stop()
            result = f": {escape(self._result)}" if self._result else ""
            seconds = time.monotonic() - began
            self._console.print(f"{mark} {escape(self._title)}{result} [dim]({seconds:.1f} s)[/dim]")


@contextmanager
def step(title: str, console: Console = stderr) -> Iterator[Step]:
    """Show one step with its time.

    >>> with step("Building the archive") as building:                       # doctest: +SKIP
    ...     building.update("weights")
    ...     building.result("7.1 MB")
    """
    shown = Step(title, console)
    with shown.shown():
        yield shown


@contextmanager
def bar(title: str, total: int, console: Console = stderr) -> Iterator[Progress]:
    """A progress bar; the block advances the one task it has: ``progress.advance(progress.task_ids[0])``."""
    with _build_bar(title, total, console) as progress:
        yield progress


@contextmanager
def bars(console: Console = stderr) -> Iterator[Callable[[str, int, int], None]]:
    """A bar for each step that reports its name, how much is done and how much there is, one after the other.

    A bar ends with its step, so that a program with bars of its own can go on below it.
    """
    shown: dict[str, Progress] = {}

    def report(name: str, done: int, total: int) -> None:
        if name not in shown:
            shown[name] = _build_bar(name, total, console)
            shown[name].start()
        shown[name].update(shown[name].task_ids[0], completed=done)
        if done == total:
            shown[name].stop()

    try:
        yield report
    finally:
        for progress in shown.values():
            progress.stop()


def _build_bar(title: str, total: int, console: Console) -> Progress:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    progress = Progress(*columns, console=console)
    progress.add_task(title, total=total)
    return progress


def say(message: str) -> None:
    """One line for the reader; rich markup in ``message`` is shown as it is."""
    stderr.print(escape(message))
