"""Asking again: a server whose queue is full, or that is being started anew, answers the same request a little later.

>>> from client.patience import ask_patiently
>>> answer = ask_patiently(lambda: client.predict(clip), patience_seconds=60)              # doctest: +SKIP
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import TypeVar

from client.errors import Overloaded, ServerUnreachable, WorkerFailed

Result = TypeVar("Result")

FIRST_WAIT_SECONDS = 0.2
LONGEST_WAIT_SECONDS = 5.0
WORKER_ATTEMPTS = 2
"""A worker that dies over a batch takes the others' requests with it: each is asked once more, no oftener."""
UNREACHABLE_SECONDS = 10.0
"""How long nobody may listen: a server that is being started anew takes about as long."""


def ask_patiently(
    ask: Callable[[], Result],
    *,
    patience_seconds: float,
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> Result:
    """Ask until there is an answer, waiting twice as long each time, by chance a little more or less.

    A prediction changes nothing on the server, so it may be asked again after any of these; not after a time-out, when
    the first one may still be worked at.

    Args:
        ask: sends the request.
        patience_seconds: how long a full queue is waited for; 0 asks once.
        sleep: waits for so many seconds.
        clock: seconds of a clock that never goes back.

    Raises:
        Overloaded: the queue was full all the time.
        WorkerFailed: a worker died over the request twice.
        ClientError: everything else at once; that nobody listens after a few seconds.
    """
    began = clock()
    wait_seconds, failures = FIRST_WAIT_SECONDS, 0
    while True:
        try:
            return ask()
        except WorkerFailed:
            failures += 1
            if failures >= WORKER_ATTEMPTS or patience_seconds <= 0:
                raise
        except Overloaded:
            if clock() - began >= patience_seconds:
                raise
        except ServerUnreachable:
            if clock() - began >= min(patience_seconds, UNREACHABLE_SECONDS):
                raise
        sleep(wait_seconds * random.uniform(0.75, 1.25))  # noqa: S311 - requests should not come back all at once
        wait_seconds = min(2 * wait_seconds, LONGEST_WAIT_SECONDS)
