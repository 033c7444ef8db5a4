"""A server at one moment as tables, or as a line of text."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from cli.record import ServerRecord
from cli.snapshot import Load, Memory, Snapshot, VersionUse, WorkerUse

NOTHING = "-"
MEGABYTE = 1e6


def server_table(record: ServerRecord) -> Table:
    """Where a server listens and keeps its things."""
    table = Table(show_header=False)
    table.add_row("process", str(record.pid))
    table.add_row("REST", record.inference_url)
    table.add_row("gRPC", record.grpc_target)
    table.add_row("management", f"{record.management_url}, gRPC {record.grpc_management_target}")
    table.add_row("metrics", record.metrics_url)
    table.add_row("keys", escape(str(record.key_file)) if record.token_authorization else "none are asked for")
    table.add_row("logs", escape(str(record.logs)))
    table.add_row("archive", escape(record.archive))
    return table


def workers_table(snapshot: Snapshot) -> Table:
    """One row a worker, below its model and version, then the server's own row."""
    table = Table(
        "model",
        "queue",
        "worker",
        "state",
        "process",
        "up",
        "RSS",
        "PSS",
        box=SIMPLE_HEAD,
        pad_edge=False,
        collapse_padding=True,
    )
    for column in table.columns[4:]:
        column.justify = "right"
    for model in snapshot.models:
        cells = [escape(f"{model.name} {model.version}") + (" *" if model.is_default else ""), str(model.waiting)]
        if not model.workers:
            table.add_row(*cells, "none")
        for worker in model.workers:
            table.add_row(*cells, worker.id, _state(worker), str(worker.pid or ""), *_use(worker))
            cells = [""] * len(cells)
    table.add_row("server", *[""] * 3, str(snapshot.pid), _duration(snapshot.uptime_seconds), *_memory(snapshot.memory))
    table.add_row("all", *[""] * 5, *_memory(snapshot.whole_memory))
    return table


def load_table(snapshot: Snapshot) -> Table:
    """What each version did since the moment before, a column a version."""
    table = Table(
        "", *(escape(f"{model.name} {model.version}") for model in snapshot.models), box=SIMPLE_HEAD, pad_edge=False
    )
    for column in table.columns[1:]:
        column.justify = "right"
    loads = [model.load for model in snapshot.models]
    errors = {code for load in loads if load is not None for code in load.requests_per_second if code != "ok"}
    rows: dict[str, Callable[[Load], str]] = {
        "requests/s, [green]ok[/green]": lambda load: f"{load.requests_per_second.get('ok', 0.0):.2f}",
        **{f"requests/s, [red]{code}[/red]": partial(_rate, code) for code in sorted(errors)},
        "windows/s": lambda load: f"{load.windows_per_second:.1f}",
        "seconds of a request, 50 % / 95 %": lambda load: _pair(load.request_seconds),
        "real-time factor, 50 % / 95 %": lambda load: _pair(load.real_time_factor),
        "batches' fill": lambda load: NOTHING if load.batch_fill is None else f"{load.batch_fill:.0%}",
        "padding": _padding,
        "decode processes lost": _lost,
    }
    for title, say in rows.items():
        table.add_row(title, *(NOTHING if load is None else say(load) for load in loads))
    return table


def live_view(snapshot: Snapshot, trouble: str | None) -> RenderableType:
    """All of it, with what is in the way of a newer one."""
    legend = f"{snapshot.time[11:19]} UTC. * is the default version. Seconds are of work alone."
    last = Text("Ctrl-C ends.", "dim") if trouble is None else Text(trouble, "yellow")
    return Group(workers_table(snapshot), load_table(snapshot), Text(legend, "dim"), last)


def text_lines(snapshot: Snapshot) -> list[str]:
    """A line a version, for what is no terminal."""
    return [_text_line(snapshot, model) for model in snapshot.models]


def _text_line(snapshot: Snapshot, model: VersionUse) -> str:
    words = [
        f"{snapshot.time[11:19]} {model.name} {model.version}: {model.num_ready} of {len(model.workers)} workers ready",
        f"{model.waiting} waiting",
    ]
    if model.load is not None:
        load = model.load
        outcomes = ", ".join(f"{code} {rate:.2f}" for code, rate in sorted(load.requests_per_second.items()))
        words += [
            f"{sum(load.requests_per_second.values()):.2f} requests/s" + (f" ({outcomes})" if outcomes else ""),
            f"{load.windows_per_second:.1f} windows/s",
            f"seconds of a request {_pair(load.request_seconds)}",
            f"real-time factor {_pair(load.real_time_factor)}",
            *([f"decode processes lost: {_lost(load)}"] if load.children_lost else []),
        ]
    return ", ".join([*words, f"memory {snapshot.whole_memory.rss_bytes / MEGABYTE:.0f} MB"])


def _state(worker: WorkerUse) -> str:
    colour = "green" if worker.ready else "yellow"
    return f"[{colour}]{escape(worker.state)}[/{colour}]"


def _use(worker: WorkerUse) -> list[str]:
    uptime = "" if worker.uptime_seconds is None else _duration(worker.uptime_seconds)
    return [uptime, *(_memory(worker.memory) if worker.memory else ("", ""))]


def _rate(code: str, load: Load) -> str:
    return f"{load.requests_per_second.get(code, 0.0):.2f}"


def _padding(load: Load) -> str:
    return ", ".join(f"{item}s {part:.0%}" for item, part in sorted(load.padding.items())) or NOTHING


def _lost(load: Load) -> str:
    return ", ".join(f"{reason} {count:.0f}" for reason, count in sorted(load.children_lost.items())) or NOTHING


def _pair(values: Sequence[float] | None) -> str:
    return NOTHING if values is None else " / ".join(f"{value:.3g}" for value in values)


def _memory(memory: Memory) -> tuple[str, str]:
    pss = "" if memory.pss_bytes is None else f"{memory.pss_bytes / MEGABYTE:.0f} MB"
    return f"{memory.rss_bytes / MEGABYTE:.0f} MB", pss


def _duration(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}"
