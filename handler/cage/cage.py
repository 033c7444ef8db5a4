"""The worker's side of the cage: the fork server, its children, and a clock that kills those that overstay."""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from handler.batch_time import batch_end
from handler.cage.server import CHILD, MAX_MESSAGE_BYTES
from handler.cage.wire import Channel, WireError
from handler.errors import ActivityError, LimitExceeded
from handler.limits import Limits
from models.config import ModelConfig
from models.settings import SettingsError

Call = Callable[[dict[str, Any]], dict[str, Any]]
"""What a child may ask the worker to do: from values to values. What it raises goes to the child if it is an error of
the request, and else ends the conversation."""

_MAX_ANSWER_BYTES = 4 * 2**30
"""Of what a child says; what it may write is bounded by its own limits."""
_START_SECONDS = 120.0
_HAND_OVER_SECONDS = 5.0
"""How long the fork server may take to fork one more child: milliseconds, unless it is stopped. All requests wait."""
_KEPT_VARIABLES = ("PATH", "LD_LIBRARY_PATH", "LANG", "LC_ALL", "TMPDIR", "PYTHONHOME", "PYTHONUTF8")
"""Of the worker's environment: keys and tokens are none of a decoder's."""


@dataclass
class Budget:
    """Seconds of the wall clock that a child may still take; those in which it waits for the worker do not count."""

    seconds: float
    total: float = 0.0
    """All that it was given."""
    end: float = field(default_factory=batch_end)
    """When it is over whatever is left, by :func:`time.monotonic`."""

    def __post_init__(self) -> None:
        self.total = self.seconds

    def add(self, seconds: float) -> None:
        """Give it more."""
        self.seconds += seconds
        self.total += seconds

    @property
    def left(self) -> float:
        """Seconds that a child may be waited for now."""
        return max(min(self.seconds, self.end - time.monotonic()), 1e-3)

    def breach(self) -> LimitExceeded:
        """What is said when none are left."""
        if time.monotonic() >= self.end:
            return LimitExceeded(
                "decode_seconds",
                "the requests that are decoded at a time took longer together than they may",
                remedy="Send it once more; if that happens again, send a shorter clip.",
            )
        return LimitExceeded(
            "decode_seconds",
            f"decoding took longer than {self.total:.6g} s, and the limit is that",
            remedy="Send a shorter clip, a smaller picture, or one of a codec that is faster to decode.",
        )


class Child:
    """A process that decodes; a context manager for one request, at whose end it is killed or waits for the next.

    Args:
        cage: it came from there.
        pid: its process.
        descriptors: its socket, its pidfd, the worker's memory and its own.

    Attributes:
        is_done: it has answered the request in full, and nothing was wrong with that.
        num_requests: that it has been given.
    """

    def __init__(self, cage: Cage, pid: int, descriptors: list[int]) -> None:
        self._cage = cage
        self.pid = pid
        self.is_done = False
        self.num_requests = 0
        link, self._pidfd, asked, answered = descriptors
        self._memory = asked, answered
        self._channel = Channel(socket.socket(fileno=link), asked, answered, _MAX_ANSWER_BYTES)

    def ask(
        self, kind: str, values: Mapping[str, Any], budget: Budget, calls: Mapping[str, Call]
    ) -> tuple[str, dict[str, Any]]:
        """Ask for something, and do what the child asks for until it answers.

        Args:
            kind: what is asked for.
            values: what goes with it.
            budget: is charged with the time that it takes.
            calls: what it may ask for.

        Raises:
            LimitExceeded: it took longer than it may, and has been killed.
            WireError: it ended, or says what it must not.
            Exception: what a call raised that is no error of the request.
        """
        self._channel.send(kind, values)
        while True:
            kind, values = self._wait(budget)
            if kind not in calls:
                return kind, dict(values)
            self._channel.send(*_answer(calls[kind], values))

    def _wait(self, budget: Budget) -> tuple[str, dict[str, Any]]:
        started = time.monotonic()
        try:
            return self._channel.receive(budget.left)
        except TimeoutError:
            self.kill()
            raise budget.breach() from None
        finally:
            budget.seconds -= time.monotonic() - started

    @property
    def has_ended(self) -> bool:
        """Whether it is gone."""
        watched = select.poll()
        watched.register(self._pidfd, select.POLLIN)
        return bool(watched.poll(0))

    def kill(self) -> None:
        """End it, whatever it is at."""
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)

    def close(self) -> None:
        """End it, and free what it holds."""
        self.kill()
        self._channel.link.close()
        for descriptor in (self._pidfd, *self._memory):
            os.close(descriptor)

    def __enter__(self) -> Self:
        self.is_done = False
        self.num_requests += 1
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._cage.take_back(self)


