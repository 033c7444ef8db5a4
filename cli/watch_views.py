"""What is seen of a stream: a view that changes on a terminal, a line a chunk elsewhere."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any, TextIO

from rich import box
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.markup import escape
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from cli.printable import printable
from cli.timeline import BAR_CELLS, COLOURS
from cli.watching import Seen

SHOWN_SECONDS = 60.0
"""How much of the past the timeline shows."""
SHOWN_LABELS, SHOWN_SEGMENTS = 5, 6
SCORE_CELLS = 30
FINAL, PROVISIONAL, NOTHING = "█", "▒", "·"
MANY_LAGGING_CHUNKS = 2.0
"""A lag of more chunks than so many is shown as a warning."""


def scores_now(seen: Seen) -> list[tuple[str, float]]:
    """The labels of the newest window, best first; of an answer without windows those of the stream."""
    windows = seen.answer.windows
    if windows:
        smoothed: Mapping[str, float] = windows[-1]["smoothed"]
        return sorted(smoothed.items(), key=lambda item: -item[1])
    return [(item["label"], item["score"]) for item in seen.answer.values["activities"]]


class LiveView:
    """A view on a terminal, drawn anew with each chunk.

    Args:
        title: what is watched.
        chunk_seconds: the wanted length of a chunk.
        console: where it is drawn.
    """

    def __init__(self, title: str, chunk_seconds: float, console: Console) -> None:
        self._title = printable(title)
        self._chunk_seconds = chunk_seconds
        self._live = Live(Text(f"{self._title}: waiting for the first chunk", style="dim"), console=console)
        self._said: list[str] = []
        self._colours: dict[str, str] = {}

    def __enter__(self) -> LiveView:
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def show(self, seen: Seen) -> None:
        """Draw what is known now."""
        if seen.dropped:
            self._said.append(dropped_words(seen))
        if seen.answer.begun_anew:
            self._said.append(anew_words(seen))
        self._live.update(self.render(seen), refresh=True)

    def say(self, message: str) -> None:
        """A line above the view."""
        self._live.console.print(escape(message))

    def render(self, seen: Seen) -> RenderableType:
        """The view."""
        scores = scores_now(seen)[:SHOWN_LABELS]
        colours = self._colours  # a label keeps its own, whichever come later
        for label in (*(it["label"] for it in seen.segments), *(label for label, _ in scores)):
            colours.setdefault(label, COLOURS[len(colours) % len(COLOURS)])
        parts: list[RenderableType] = [
            _scores_table(scores, colours),
            Text(),
            _timeline(seen, colours),
            Text(),
            _segments_table(seen.segments[-SHOWN_SEGMENTS:], colours),
            _figures(seen, self._chunk_seconds),
            *(Text(said, style="yellow") for said in self._said[-2:]),
        ]
        model = seen.answer.values["model"]
        title = f"[bold]{escape(self._title)}[/bold]  {escape(model['name'])} {escape(model['version'])}"
        return Panel(Group(*parts), title=title, title_align="left", width=BAR_CELLS + 18)


class LineView:
    """A line a chunk, for people without a terminal, and for logs."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stdout

    def show(self, seen: Seen) -> None:
        """Print what is known now."""
        now = ", ".join(f"{label} {score:.2f}" for label, score in scores_now(seen)[:2])
        words = [
            f"{seen.answer.clock_seconds:8.2f} s: {now}",
            f"final until {seen.answer.final_until_seconds:.2f} s",
            f"latency {seen.answer.latency_seconds:.2f} s",
            f"lag {seen.lag_seconds:.2f} s",
            *([dropped_words(seen)] if seen.dropped else []),
            *([f"gap {seen.answer.gap_seconds:.2f} s"] if seen.answer.gap_seconds else []),
            *([anew_words(seen)] if seen.answer.begun_anew else []),
        ]
        print("; ".join(words), file=self._stream, flush=True)

    def say(self, message: str) -> None:
        """Print a message."""
        print(message, file=sys.stderr, flush=True)


