"""``activity ready``: whether the server is ready, once, or for as long as somebody wants to know."""

from __future__ import annotations

import time
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import typer

from cli.progress import say
from cli.record import require_record, resolve_run_dir
from cli.serve import RunDir, interrupt_on_sigterm

TIMEOUT_SECONDS = 30.0
WATCH_SECONDS = 0.25


def ready(
    workers: Annotated[int, typer.Option(help="How many READY workers it takes.", min=1)] = 1,
    *,
    timeout: Annotated[
        float, typer.Option(help="Seconds that the canary may take, the queue included.", min=0.1)
    ] = TIMEOUT_SECONDS,
    watch: Annotated[bool, typer.Option("--watch", help="Go on, and say each change.")] = False,
    serve: Annotated[
        int | None,
        typer.Option(help="Go on, and answer GET /ready on this port of 127.0.0.1: 200 or 503.", min=1, max=65535),
    ] = None,
    run_dir: RunDir = None,
) -> None:
    """Say whether the server is ready: 0 when it is, 1 when it is not.

    Ready means that enough workers are READY with a process that runs, and that a canary, a clip with a known answer,
    came back right. TorchServe's own /ping and worker states say Healthy and READY long after the last worker died.

    [bold]Examples[/bold]

    $ activity ready
    $ activity ready --workers 2 --timeout 5
    $ activity ready --watch
    $ activity ready --serve 8090
    """
    from cli.truth import look_once  # noqa: PLC0415 - it imports the JRE's package

    folder = resolve_run_dir(run_dir)
    if watch or serve is not None:
        _go_on(folder, workers, serve)
        return
    found = look_once(require_record(folder), at_least=workers, timeout_seconds=timeout)
    typer.echo(f"{'ready' if found.ready else 'not ready'}: {found.reason}")
    if not found.ready:
        raise typer.Exit(1)


def _go_on(folder: Path, workers: int, port: int | None) -> None:
    from cli.ready_server import PATH, serving  # noqa: PLC0415
    from cli.truth import Readiness, Watch  # noqa: PLC0415

    interrupt_on_sigterm()
    with ExitStack() as stack:
        seen = stack.enter_context(Watch(folder, at_least=workers))
        if port is not None:
            stack.enter_context(serving(seen.state, port))
            say(f"http://127.0.0.1:{port}{PATH} answers; Ctrl-C ends it.")
        last: Readiness | None = None
        try:
            while True:
                state = seen.state()
                if last is None or (state.ready, state.reason) != (last.ready, last.reason):
                    typer.echo(f"{time.strftime('%H:%M:%S')} {'ready' if state.ready else 'not ready'}: {state.reason}")
                last = state
                time.sleep(WATCH_SECONDS)
        except KeyboardInterrupt:
            return