def _answer(call: Call, values: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    try:
        return "done", call(values)
    except ActivityError as error:
        return "error", error.values


class Cage:
    """A fork server and its children. One that dies is started anew.

    Args:
        config: the model's.
        limits: what a child may take.
        num_waiting: children that are ready before anybody asks.
        requests_per_child: how many requests a child decodes with which nothing is wrong.
    """

    def __init__(self, config: ModelConfig, limits: Limits, num_waiting: int, requests_per_child: int) -> None:
        if not hasattr(os, "memfd_create"):
            raise SettingsError("decode children need Linux: set cage to false in model-config.yaml, handler")
        self._begin = {
            "config": config.model_dump(mode="json"),
            "limits": limits.model_dump(mode="json"),
            "num_waiting": num_waiting,
        }
        self._num_waiting = num_waiting
        self._requests_per_child = requests_per_child
        self._lock = threading.Lock()
        self._idle: list[Child] = []
        """They have decoded before, the last one latest."""
        self._is_closed = False
        self._modules: frozenset[str] | None = None
        self._started_with: tuple[int, ...] = ()
        self._process, self._control = self._start()

    @property
    def pid(self) -> int:
        """Of the fork server."""
        return self._process.pid

    @property
    def modules(self) -> frozenset[str]:
        """What the fork server has imported, by the first part of the names; waits until it is ready."""
        with self._lock:
            return self._ready()

    def child(self, *, fresh: bool = False) -> Child:
        """A child that is at nothing.

        Args:
            fresh: it has decoded nothing before.

        Raises:
            WireError: the fork server does not start.
            OSError: nor does it anew.
        """
        with self._lock:
            while self._idle and not fresh:
                child = self._idle.pop()
                if not child.has_ended:
                    return child
                child.close()  # killed while it waited: of what, no request is to blame
            try:
                return self._hand_over()
            except (WireError, OSError):
                self._restart()
                return self._hand_over()

    def take_back(self, child: Child) -> None:
        """Let a child wait for the next request, if it is as good as a new one; else end it."""
        with self._lock:
            if (
                child.is_done
                and child.num_requests < self._requests_per_child
                and len(self._idle) < self._num_waiting
                and not self._is_closed
            ):
                self._idle.append(child)
                return
        child.close()

    def close(self) -> None:
        """End the fork server, and its children with it."""
        with self._lock:
            self._is_closed = True
            self._end()

    def _end(self) -> None:
        for child in self._idle:
            child.close()
        self._idle.clear()
        self._control.close()
        self._process.kill()  # it may be stopped
        self._process.wait()
        self._let_go()

    def _hand_over(self) -> Child:
        self._ready()
        self._control.send(CHILD)
        pid, descriptors, _, _ = socket.recv_fds(self._control, 64, 4)
        if len(descriptors) != 4:
            raise WireError("the fork server is gone")
        return Child(self, int(pid), descriptors)

    def _ready(self) -> frozenset[str]:
        if self._modules is None:
            kind, told = self._channel.receive(_START_SECONDS)
            if kind != "ready":
                raise WireError("the fork server did not start")
            self._control.settimeout(_HAND_OVER_SECONDS)
            self._modules = frozenset(told["modules"])
            self._let_go()
        return self._modules

    def _let_go(self) -> None:
        """Close the memory that the fork server was told things in, which it may have died before it read."""
        for descriptor in self._started_with:
            os.close(descriptor)
        self._started_with = ()

    def _restart(self) -> None:
        self._end()
        self._modules = None
        self._process, self._control = self._start()

    def _start(self) -> tuple[subprocess.Popen[bytes], socket.socket]:
        control, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        asked, answered = os.memfd_create("activity-asked"), os.memfd_create("activity-answered")
        self._started_with = asked, answered
        descriptors = its.fileno(), answered, asked
        process = subprocess.Popen(  # noqa: S603 - this interpreter, and numbers
            [sys.executable, "-m", "handler.cage.server", *map(str, descriptors)],
            pass_fds=descriptors,
            cwd=Path(__file__).parents[2],
            env=_environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        its.close()
        self._channel = Channel(control, asked, answered, MAX_MESSAGE_BYTES)
        self._channel.send("begin", self._begin)
        return process, control


def _environment() -> dict[str, str]:
    kept = {name: os.environ[name] for name in _KEPT_VARIABLES if name in os.environ}
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    places = os.pathsep.join(place for place in sys.path if place)
    return {**kept, **threads, "PYTHONPATH": places, "PYTHONDONTWRITEBYTECODE": "1"}