class JsonView:
    """A line of JSON a chunk: the answer without its state, and how it came."""

    def show(self, seen: Seen) -> None:
        """Print what is known now."""
        answer = {key: value for key, value in seen.answer.values.items() if key not in ("status", "state")}
        line = {
            "chunk": seen.number,
            "chunk_start_seconds": round(seen.chunk.start_seconds, 6),
            "chunk_stop_seconds": round(seen.chunk.stop_seconds, 6),
            "latency_seconds": round(seen.answer.latency_seconds, 6),
            "lag_seconds": round(seen.lag_seconds, 6),
            "dropped_chunks": seen.num_dropped,
            "begun_anew": seen.answer.begun_anew,
            **answer,
        }
        print(json.dumps(line, ensure_ascii=False, separators=(",", ":")), flush=True)

    def say(self, message: str) -> None:
        """Print a message where no JSON goes."""
        print(message, file=sys.stderr, flush=True)


def dropped_words(seen: Seen) -> str:
    """What was dropped just now."""
    counted = "1 chunk" if seen.dropped == 1 else f"{seen.dropped} chunks"
    return f"dropped {counted} before {seen.chunk.start_seconds:.2f} s: the server does not keep up"


def anew_words(seen: Seen) -> str:
    """Why the stream began anew."""
    return f"begun anew at {seen.chunk.start_seconds:.2f} s ({seen.answer.begun_anew})"


def _scores_table(scores: Sequence[tuple[str, float]], colours: Mapping[str, str]) -> RenderableType:
    table = Table.grid(padding=(0, 2))
    for label, score in scores:
        filled = round(score * SCORE_CELLS)
        bar = Text("█" * filled, style=colours[label]).append("·" * (SCORE_CELLS - filled), style="dim")
        table.add_row(f"[{colours[label]}]{escape(label)}[/]", bar, f"{score:.3f}")
    return table


def _timeline(seen: Seen, colours: Mapping[str, str]) -> RenderableType:
    stop = max(seen.answer.clock_seconds, seen.answer.values["start_seconds"] + SHOWN_SECONDS)
    start = stop - SHOWN_SECONDS
    bar = Text()
    for cell in range(BAR_CELLS):
        seconds = start + (cell + 0.5) * SHOWN_SECONDS / BAR_CELLS
        held = next((it for it in seen.segments if it["start_seconds"] <= seconds < it["stop_seconds"]), None)
        if held is None:
            bar.append(NOTHING, style="dim")
        else:
            bar.append(FINAL if held["final"] else PROVISIONAL, style=colours[held["label"]])
    left, right = f"{start:.1f} s", f"{stop:.1f} s"
    return Group(bar, Text(left + right.rjust(BAR_CELLS - len(left)), style="dim"))


def _segments_table(segments: Sequence[Mapping[str, Any]], colours: Mapping[str, str]) -> RenderableType:
    table = Table(box=box.SIMPLE, padding=(0, 1), show_edge=False)
    for heading in ("from", "to"):
        table.add_column(heading, justify="right")
    for heading in ("label", "score", ""):
        table.add_column(heading)
    for it in segments:
        label = f"[{colours[it['label']]}]{escape(it['label'])}[/]"
        mark = "" if it["final"] else f"[dim]{PROVISIONAL} provisional[/dim]"
        table.add_row(f"{it['start_seconds']:.2f}", f"{it['stop_seconds']:.2f}", label, f"{it['score']:.3f}", mark)
    return table


def _figures(seen: Seen, chunk_seconds: float) -> RenderableType:
    is_late = seen.lag_seconds > MANY_LAGGING_CHUNKS * chunk_seconds
    text = Text(f"known {seen.answer.clock_seconds:.1f} s", style="bold")
    text.append(f"   final {seen.answer.final_until_seconds:.1f} s", style="not bold")
    text.append(f"   latency {seen.answer.latency_seconds:.2f} s", style="not bold")
    text.append(f"   lag {seen.lag_seconds:.2f} s", style="yellow" if is_late else "not bold")
    text.append(f"   dropped {seen.num_dropped}", style="yellow" if seen.num_dropped else "not bold")
    if seen.answer.gap_seconds:
        text.append(f"   gap {seen.answer.gap_seconds:.1f} s", style="yellow")
    return text
