"""The answers of a batch on their way out, where some of them come piece by piece.

A server takes a batch's answers together, and further pieces one message after the other. The first message has every
answer that is whole, so a long recording holds up none of its batch; then the others take turns.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

from handler.response import Response

Send = Callable[[Mapping[int, bytes], Collection[int]], None]
"""Takes bodies by the places of their requests, and the places of those that have more to come."""


@dataclass(frozen=True)
class Delivered:
    """How the answers of a batch ended."""

    last: Mapping[int, bytes]
    """The bodies that are left for the server's own last message, by place: of all requests that are not done yet."""
    codes: Mapping[int, str]
    """Of each answer that came piece by piece ``ok``, or the code of the error it ended with."""


def deliver(responses: Sequence[Response], send: Send) -> Delivered:
    """Send the answers of a batch, all but the last message.

    Args:
        responses: of the batch.
        send: hands a message to the server; a place whose body it had without more to come is done.
    """
    rests = {place: response.rest for place, response in enumerate(responses) if response.rest is not None}
    bodies = {place: response.body for place, response in enumerate(responses)}
    codes: dict[int, str] = {}
    while rests:
        send(bodies, rests.keys())
        bodies = {}
        for place, rest in list(rests.items()):
            try:
                bodies[place] = next(rest)
            except StopIteration as ended:
                codes[place] = ended.value
                bodies[place] = b""
                del rests[place]
    return Delivered(bodies, codes)
