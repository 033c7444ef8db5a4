"""``activity serve``, ``stop`` and ``scale``: a server's life."""

from __future__ import annotations

import shlex
import signal
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from cli.draining_mark import DRAIN_SECONDS
from cli.errors import CommandError, NotRunning
from cli.package import DEFAULT_ARCHIVE
from cli.ports import WantedPorts
from cli.progress import say, stderr, step
from cli.record import RUN_DIR_VARIABLE, ServerRecord, require_record, resolve_run_dir

START_TIMEOUT_SECONDS = 300.0
WATCH_SECONDS = 0.5

RunDir = Annotated[
    Path | None,
    typer.Option(help="Run folder: settings, keys, logs.", envvar=RUN_DIR_VARIABLE, show_default=".activity"),
]

Sha256 = Annotated[
    str | None,
    typer.Option(help="The archive's SHA-256, of one from elsewhere.", show_default="of FILE.mar.sha256, beside it"),
]

TlsCertificate = Annotated[
    Path | None, typer.Option("--tls-cert", help="Speak TLS with this certificate, PEM.", exists=True, dir_okay=False)
]
TlsKey = Annotated[
    Path | None, typer.Option("--tls-key", help="Its private key, PEM, mode 600.", exists=True, dir_okay=False)
]


def _port_option(help_text: str, usual: int) -> Any:
    return typer.Option(help=help_text, min=1, max=65535, show_default=f"{usual}, else a free one")


def serve(  # noqa: PLR0913 - one argument an option of the command line
    archive: Annotated[
        Path, typer.Option(help="The archive to serve.", show_default="model-store/activity.mar")
    ] = DEFAULT_ARCHIVE,
    workers: Annotated[int, typer.Option(help="Worker processes; they share the cores.", min=1)] = 1,
    sha256: Sha256 = None,
    *,
    model: Annotated[str, typer.Option(help="Name to register the archive under.")] = "activity",
    port: Annotated[int | None, _port_option("REST port for predictions.", 8080)] = None,
    management_port: Annotated[int | None, _port_option("REST port for management.", 8081)] = None,
    metrics_port: Annotated[int | None, _port_option("REST port for metrics.", 8082)] = None,
    grpc_port: Annotated[int | None, _port_option("gRPC port for predictions.", 7070)] = None,
    grpc_management_port: Annotated[int | None, _port_option("gRPC port for management.", 7071)] = None,
    config: Annotated[
        Path | None, typer.Option(help="TorchServe's settings.", show_default="config.properties")
    ] = None,
    token_auth: Annotated[
        bool, typer.Option("--token-auth/--no-token-auth", help="Ask every call for a key of key_file.json.")
    ] = True,
    enable_model_api: Annotated[
        bool, typer.Option("--enable-model-api", help="Let the management API register and unregister archives.")
    ] = False,
    expose: Annotated[
        bool, typer.Option("--expose", help="Listen beyond this machine where the settings say so. Mean it.")
    ] = False,
    tls_cert: TlsCertificate = None,
    tls_key: TlsKey = None,
    foreground: Annotated[bool, typer.Option("--foreground", help="Stay attached; Ctrl-C stops the server.")] = False,
    timeout: Annotated[float, typer.Option(help="Seconds to wait until it is ready.", min=1)] = START_TIMEOUT_SECONDS,
    run_dir: RunDir = None,
) -> None:
    """Start a TorchServe on this machine and return when it is ready.

    Ready means that every worker is up and that the archive's canary, a clip with a known answer, came back right. The
    server listens on 127.0.0.1 alone, with its own temp folder, and asks for a key that it writes to
    RUN_DIR/key_file.json; the other commands read it from there. A usual port that is taken is replaced by a free one,
    which is said; a port that you name must be free.

    An archive is code: one that is not as `activity package` wrote it, with its SHA-256 beside it, is not served, nor
    one whose files would leave their folder.

    [bold]Examples[/bold]

    $ activity serve
    $ activity serve --workers 2 --port 9000
    $ activity serve --archive model-store/activity-2.mar --run-dir runs/second
    $ activity serve --foreground
    $ activity serve --tls-cert cert.pem --tls-key key.pem
    """
    from cli.server import DEFAULT_CONFIG, ServeSettings, start_server  # noqa: PLC0415 - it imports the JRE's package

    interrupt_on_sigterm()  # what was started is ended again, as with Ctrl-C
    settings = ServeSettings(
        archive=archive,
        run_dir=resolve_run_dir(run_dir),
        sha256=sha256,
        model=model,
        workers=workers,
        wanted_ports=WantedPorts(port, management_port, metrics_port, grpc_port, grpc_management_port),
        token_authorization=token_auth,
        enable_model_api=enable_model_api,
        exposed=expose,
        tls_certificate=tls_cert,
        tls_key=tls_key,
        config=config or DEFAULT_CONFIG,
        start_timeout_seconds=timeout,
    )
    record = start_server(settings)
    stderr.print(f"Ready: REST [bold]{record.inference_url}[/bold], gRPC [bold]{record.grpc_target}[/bold]")
    if foreground:
        _watch(record)
    else:
        say(next_steps(settings.run_dir))


