"""``activity rollout`` and ``rollback``: another version of the model, without a request that fails."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from cli.errors import require_files
from cli.record import ServerRecord, resolve_run_dir
from cli.serve import START_TIMEOUT_SECONDS, RunDir, Sha256, require_running

QUIET_TIMEOUT_SECONDS = 60.0

Timeout = Annotated[float, typer.Option(help="Seconds to wait until the other version is ready.", min=1)]
QuietTimeout = Annotated[
    float, typer.Option(help="Seconds to wait until the version that is left has done its work.", min=0)
]
KeepWarm = Annotated[
    bool, typer.Option("--keep-warm", help="Leave its workers to the version that is left: the way back is immediate.")
]


def rollout(
    archive: Annotated[Path, typer.Argument(help="The archive of the new version.")],
    *,
    sha256: Sha256 = None,
    keep_warm: KeepWarm = False,
    timeout: Timeout = START_TIMEOUT_SECONDS,
    quiet: QuietTimeout = QUIET_TIMEOUT_SECONDS,
    run_dir: RunDir = None,
) -> None:
    """Let another version of the model answer, with as many workers as the one before has.

    The new version is loaded beside the old one, has to answer its own canary, and then becomes the one that requests
    go to which name no version. One that does not load or answers wrong is taken away again, and nothing has changed.
    When the old one has done what it was asked, its workers go; it stays registered for `activity rollback`, until the
    next roll-out. A stream belongs to the version that it began with: the new one answers its next chunk with 409
    (state_foreign), and its client begins anew.

    [bold]Examples[/bold]

    $ activity package --checkpoint runs/mine --version 2.0 -o model-store/activity-2.mar
    $ activity rollout model-store/activity-2.mar
    """
    from cli.versions import Switch, roll_out  # noqa: PLC0415

    require_files(archive)
    record = require_running(resolve_run_dir(run_dir))
    switch = Switch(timeout_seconds=timeout, quiet_seconds=quiet, keep_warm=keep_warm)
    _show(roll_out(record, archive, switch, sha256=sha256))


def rollback(
    *,
    keep_warm: KeepWarm = False,
    timeout: Timeout = START_TIMEOUT_SECONDS,
    quiet: QuietTimeout = QUIET_TIMEOUT_SECONDS,
    run_dir: RunDir = None,
) -> None:
    """Let the version before the last roll-out answer again; a second one goes forward again.

    It is loaded where it has no workers any more, has to answer its own canary, and then takes the requests.

    [bold]Examples[/bold]

    $ activity rollback
    """
    from cli.versions import Switch, roll_back  # noqa: PLC0415

    record = require_running(resolve_run_dir(run_dir))
    _show(roll_back(record, Switch(timeout_seconds=timeout, quiet_seconds=quiet, keep_warm=keep_warm)))


def _show(record: ServerRecord) -> None:
    from cli.snapshot import look_at  # noqa: PLC0415
    from cli.status_view import workers_table  # noqa: PLC0415

    Console(highlight=False).print(workers_table(look_at(record)))
