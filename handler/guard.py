"""What a step for one request raises is that request's error and nobody else's."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TypeVar

from handler.errors import ActivityError, InternalError

Result = TypeVar("Result")

logger = logging.getLogger(__name__)


def guarded(step: Callable[[], Result], request_id: str) -> Result | ActivityError:
    """Run a step for one request, whose error is a value like every other.

    Args:
        step: may raise whatever it likes.
        request_id: for the log, and for the client where the error is a defect of ours.
    """
    try:
        return step()
    except ActivityError as error:
        # It waits for the batch's other answers, and its frames hold what was sent, often several times.
        error.__traceback__ = error.__cause__ = error.__context__ = None
        return error
    except Exception:
        logger.exception("request %s failed", request_id)
        return InternalError(
            f"the request {request_id} met a defect of the service",
            remedy="Report it with this request id; the service's log has the cause.",
        )
