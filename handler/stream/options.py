"""The option ``chunk``: a request is the next piece of a stream, whose state the client keeps and sends with it."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Annotated, Self

from pydantic import Field, model_validator

from handler.errors import InvalidOptions
from models.settings import Settings

if TYPE_CHECKING:
    from handler.options import ResolvedOptions
    from handler.request import ActivityRequest

MAX_CLOCK_SECONDS = 1e9
"""Of a stream's clock: below it float64 holds a tenth of a microsecond."""

_EXTRAS = frozenset({"windows", "timing"})
_FORMATS = frozenset({"json", "ndjson"})

_Seconds = Annotated[float, Field(strict=True, allow_inf_nan=False, ge=-MAX_CLOCK_SECONDS, le=MAX_CLOCK_SECONDS)]


class ChunkOptions(Settings):
    """Where a chunk lies on its stream's clock."""

    offset_seconds: _Seconds = 0.0
    """Where the zero of the file's own times lies: 0 where these go on from chunk to chunk, as in the fragments of one
    recording; where each chunk is a file that begins at zero, the chunk's start."""
    start_seconds: _Seconds | None = None
    """What lies before counts for nothing: it lets the decoders begin. By default the file's start."""
    stop_seconds: _Seconds | None = None
    """What lies after counts for nothing, and all that lies before is there. By default the file's end."""
    last: Annotated[bool, Field(strict=True)] = False
    """The stream ends with this chunk."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.start_seconds is not None and self.stop_seconds is not None and self.stop_seconds < self.start_seconds:
            raise ValueError(f"stop_seconds {self.stop_seconds:g} lies before start_seconds {self.start_seconds:g}")
        return self


def check_chunk(request: ActivityRequest, *, transcribed: bool) -> None:
    """Hold a chunk against what a chunk can be answered with.

    Raises:
        InvalidOptions: a format or an extra that needs the whole recording, words that are to be heard in it, another
            chunk in the same body.
    """
    options = request.options
    extras = sorted(set(options.extras) - _EXTRAS)
    if extras:
        raise InvalidOptions(
            f"options: a chunk cannot have the extras {', '.join(extras)}: they need the whole recording",
            remedy="Ask for windows and timing, or send the recording at once.",
        )
    if options.format not in _FORMATS:
        raise InvalidOptions(
            f"options: a chunk cannot be answered in the format {options.format}, which has no place for the state",
            remedy="Leave format out, or send json or ndjson.",
        )
    if transcribed:
        raise InvalidOptions(
            "options: the words of a chunk cannot be heard in its sound",
            remedy="Send the words, with their times, or the recording at once.",
        )
    if request.num_instances > 1:
        raise InvalidOptions(
            f"options: chunks are for bodies of 1 instance, this one has {request.num_instances}",
            remedy="Send each chunk in a body of its own.",
        )


def options_digest(options: ResolvedOptions) -> str:
    """What of a stream's options must stay as it began: all that a score, a window or a segment depends on."""
    decisive = (
        options.labels,
        options.choice,
        options.threshold,
        options.stride_windows,
        options.smoothing_windows,
        options.lookahead_windows,
        options.min_segment_seconds,
        options.allowed,
    )
    return hashlib.sha256(repr(decisive).encode()).hexdigest()[:32]