def next_steps(run_dir: Path) -> str:
    """What to type after a server has started, each command so that it finds this server."""
    named = "" if run_dir == resolve_run_dir(None) else f" --run-dir {shlex.quote(str(run_dir))}"
    return f"Try `activity predict CLIP{named}`, see `activity status{named}`, end it with `activity stop{named}`."


def stop(
    *,
    drain: Annotated[
        float, typer.Option(help="Seconds that requests in flight are waited for; 0 ends them.", min=0, max=3600)
    ] = DRAIN_SECONDS,
    run_dir: RunDir = None,
) -> None:
    """Stop the server of this run folder with everything it started; no server is no error.

    Requests in flight are answered first: the front (`activity front`) refuses new ones with 503 meanwhile, and
    `activity ready` says that the server is not ready. Clients that go around the front are not refused; what they have
    in flight when the time is over is lost, for TorchServe itself has no graceful end.

    [bold]Examples[/bold]

    $ activity stop
    $ activity stop --drain 0
    $ activity stop --run-dir runs/second
    """
    from cli.server import is_up  # noqa: PLC0415

    folder = resolve_run_dir(run_dir)
    record = ServerRecord.read(folder)
    if record is None:
        say(f"No server was started from {folder}: nothing to stop.")
        return
    killed = _drain_and_end(record, drain if is_up(record) else 0)
    detail = f" ({killed} processes had to be killed)" if killed else ""
    say(f"Stopped the server of {folder}{detail}. Its logs stay in {record.logs}.")


def scale(
    workers: Annotated[int, typer.Option(help="How many workers the model is to have.", min=1)],
    *,
    timeout: Annotated[
        float, typer.Option(help="Seconds to wait until they are ready.", min=1)
    ] = START_TIMEOUT_SECONDS,
    patience: Annotated[
        float, typer.Option(help="Seconds to wait for a quiet moment before a worker is taken away.", min=0)
    ] = 10.0,
    run_dir: RunDir = None,
) -> None:
    """Give the running server's model more or fewer workers, and wait until they are ready and the canary is right.

    Going down, workers go one by one, each once it has no work: `activity front` holds new requests for that moment, so
    none is lost. Without a front there may be no such moment; then another worker does what it was at, which TorchServe
    seldom gets wrong under load, by gRPC up to a worker that is dead for good (see it with `activity ready`).

    How many threads a worker uses was settled when the server started: for another share of the cores start it again
    with --workers.

    [bold]Examples[/bold]

    $ activity scale --workers 2
    """
    from cli.readiness import Waiting  # noqa: PLC0415
    from cli.scaling import scale_model  # noqa: PLC0415
    from cli.snapshot import look_at  # noqa: PLC0415
    from cli.status_view import workers_table  # noqa: PLC0415

    record = require_running(resolve_run_dir(run_dir))
    scale_model(record, workers, Waiting(record, timeout_seconds=timeout), patience_seconds=patience)
    Console(highlight=False).print(workers_table(look_at(record)))


def _watch(record: ServerRecord) -> None:
    from cli.server import end_server, is_up  # noqa: PLC0415

    say("Ctrl-C stops the server once what is in flight is answered; a second one stops it at once.")
    try:
        while is_up(record):
            time.sleep(WATCH_SECONDS)
    except KeyboardInterrupt:
        _drain_and_end(record, DRAIN_SECONDS)
        return
    finally:
        end_server(record)
    raise CommandError("The server ended by itself.", remedy=f"Its logs are in {record.logs}.")


def _drain_and_end(record: ServerRecord, limit_seconds: float) -> int:
    from cli.draining import drained_server  # noqa: PLC0415
    from cli.server import end_server  # noqa: PLC0415

    with ExitStack() as stack:
        with step("Waiting for requests in flight") as waiting:
            drained = stack.enter_context(drained_server(record, limit_seconds=limit_seconds))
            waiting.result("none" if drained.quiet else "not waited for" if not limit_seconds else "some are lost")
        with step("Stopping TorchServe"):
            return end_server(record)


def interrupt_on_sigterm() -> None:
    """Let SIGTERM end a command as Ctrl-C does."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, interrupt)


def require_running(run_dir: Path) -> ServerRecord:
    """The record of the server of ``run_dir``, which runs.

    Raises:
        NotRunning: when none was started there, or it has ended.
    """
    from cli.processes import find_processes  # noqa: PLC0415
    from cli.server import is_up  # noqa: PLC0415

    record = require_record(run_dir)
    if not is_up(record):
        left = len(find_processes(record.pid, record.began_ticks))
        raise NotRunning(
            f"The server of {run_dir} is not running any more"
            + (f"; {left} of its processes were left behind and may still answer." if left else "."),
            remedy=f"Its logs are in {record.logs}. Clear up with `activity stop`, start again with `activity serve`.",
        )
    return record
