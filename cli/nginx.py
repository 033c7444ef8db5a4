"""nginx before a server: found, configured from ``config/nginx.conf.template``, started and ended."""

from __future__ import annotations

import grp
import os
import pwd
import re
import resource
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from cli.errors import CommandError
from cli.listening import Tls

PROJECT = Path(__file__).resolve().parent.parent
TEMPLATE = PROJECT / "config" / "nginx.conf.template"
PLACEHOLDER = re.compile(r"@([A-Z_]+)@")

FOLDER_NAME = "front"
"""The folder of a front in its server's run folder."""
DEFAULT_TRIES = 2
"""How often a prediction is tried: what two workers died of shall not have a third."""
KSERVE_BRIDGED = "grpc_pass grpc://127.0.0.1:%d;"
KSERVE_REWRITTEN = r"""rewrite ^/inference\.(.*)$ /org.pytorch.serve.grpc.openinference.$1 break;
            grpc_pass grpc://grpc;"""
RETRY_AFTER_SECONDS = 2
"""When who was refused may ask again: about as long as what waits takes."""
MAX_FILES = 16_384
"""Two of each connection of :data:`TEMPLATE`'s ``worker_connections``, and some."""
START_SECONDS = 10.0
STOP_GRACE_SECONDS = 5.0
"""After :func:`cli.draining.drain_front`, for what it did not wait for."""
POLL_SECONDS = 0.05


@dataclass(frozen=True)
class FrontSettings:
    """Where a front listens, and what stands behind it; ports are TCP."""

    host: str
    """The address it listens on."""
    rest_port: int
    grpc_port: int
    server_rest_port: int
    """The inference ports of the TorchServe behind it, on the loopback address."""
    server_grpc_port: int
    ready_port: int
    """Where :mod:`cli.ready_server` answers, on the loopback address."""
    max_request_bytes: int
    """The server's own ``max_request_size``."""
    at_once: int
    """How many requests by REST, and how many by gRPC, go to the server at a time: its own ``job_queue_size``."""
    key_maps: str
    """Whom it lets in (:func:`cli.front_keys.build_key_maps`)."""
    tls: Tls | None = None
    tries: int = DEFAULT_TRIES
    kserve_port: int | None = None
    """Where :mod:`cli.kserve_bridge` answers, on the loopback address; None lets nginx alone give the service its name,
    which leaves raw contents out."""


def find_nginx() -> Path:
    """The nginx program: on the PATH, as scripts/nginx.sh fetches it, or where Debian keeps it from users.

    Raises:
        CommandError: when there is none.
    """
    found = shutil.which("nginx")
    candidates = [Path(sys.prefix) / "nginx/usr/sbin/nginx", Path("/usr/sbin/nginx"), Path("/usr/local/sbin/nginx")]
    for path in ([Path(found)] if found else []) + candidates:
        if os.access(path, os.X_OK):
            return path
    raise CommandError(
        "There is no nginx on this machine.",
        remedy="Install it with your system's packages, or fetch Debian's without root: `bash scripts/nginx.sh`.",
    )


