"""The processes of one server: all that belong to its session, and all that descend from them."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterable
from pathlib import Path

import psutil

ENDED = {psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD}
"""A zombie has ended; it only waits for a parent that may never ask, such as a container's first process."""


START_FIELD = 19
"""Index of ``starttime`` among the fields of ``/proc/PID/stat`` that follow the process's name."""


def start_ticks(pid: int) -> int | None:
    """When a process began, in clock ticks since the machine's start; None when there is none.

    Together with the number this names one process for ever, whatever happens to the machine's clock.
    """
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return None
    return int(stat.rpartition(b")")[2].split()[START_FIELD])


def is_running(pid: int, began_ticks: int) -> bool:
    """Whether this very process runs: the same number that began at another time is another process."""
    if start_ticks(pid) != began_ticks:
        return False
    try:
        return psutil.Process(pid).status() not in ENDED
    except psutil.NoSuchProcess:
        return False


def find_processes(leader: int, began_ticks: int) -> list[psutil.Process]:
    """What runs of the session that ``leader`` began, and its descendants.

    The kernel gives a session's number to nobody else while one of its processes lives, so a session without its
    leader is still the one that was started here; only a leader that began at another time is somebody else's.
    """
    if start_ticks(leader) not in {None, began_ticks}:
        return []
    found: dict[int, psutil.Process] = {}
    for process in psutil.process_iter():
        if _session(process.pid) == leader:
            found[process.pid] = process
            for descendant in _descendants(process):
                found[descendant.pid] = descendant
    return [process for process in found.values() if _runs(process)]


def find_open_ports(processes: Iterable[psutil.Process]) -> set[int]:
    """The TCP ports that these processes listen on."""
    ports: set[int] = set()
    for process in processes:
        try:
            connections = process.net_connections(kind="tcp")
        except psutil.Error:
            continue
        ports.update(connection.laddr.port for connection in connections if connection.status == psutil.CONN_LISTEN)
    return ports


def end_processes(leader: int, began_ticks: int, *, grace_seconds: float) -> int:
    """End a server: SIGTERM to all of it, and SIGKILL to what is left after ``grace_seconds``.

    Returns:
        How many processes had to be killed.
    """
    known = {process.pid: process for process in find_processes(leader, began_ticks)}
    _send(known.values(), signal.SIGTERM)
    psutil.wait_procs([process for process in known.values() if _runs(process)], timeout=grace_seconds)
    # Look again: a process may have been born between the look and the signal.
    known.update({process.pid: process for process in find_processes(leader, began_ticks)})
    stubborn = [process for process in known.values() if _runs(process)]
    _send(stubborn, signal.SIGKILL)
    psutil.wait_procs(stubborn, timeout=grace_seconds)
    return len(stubborn)


def _session(pid: int) -> int | None:
    try:
        return os.getsid(pid)
    except OSError:
        return None


def _descendants(process: psutil.Process) -> list[psutil.Process]:
    try:
        return process.children(recursive=True)
    except psutil.Error:
        return []


def _runs(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() not in ENDED
    except psutil.NoSuchProcess:
        return False


def _send(processes: Iterable[psutil.Process], number: signal.Signals) -> None:
    for process in processes:
        try:
            process.send_signal(number)
        except psutil.NoSuchProcess:
            continue
