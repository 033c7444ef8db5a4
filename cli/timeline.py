"""Timed labels on a terminal: bars on one time axis, and tables."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from rich import box
from rich.console import Console, Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

BAR_CELLS = 60
COLOURS = ("cyan", "magenta", "yellow", "green", "blue", "red", "bright_cyan", "bright_magenta", "bright_yellow")
FILLED, EMPTY = "█", "·"


@dataclass(frozen=True)
class TimedLabel:
    """A label's interval ``[start_seconds, stop_seconds)``; ``score`` is None where there is none, as for a truth."""

    start_seconds: float
    stop_seconds: float
    label: str
    score: float | None = None
    description: str | None = None

    @classmethod
    def from_json(cls, segment: Mapping[str, Any]) -> Self:
        """Read one segment of an answer."""
        start, stop = segment["start_seconds"], segment["stop_seconds"]
        return cls(start, stop, segment["label"], segment["score"], segment.get("description"))

    def overlap_seconds(self, other: TimedLabel) -> float:
        """Seconds that both hold."""
        return max(0.0, min(self.stop_seconds, other.stop_seconds) - max(self.start_seconds, other.start_seconds))


@dataclass(frozen=True)
class Axis:
    """The stretch of time that bars show."""

    start_seconds: float
    duration_seconds: float

    def bar(self, segments: Sequence[TimedLabel], colours: Mapping[str, str]) -> Text:
        """One row of cells, each in the colour of what holds at its middle."""
        bar = Text()
        for cell in range(BAR_CELLS):
            seconds = self.start_seconds + (cell + 0.5) * self.duration_seconds / BAR_CELLS
            label = next((s.label for s in segments if s.start_seconds <= seconds < s.stop_seconds), None)
            bar.append(EMPTY if label is None else FILLED, style="dim" if label is None else colours[label])
        return bar

    def scale(self) -> Text:
        """The axis' first and last second, at the ends of a bar."""
        start, stop = f"{self.start_seconds:.1f} s", f"{self.start_seconds + self.duration_seconds:.1f} s"
        return Text(start + stop.rjust(BAR_CELLS - len(start)), style="dim")


def choose_colours(labels: Iterable[str]) -> dict[str, str]:
    """A colour for each label, the same for the same set of labels."""
    return {label: COLOURS[index % len(COLOURS)] for index, label in enumerate(sorted(set(labels)))}


def render_answer(answer: Mapping[str, Any], console: Console) -> None:
    """Print a JSON answer: its segments on a bar and in a table, its best labels, and what each modality was worth."""
    segments = [TimedLabel.from_json(segment) for segment in answer["segments"]]
    colours = choose_colours(segment.label for segment in segments)
    axis = Axis(answer["start_seconds"], answer["duration_seconds"])
    model = answer["model"]
    counted = "1 segment" if len(segments) == 1 else f"{len(segments)} segments"
    console.print(
        f"[bold]{escape(model['name'])} {escape(model['version'])}[/bold]: {counted} in {axis.duration_seconds:.2f} s"
    )
    console.print(Group(axis.bar(segments, colours), axis.scale()))
    console.print(_segments_table(segments, colours))
    console.print(_activities_line(answer["activities"]))
    console.print(_modalities_lines(answer["modalities"]))
    if "transcript" in answer:
        heard = " ".join(cue["text"] for cue in answer["transcript"])
        console.print(f"heard: {escape(heard)}" if heard else "[dim]no words were heard[/dim]")


def render_comparison(
    true: Sequence[TimedLabel], predicted: Sequence[TimedLabel], axis: Axis, console: Console
) -> None:
    """Print what is true beside what was predicted, as bars and as a table."""
    colours = choose_colours(segment.label for segment in (*true, *predicted))
    bars = Table.grid(padding=(0, 1))
    bars.add_row("true", axis.bar(true, colours))
    bars.add_row("predicted", axis.bar(predicted, colours))
    bars.add_row("", axis.scale())
    console.print(bars)
    table = _comparison_table()
    for segment, found in pair_segments(true, predicted):
        right = found is not None and found.label == segment.label
        table.add_row(
            "[green]✓[/green]" if right else "[red]✗[/red]",
            _coloured(segment.label, colours),
            _seconds(segment.start_seconds),
            _seconds(segment.stop_seconds),
            *_predicted_cells(found, colours),
        )
    console.print(table)


def pair_segments(
    true: Sequence[TimedLabel], predicted: Sequence[TimedLabel]
) -> list[tuple[TimedLabel, TimedLabel | None]]:
    """Each true segment with the predicted one that holds longest in it; None where nothing was predicted."""
    pairs = []
    for segment in true:
        best = max(predicted, key=segment.overlap_seconds, default=None)
        pairs.append((segment, best if best is not None and segment.overlap_seconds(best) > 0 else None))
    return pairs


def _segments_table(segments: Sequence[TimedLabel], colours: Mapping[str, str]) -> RenderableType:
    if not segments:
        return Text("no segment is above the threshold", style="dim")
    table = Table("from", "to", "label", "score")
    is_described = any(segment.description is not None for segment in segments)
    if is_described:
        table.add_column("description", overflow="fold")
    for segment in segments:
        described = [escape(segment.description or "")] if is_described else []
        table.add_row(
            _seconds(segment.start_seconds),
            _seconds(segment.stop_seconds),
            _coloured(segment.label, colours),
            f"{segment.score:.3f}",
            *described,
        )
    return table


def _comparison_table() -> Table:
    """Narrow enough for the demo's labels on 80 columns; a longer label is folded, never cut."""
    table = Table(box=box.SIMPLE, padding=0)
    table.add_column("")
    for heading in ("true", "predicted"):
        table.add_column(heading, overflow="fold")
        table.add_column("from", justify="right", no_wrap=True)
        table.add_column("to", justify="right", no_wrap=True)
    table.add_column("score", justify="right", no_wrap=True)
    return table


def _predicted_cells(found: TimedLabel | None, colours: Mapping[str, str]) -> list[str]:
    if found is None:
        return ["[dim]nothing[/dim]", "", "", ""]
    score = "" if found.score is None else f"{found.score:.3f}"
    return [_coloured(found.label, colours), _seconds(found.start_seconds), _seconds(found.stop_seconds), score]


def _activities_line(activities: Sequence[Mapping[str, Any]]) -> str:
    listed = ", ".join(f"{escape(item['label'])} {item['score']:.3f}" for item in activities)
    return f"over the whole clip: {listed}"


def _modalities_lines(modalities: Mapping[str, Mapping[str, Any]]) -> str:
    lines = []
    for name, status in modalities.items():
        why = status.get("reason") or status.get("code") or ""
        lines.append(f"[green]✓[/green] {name}" if status["used"] else f"[yellow]-[/yellow] {name}: {escape(why)}")
    return "\n".join(lines)


def _coloured(label: str, colours: Mapping[str, str]) -> str:
    return f"[{colours[label]}]{escape(label)}[/]"


def _seconds(value: float) -> str:
    return f"{value:.2f} s"
