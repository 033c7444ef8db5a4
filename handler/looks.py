"""What is seen at some times of a clip, at its own size: for whoever looks at pictures as a person would."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack

import numpy as np
from numpy.typing import NDArray

from handler.container import open_container
from handler.errors import ActivityError
from handler.image import decode_image
from handler.limits import Limits
from handler.request import ActivityRequest
from handler.video import decode_frames

Picture = NDArray[np.uint8]
"""``(3, H, W)`` uint8 RGB, upright, of its own size."""


def look_at(request: ActivityRequest, seconds: Sequence[float], limits: Limits) -> Iterator[Picture | None]:
    """Give for each time what the video shows, else the image that was sent; None where that does not decode.

    Args:
        request: what was sent.
        seconds: times on the clip's timeline.
        limits: bounds on what it may cost.
    """
    with ExitStack() as stack:
        look = _open_pictures(request, limits, stack)
        yield from map(look, seconds)


def _open_pictures(request: ActivityRequest, limits: Limits, stack: ExitStack) -> Callable[[float], Picture | None]:
    """What is seen at a time: of the video, else the image that was sent; None where nothing decodes."""
    try:
        if request.video is not None:
            container = stack.enter_context(open_container(request.video, limits))
            if container.video is not None:
                return lambda seconds: _attempt(
                    lambda keep: decode_frames(container, np.array([seconds]), 1, limits, keep)
                )
    except ActivityError:
        pass
    image = request.image
    picture = None if image is None else _attempt(lambda keep: decode_image(image, 1, limits, keep))
    return lambda _seconds: picture


def _attempt(decode: Callable[[Callable[[Picture], Picture]], object]) -> Picture | None:
    """The last picture that ``decode`` hands to the function that would scale it."""
    seen: list[Picture] = []

    def keep(picture: Picture) -> Picture:
        seen[:] = [picture]
        return np.zeros((3, 1, 1), dtype=np.uint8)

    try:
        decode(keep)
    except (ActivityError, MemoryError):
        return None
    return seen[0] if seen else None
