"""How long decoding a batch may take: it is given up before the server gives up the worker, and all that it is at."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from contextvars import ContextVar
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

_end: ContextVar[float] = ContextVar("batch_end", default=math.inf)


def within_batch(step: Callable[[Item], Result], seconds: float) -> Callable[[Item], Result]:
    """The same step, for all of a batch: what it decodes has to be done so many seconds from now.

    Args:
        step: of one item, in whichever thread.
        seconds: for all items together.
    """
    end = time.monotonic() + seconds

    def held(item: Item) -> Result:
        token = _end.set(end)
        try:
            return step(item)
        finally:
            _end.reset(token)

    return held


def batch_end() -> float:
    """When the batch that this thread decodes for has to be done, by :func:`time.monotonic`; infinity for none."""
    return _end.get()
