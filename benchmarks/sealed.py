"""Does a decoder open, bind or call anything because of what it is sent?

    python -m benchmarks.sealed

Decodes files that ask for it (:mod:`benchmarks.hostile.reaching`) under strace, which says what is opened, bound and
connected while each is decoded, with somebody listening on the loopback interface: as the archive's handler decodes, in
the cage; in this process, with the lists of formats and protocols alone; and without any guard, which must be seen to
open and to call, or the test sees nothing. Needs ``strace``, a system package, and a system that lets it trace.
"""

from __future__ import annotations

import argparse
import io
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from rich.console import Console
from rich.table import Table

from benchmarks.hostile.files import PICTURES, SOUNDS, picture_files
from benchmarks.hostile.reaching import Reaching, reaching_requests
from benchmarks.hostile.requests import Request, written_parts
from handler.limits import Limits
from handler.request import parse_request
from tests.media import render
from tests.models.every import EVERY


def _code_folders() -> set[str]:
    return {sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")}


Guards = Literal["cage", "lists", "none"]
_CALLS = "open,openat,openat2,creat,socket,bind,connect,execve,rename,renameat2,unlink,unlinkat"
_MARK = "/activity-sealed/"
_ALLOWED = (
    re.compile(r'open(at)?\((AT_FDCWD, )?"/proc/self/(fd|statm)", O_RDONLY'),
    re.compile(rf'open(at)?\((AT_FDCWD, )?"({"|".join(map(re.escape, _code_folders()))})/[^"]*", O_RDONLY'),
)
"""What a child that is forked meanwhile looks up of itself before it confines itself; and Python's own modules, where
one is loaded late: nobody who sends a file chooses their names."""
_PATIENCE_SECONDS = 0.6
"""How long a decode without guards may wait for what it calls."""


@dataclass
class Seen:
    """What happened while one file was decoded."""

    calls: list[str] = field(default_factory=list)
    """Opens, binds and connects, as strace writes them."""

    @property
    def breaches(self) -> list[str]:
        """Those that are not allowed."""
        return [call for call in self.calls if not any(pattern.search(call) for pattern in _ALLOWED)]


@dataclass
class Trace:
    """What happened under some guards."""

    guards: Guards
    by_name: dict[str, Seen]
    reached: int
    """Connections and packets that came to the listener."""

    @property
    def breaches(self) -> dict[str, list[str]]:
        """What is not allowed, by the file that it came of."""
        return {name: seen.breaches for name, seen in self.by_name.items() if seen.breaches}


def why_not() -> str | None:
    """Why nothing can be traced here; None where it can."""
    strace = shutil.which("strace")
    if strace is None:
        return "strace is missing: install the system package strace (apt-get install strace)"
    tried = subprocess.run([strace, "-f", "-e", "trace=openat", "true"], capture_output=True, check=False)  # noqa: S603
    return None if tried.returncode == 0 else "strace may not trace here: the container needs CAP_SYS_PTRACE"


@contextmanager
def _listening() -> Iterator[tuple[int, int, list[bytes]]]:
    """Ports of TCP and UDP on the loopback interface, and what comes to them."""
    came: list[bytes] = []
    ended = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as tcp, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.bind(("127.0.0.1", 0))
        tcp.settimeout(0.05)

        def accept() -> None:
            while not ended.is_set():
                with suppress(TimeoutError):
                    connection, _ = tcp.accept()
                    connection.close()
                    came.append(b"connected")

        thread = threading.Thread(target=accept)
        thread.start()
        try:
            yield tcp.getsockname()[1], udp.getsockname()[1], came
        finally:
            ended.set()
            thread.join()


def trace(guards: Guards) -> Trace:
    """Decode everything under some guards, and say what happened."""
    with tempfile.TemporaryDirectory() as folder, _listening() as (tcp_port, udp_port, came):
        secret, log = Path(folder, "secret.mp4"), Path(folder, "trace")
        secret.write_bytes(render("mp4", PICTURES["h264"]))
        places = [str(secret), str(tcp_port), str(udp_port)]
        ours = [sys.executable, "-m", "benchmarks.sealed", "--decode", guards, *places]
        strace = ["strace", "-f", "--seccomp-bpf", "-qq", "-e", f"trace={_CALLS}", "-e", "signal=none", "-o", str(log)]
        subprocess.run([*strace, *ours], check=True, timeout=240)  # noqa: S603 - our own
        return Trace(guards, read_log(log.read_text(encoding="utf-8", errors="replace")), len(came))


def read_log(log: str) -> dict[str, Seen]:
    """What strace wrote between the marks, by the file that was decoded then."""
    found: dict[str, Seen] = {}
    current: Seen | None = None
    for line in log.splitlines():
        mark = re.search(rf'"{_MARK}(begin|end)/([^"]*)"', line)
        if mark:
            current = found.setdefault(mark[2], Seen()) if mark[1] == "begin" else None
        elif current is not None and "resumed>" not in line:
            current.calls.append(line)
    return found


def _mark(kind: str, name: str) -> None:
    with suppress(OSError):
        os.open(f"{_MARK}{kind}/{name}", os.O_RDONLY)


def decode_everything(guards: Guards, secret: Path, tcp_port: int, udp_port: int) -> None:
    """In the process that is traced: decode good files, so that what is loaded late is there, then the others."""
    os.chdir(secret.parent)
    cases = list(reaching_requests(secret, tcp_port, udp_port))
    with _decoder(guards) as decode:
        for request in _good_requests():
            decode(Reaching("good", request))
        for case in cases:
            _mark("begin", case.name)
            decode(case)
            _mark("end", case.name)


def _good_requests() -> Iterator[Request]:
    yield {"video": render("mp4", PICTURES["h264"], SOUNDS["aac"])}
    yield {"video": b"no media"}
    yield {"audio": render("ogg", SOUNDS["flac"]), "depth": render("avi", PICTURES["mpeg4"])}
    yield {"image": picture_files()[0][0].content}
    yield from ({part.part: part.content} for part in written_parts() if part.part not in ("options", "state"))


@contextmanager
def _decoder(guards: Guards) -> Iterator[Callable[[Reaching], None]]:
    """What decodes a request under some guards."""
    limits = Limits()

    def read(request: Request, open_pieces: Callable[..., Any]) -> None:
        with suppress(Exception):
            raw = {name: bytearray(content) for name, content in request.items()}
            with open_pieces(parse_request(raw, limits, EVERY.vectors)) as opened:
                for _ in opened.pieces:
                    pass

    if guards == "cage":
        from handler.cage.decoder import CagedDecoder  # noqa: PLC0415

        decoder = CagedDecoder(EVERY, limits, num_waiting=1)
        try:
            yield lambda case: read(case.request, lambda request: decoder.pieces(request, limits))
        finally:
            decoder.close()
        return
    from handler.recordings.pieces import decode_pieces  # noqa: PLC0415

    def decode(case: Reaching) -> None:
        if guards == "none":
            _unguard(case.file_name)
        read(case.request, lambda request: decode_pieces(request, EVERY, limits))

    yield decode if guards == "lists" else lambda case: _apart(lambda: decode(case))


def _unguard(file_name: str | None) -> None:
    """Open as PyAV does by itself, with the file's name if it has one."""
    import av  # noqa: PLC0415

    from handler import container, image  # noqa: PLC0415

    def open_anything(data: bytes, _formats: object, _options: Mapping[str, str]) -> Any:
        file = io.BytesIO(data)
        if file_name is not None:
            named: Any = type("Named", (io.BytesIO,), {"name": file_name})
            file = named(data)
        return av.open(file, mode="r", metadata_errors="replace")

    modules: tuple[Any, ...] = (container, image)
    for module in modules:
        module.open_untrusted = open_anything


def _apart(step: Callable[[], None]) -> None:
    """Run a step in a process that is killed when it waits for too long."""
    pid = os.fork()
    if pid == 0:
        step()
        os._exit(0)
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while os.waitpid(pid, os.WNOHANG) == (0, 0):
        if time.monotonic() > deadline:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            return
        time.sleep(0.005)


def main() -> None:
    """Print what was opened; the exit status is 1 when something was, or when nothing was seen without guards."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--decode", nargs=4, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.decode:
        guards, secret, tcp_port, udp_port = arguments.decode
        decode_everything(guards, Path(secret), int(tcp_port), int(udp_port))
        return
    console = Console(width=160)
    reason = why_not()
    if reason is not None:
        console.print(reason)
        sys.exit(2)
    traces = [trace(guards) for guards in get_args(Guards)]
    table = Table("guards", "files", "that open or call", "calls not allowed", "calls that reached the listener")
    for each in traces:
        counted = sum(map(len, each.breaches.values()))
        table.add_row(each.guards, str(len(each.by_name)), str(len(each.breaches)), str(counted), str(each.reached))
    console.print(table)
    for each in traces:
        for name, calls in each.breaches.items():
            console.print(f"{each.guards}: {name}: {calls[0]}", markup=False, highlight=False)
    *guarded, bare = traces
    sys.exit(1 if any(each.breaches or each.reached for each in guarded) or not (bare.breaches and bare.reached) else 0)


if __name__ == "__main__":
    main()
