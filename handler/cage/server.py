"""The fork server of decode children: a small process that never imports torch, and keeps some children waiting.

Run by :mod:`handler.cage.cage` as ``python -m handler.cage.server DESCRIPTORS``. It ends with the worker that it was
started by, and its children with it.
"""

from __future__ import annotations

import gc
import os
import select
import signal
import socket
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from handler.cage.child import confine, decode_all, name_process
from handler.cage.warm_up import warm_up
from handler.cage.wire import Channel
from handler.limits import Limits
from models.config import ModelConfig

MAX_MESSAGE_BYTES = 256 * 1024 * 1024
"""Of the model's configuration, and of a request with all its parts."""
CHILD = b"child"
"""What the worker asks for."""


@dataclass(frozen=True)
class _Forked:
    """A child that waits for a request."""

    pid: int
    descriptors: tuple[int, ...]
    """The worker's end of its socket, what tells and ends it (pidfd), the worker's memory and the child's."""

    def close(self) -> None:
        for descriptor in self.descriptors:
            os.close(descriptor)


class ForkServer:
    """Forks children, hands them over, and sees them end.

    Args:
        control: to the worker.
        config: the model's.
        limits: what a child may take.
        num_waiting: children that are ready before anybody asks.
    """

    def __init__(self, control: socket.socket, config: ModelConfig, limits: Limits, num_waiting: int) -> None:
        self._control = control
        self._config = config
        self._limits = limits
        self._num_waiting = num_waiting
        self._waiting: list[_Forked] = []
        self._alive: dict[int, int] = {}
        """By process, a descriptor that tells when it ends."""

    def run(self) -> None:
        """Serve until the worker is gone."""
        while True:
            while len(self._waiting) < self._num_waiting:
                self._waiting.append(self._fork())
            watched: list[Any] = [self._control, *self._alive.values()]
            ready, _, _ = select.select(watched, [], [])
            for pid in [pid for pid, descriptor in self._alive.items() if descriptor in ready]:
                self._reap(pid)
            if self._control in ready:
                if self._control.recv(len(CHILD)) != CHILD:
                    return
                self._hand_over()

    def _hand_over(self) -> None:
        child = self._waiting.pop(0) if self._waiting else self._fork()
        socket.send_fds(self._control, [str(child.pid).encode("ascii")], child.descriptors)
        child.close()

    def _reap(self, pid: int) -> None:
        os.close(self._alive.pop(pid))
        os.waitpid(pid, 0)
        for child in [child for child in self._waiting if child.pid == pid]:
            child.close()
            self._waiting.remove(child)

    def _fork(self) -> _Forked:
        mine, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        asked, answered = os.memfd_create("activity-asked"), os.memfd_create("activity-answered")
        parent = os.getpid()
        pid = os.fork()
        if pid == 0:
            self._be_child(its, asked, answered, parent)
        its.close()
        self._alive[pid] = os.pidfd_open(pid)
        return _Forked(pid, (mine.detach(), os.dup(self._alive[pid]), asked, answered))

    def _be_child(self, link: socket.socket, asked: int, answered: int, parent: int) -> NoReturn:
        try:
            name_process(b"activity-decode")
            _close_others({0, 1, 2, link.fileno(), asked, answered})
            confine(self._limits, parent)
            decode_all(Channel(link, answered, asked, MAX_MESSAGE_BYTES), self._config)
        finally:
            os._exit(0)


def _close_others(kept: set[int]) -> None:
    """Close all descriptors but some: the worker's and the other children's are none of this child's."""
    for number in [int(entry.name) for entry in Path("/proc/self/fd").iterdir()]:
        if number not in kept:
            with suppress(OSError):  # the listing's own
                os.close(number)


def main(arguments: Sequence[str]) -> None:
    """Be the fork server.

    Args:
        arguments: descriptors of the control socket, of this side's memory and of the worker's.
    """
    for number in (signal.SIGINT, signal.SIGTERM):  # meant for the worker, with which this one ends
        signal.signal(number, signal.SIG_IGN)
    name_process(b"activity-forks")
    control, outgoing, incoming = map(int, arguments)
    channel = Channel(socket.socket(fileno=control), outgoing, incoming, MAX_MESSAGE_BYTES)
    _, values = channel.receive()
    config, limits = ModelConfig.model_validate(values["config"]), Limits.model_validate(values["limits"])
    warm_up(config)
    gc.collect()
    gc.freeze()  # what is here already need not be copied for every child
    told: dict[str, Any] = {"modules": sorted({name.partition(".")[0] for name in sys.modules})}
    channel.send("ready", told)
    channel.link.settimeout(None)
    ForkServer(channel.link, config, limits, values["num_waiting"]).run()


if __name__ == "__main__":
    main(sys.argv[1:])
