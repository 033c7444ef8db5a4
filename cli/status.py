"""``activity status``: what a server does, once or live."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.live import Live

from cli.progress import say
from cli.record import ServerRecord, resolve_run_dir
from cli.serve import RunDir, require_running
from client.errors import ClientError

if TYPE_CHECKING:
    from cli.snapshot import Observer, Snapshot

Show = Callable[["Snapshot", str | None], None]
"""Shows a look, and what is in the way of a newer one."""


def status(
    run_dir: RunDir = None,
    *,
    watch: Annotated[
        bool, typer.Option("--watch", "-w", help="Go on looking, with the load of each interval.")
    ] = False,
    interval: Annotated[float, typer.Option(help="Seconds between two looks.", min=0.1)] = 2.0,
    ticks: Annotated[
        int | None, typer.Option(help="End after so many looks.", min=1, show_default="goes on until Ctrl-C")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One line of JSON a look.")] = False,
) -> None:
    """Show the server of this run folder: ports, models, versions, queues, and each worker's state, age and memory.

    RSS is the memory that a worker has in use with its decode processes; of PSS what they share with others counts for
    its part. With --watch the requests by outcome, windows, times and decode processes that were lost are shown too, of
    each interval; where the output is no terminal a line a look. Ends with 1 when no server runs.

    [bold]Examples[/bold]

    $ activity status
    $ activity status --watch
    $ activity status --watch --interval 10 --json >> load.jsonl
    """
    from cli.readiness import build_management  # noqa: PLC0415 - help needs none of these
    from cli.snapshot import Observer  # noqa: PLC0415
    from cli.status_view import server_table, workers_table  # noqa: PLC0415

    record = require_running(resolve_run_dir(run_dir))
    console = Console(highlight=False)
    with build_management(record) as management:
        observer = Observer(record, management, with_load=watch)
        if watch:
            with _shown(console, as_json=as_json) as show:
                _go_on(record, observer, show, interval, ticks)
            return
        snapshot = observer.look()
    if as_json:
        print(json.dumps({"addresses": _addresses(record), **snapshot.to_json()}), flush=True)
        return
    console.print(server_table(record))
    console.print(workers_table(snapshot))


def _go_on(record: ServerRecord, observer: Observer, show: Show, interval: float, ticks: int | None) -> None:
    """Look until Ctrl-C; of a server that runs and does not answer the last answer is shown, and that it is old.

    Raises:
        NotRunning: when the server has ended.
        ClientError: when it does not answer at the first look.
    """
    snapshot: Snapshot | None = None
    with suppress(KeyboardInterrupt):
        for tick in count(1):
            began = time.monotonic()
            trouble = None
            try:
                snapshot = observer.look()
            except ClientError as error:
                require_running(Path(record.run_dir))
                if snapshot is None:
                    raise
                trouble = error.message
            show(snapshot, trouble)
            if tick == ticks:
                break
            time.sleep(max(0.0, interval - (time.monotonic() - began)))


@contextmanager
def _shown(console: Console, *, as_json: bool) -> Iterator[Show]:
    """How a look is shown: a live view on a terminal, else a line."""
    from cli.status_view import live_view, text_lines  # noqa: PLC0415

    def show_line(snapshot: Snapshot, trouble: str | None) -> None:
        if trouble is not None:
            say(trouble)
        elif as_json:
            _print_json(snapshot)
        else:
            for line in text_lines(snapshot):
                print(line, flush=True)

    if as_json or not console.is_terminal:
        yield show_line
        return
    with Live(console=console, auto_refresh=False) as live:
        yield lambda snapshot, trouble: live.update(live_view(snapshot, trouble), refresh=True)


def _addresses(record: ServerRecord) -> dict[str, str]:
    return {
        "rest": record.inference_url,
        "grpc": record.grpc_target,
        "management": record.management_url,
        "grpc_management": record.grpc_management_target,
        "metrics": record.metrics_url,
    }


def _print_json(snapshot: Snapshot) -> None:
    print(json.dumps(snapshot.to_json()), flush=True)