def build_config(template: str, settings: FrontSettings) -> str:
    """The configuration of one front.

    Raises:
        CommandError: when the template names what no front has.
    """
    at_once = -(-settings.at_once // settings.tries)  # an entry's share
    server = f"server 127.0.0.1:{settings.server_rest_port} max_fails=0 max_conns={at_once};"
    values = {
        "USER": _user_line(),
        "PROCESSES": "auto",
        "FILES": str(_files()),
        "HOST": settings.host,
        "KEYS": settings.key_maps,
        "TLS": "# It speaks no TLS." if settings.tls is None else _tls_lines(settings.tls),
        "SSL": "" if settings.tls is None else " ssl",
        "REST_PORT": str(settings.rest_port),
        "GRPC_PORT": str(settings.grpc_port),
        "REST_SERVERS": "\n        ".join([server] * settings.tries),
        "SERVER_REST_PORT": str(settings.server_rest_port),
        "SERVER_GRPC_PORT": str(settings.server_grpc_port),
        "READY_PORT": str(settings.ready_port),
        "MAX_REQUEST_BYTES": str(settings.max_request_bytes),
        "AT_ONCE": str(settings.at_once),
        "RETRY_AFTER_SECONDS": str(RETRY_AFTER_SECONDS),
        "TRIES": str(settings.tries),
        "KSERVE": KSERVE_REWRITTEN if settings.kserve_port is None else KSERVE_BRIDGED % settings.kserve_port,
    }
    unknown = set(PLACEHOLDER.findall(template)) - values.keys()
    if unknown:
        raise CommandError(
            f"{TEMPLATE.name} names {', '.join(sorted(unknown))}, which no front has.",
            remedy=f"It may name {', '.join(sorted(values))}.",
        )
    return PLACEHOLDER.sub(lambda match: values[match[1]], template)


class Nginx:
    """One nginx process, from its start to its end.

    Args:
        program: the nginx program.
        folder: its folder, made where it is missing: configuration, logs, bodies of requests on their way.
        config: the configuration's text, with paths relative to ``folder``.

    Raises:
        CommandError: when one runs in that folder.
    """

    def __init__(self, program: Path, folder: Path, config: str) -> None:
        if (running := running_in(folder)) is not None:
            raise CommandError(
                f"An nginx of {folder} runs already, process {running}.", remedy=f"End it with `kill {running}`."
            )
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._folder = folder
        self._write(config)
        self._program = [str(program), "-p", str(folder), "-c", "nginx.conf", "-e", "error.log"]
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, host: str, ports: Sequence[int]) -> None:
        """Start it and wait until it listens on these ports of an address.

        Raises:
            CommandError: when it does not; the message has what it said.
        """
        log = self._folder / "console.log"
        with log.open("wb") as console:
            self._process = subprocess.Popen(
                [*self._program, "-g", "daemon off;"],
                cwd=self._folder,  # where the configuration looks for the marks of cli.holding and cli.draining
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # the terminal's Ctrl-C is for the command, which ends it in order
            )
        deadline = time.monotonic() + START_SECONDS
        while not all(_answers(host, port) for port in ports):
            if not self.runs or time.monotonic() > deadline:
                self.stop(grace_seconds=0)
                said = log.read_text(encoding="utf-8", errors="replace").strip()
                raise CommandError(f"nginx did not start: {said}", remedy=f"Its files are in {self._folder}.")
            time.sleep(POLL_SECONDS)

    def _write(self, config: str) -> None:
        path = self._folder / "nginx.conf"
        path.touch(mode=0o600)
        path.chmod(0o600)  # it has keys
        path.write_text(config, encoding="utf-8")

    def change(self, config: str) -> None:
        """Go on with another configuration; what is in flight ends with the one before."""
        self._write(config)
        if self._process is not None and self.runs:
            self._process.send_signal(signal.SIGHUP)

    @property
    def runs(self) -> bool:
        """Whether the process is there."""
        return self._process is not None and self._process.poll() is None

    def stop(self, *, grace_seconds: float = STOP_GRACE_SECONDS) -> None:
        """Listen no more, let the requests in flight be answered for so long, then end."""
        if self._process is None:
            return
        for number, seconds in ((signal.SIGQUIT, grace_seconds), (signal.SIGTERM, 5.0), (signal.SIGKILL, None)):
            if self._process.poll() is not None:
                return
            self._process.send_signal(number)
            try:
                self._process.wait(timeout=seconds)
            except subprocess.TimeoutExpired:
                continue


def running_in(folder: Path) -> int | None:
    """The process of an nginx that was started in ``folder``, or None."""
    try:
        process = psutil.Process(int((folder / "nginx.pid").read_text(encoding="ascii")))
        return process.pid if str(folder) in " ".join(process.cmdline()) else None
    except (OSError, ValueError, psutil.Error):
        return None


def count_in_flight(folder: Path) -> int:
    """How many requests the nginx of ``folder`` is at with what stands behind it; 0 where none runs there.

    Each of them has a connection of its own, which leads out: its near end is no port that nginx listens on.
    """
    leader = running_in(folder)
    if leader is None:
        return 0
    connections = [each for process in _family(leader) for each in _connections(process)]
    listening = {each.laddr.port for each in connections if each.status == psutil.CONN_LISTEN}
    out = {
        each.laddr
        for each in connections
        if each.status in {psutil.CONN_ESTABLISHED, psutil.CONN_SYN_SENT} and each.laddr.port not in listening
    }
    return len(out)


def _family(leader: int) -> list[psutil.Process]:
    try:
        process = psutil.Process(leader)
        return [process, *process.children()]
    except psutil.Error:
        return []


def _connections(process: psutil.Process) -> list[Any]:
    try:
        return list(process.net_connections(kind="tcp"))
    except psutil.Error:
        return []


def _answers(host: str, port: int) -> bool:
    """Whether something listens there; 0.0.0.0 and :: can be connected to, and mean this machine."""
    try:
        socket.create_connection((host.strip("[]"), port), timeout=1).close()
    except OSError:
        return False
    return True


def _tls_lines(tls: Tls) -> str:
    files = {"ssl_certificate": tls.certificate, "ssl_certificate_key": tls.key}
    quoted = {name: str(path).replace("\\", "\\\\").replace('"', '\\"') for name, path in files.items()}
    return "\n    ".join(
        [
            *(f'{name} "{path}";' for name, path in quoted.items()),
            "ssl_protocols TLSv1.2 TLSv1.3;",
            "ssl_session_tickets off;",
        ]
    )


def _user_line() -> str:
    """As root nginx would give its workers away to nobody, who may not read a run folder."""
    if os.geteuid() != 0:
        return ""
    return f"user {pwd.getpwuid(0).pw_name} {grp.getgrgid(os.getegid()).gr_name};"


def _files() -> int:
    """As many files as this user may let a process have, up to what nginx can use."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    return MAX_FILES if hard == resource.RLIM_INFINITY else min(hard, MAX_FILES)
