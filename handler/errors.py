"""Every error a client can be answered with, one closed tree.

::

    ActivityError
    ├── InvalidRequest          400  invalid_request      no media at all, a field of the wrong kind, a broken base64
    │   ├── InvalidOptions      400  invalid_options      an unknown option, a value out of range
    │   ├── UnknownPart         400  unknown_part         a part whose name the model does not take
    │   └── StateInvalid        400  state_invalid        a state is forged, changed, cut or of no known version
    ├── StateForeign            409  state_foreign        a state of another model or checkpoint, or of other options
    ├── ChunkOutOfOrder         409  chunk_out_of_order   a chunk comes twice, or begins before the stream's clock
    ├── StateExpired            410  state_expired        a state is too old
    ├── LimitExceeded           413  limit_<what>         more of something than a limit allows: see EXCEEDED
    ├── UnsupportedMedia        415  unsupported_media    a container or codec that is not on the allow-list
    ├── UndecodableMedia        422  undecodable_media    opened, or not even that, but nothing came out
    ├── DecoderCrashed          422  decoder_crashed      the decoder died of it, and of a second try too
    ├── NoUsableModality        422  no_usable_modality   several parts were sent and none can be used
    ├── ChunkUndecodableStart   422  chunk_undecodable_start    a chunk begins where no decoder can
    └── InternalError           500  internal_error       our defect; the log has the cause under the request id

A modality that cannot be used while another can is no error of the request: the answer carries the code and the
message as that modality's reason.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal, get_args

Exceeded = Literal[
    "answers",
    "bytes",
    "channels",
    "cues",
    "decode_seconds",
    "explained_seconds",
    "frame_pixels",
    "frames",
    "image_pixels",
    "instances",
    "instances_bytes",
    "memory",
    "options",
    "packets",
    "sample_rate",
    "seconds",
    "state",
    "streams",
    "table_bytes",
    "table_cells",
    "table_columns",
    "table_rows",
    "text",
    "total_pixels",
    "transcribed_seconds",
    "transcription_passes",
]
"""What a limit can be on; the code of its breach is ``limit_`` and this."""

EXCEEDED: dict[Exceeded, str] = {
    "answers": "The answer would have more bytes than the server sends.",
    "bytes": "A part has more bytes than allowed.",
    "channels": "The sound has more channels than allowed.",
    "cues": "The text has more cues than allowed, or too many of a stream wait for their time.",
    "decode_seconds": "Decoding takes longer than allowed.",
    "explained_seconds": "The clip lasts longer than one that is explained may.",
    "frame_pixels": "A frame of a video has more pixels than allowed.",
    "frames": "More frames come out of a video than allowed.",
    "image_pixels": "A picture has more pixels than allowed.",
    "instances": "A KServe body has more instances than allowed.",
    "instances_bytes": "The instances of a KServe body have more bytes together than allowed.",
    "memory": "Decoding wants more memory than allowed.",
    "options": "The options have more bytes than allowed.",
    "packets": "A file has more packets than allowed.",
    "sample_rate": "The sound's sample rate is out of the range allowed.",
    "seconds": "The clip, or a chunk of a stream, lasts longer than allowed.",
    "state": "A stream's state has, or would have, more bytes than allowed.",
    "streams": "A file has more streams than allowed.",
    "table_bytes": "A table has more bytes than allowed.",
    "table_cells": "A table has more cells than allowed.",
    "table_columns": "A table has more columns than allowed.",
    "table_rows": "A table has more rows than allowed.",
    "text": "The text has more characters than allowed.",
    "total_pixels": "All frames that come out of a video have more pixels together than allowed.",
    "transcribed_seconds": "The sound lasts longer than one whose words are heard may.",
    "transcription_passes": "Hearing the words of the sound takes more passes than allowed.",
}
"""When each limit is exceeded."""


class ActivityError(Exception):
    """One request's error.

    Args:
        message: the value and what is allowed, without a path or a class name. What cannot be printed, and would do
            something to a terminal, a log or the order of the words, is spelled as Python does.
        remedy: what the client can do.
        details: further JSON values for the body, such as the reasons by modality.
    """

    status: ClassVar[int]
    code: str
    phrase: ClassVar[str]

    def __init__(self, message: str, *, remedy: str, details: dict[str, Any] | None = None) -> None:
        self.message = "".join(sign if sign.isprintable() else ascii(sign)[1:-1] for sign in message)
        super().__init__(self.message)
        self.remedy = remedy
        self.details = details or {}

    @property
    def body(self) -> dict[str, Any]:
        """The JSON body of the answer."""
        return {
            "status": self.status,
            "code": self.code,
            "message": self.message,
            "remedy": self.remedy,
            **self.details,
        }

    @property
    def values(self) -> dict[str, Any]:
        """All of the error as JSON values; :func:`error_of_values` makes it of them again."""
        return {"code": self.code, "message": self.message, "remedy": self.remedy, "details": self.details}

    @classmethod
    def codes(cls) -> dict[str, str]:
        """Each code that an error of this kind can have, and when it has it."""
        return {cls.code: cls.__doc__ or ""}


class InvalidRequest(ActivityError):
    """The request itself is malformed."""

    status, code, phrase = 400, "invalid_request", "Bad Request"


class InvalidOptions(InvalidRequest):
    """An option is unknown or out of range."""

    code = "invalid_options"


class UnknownPart(InvalidRequest):
    """A part has a name that the model does not take."""

    code = "unknown_part"


class StateInvalid(InvalidRequest):
    """A stream's state is none that this service gave out, or not as it was given out."""

    code = "state_invalid"


class StateForeign(ActivityError):
    """A stream's state is of another model, version or checkpoint, or its stream began with other options."""

    status, code, phrase = 409, "state_foreign", "Conflict"


class ChunkOutOfOrder(ActivityError):
    """A chunk of a stream begins before the stream's clock: it comes twice, or late."""

    status, code, phrase = 409, "chunk_out_of_order", "Conflict"


class StateExpired(ActivityError):
    """A stream's state is older than the service goes on with."""

    status, code, phrase = 410, "state_expired", "Gone"


class LimitExceeded(ActivityError):
    """A limit on size, time or number is exceeded.

    Args:
        what: the limit, which the code names.
        message: the value and the limit.
        remedy: what the client can do.
        details: as of :class:`ActivityError`.
    """

    status, phrase = 413, "Content Too Large"

    def __init__(self, what: Exceeded, message: str, *, remedy: str, details: dict[str, Any] | None = None) -> None:
        super().__init__(message, remedy=remedy, details=details)
        self.what: Exceeded = what
        self.code = _limit_code(what)

    @classmethod
    def codes(cls) -> dict[str, str]:
        """A code for each limit."""
        return {_limit_code(what): when for what, when in EXCEEDED.items()}


class UnsupportedMedia(ActivityError):
    """The container or the codec is not on the allow-list."""

    status, code, phrase = 415, "unsupported_media", "Unsupported Media Type"


class UndecodableMedia(ActivityError):
    """The bytes do not decode to a single frame, sample or word."""

    status, code, phrase = 422, "undecodable_media", "Unprocessable Content"


class DecoderCrashed(ActivityError):
    """The file made the decoder stop."""

    status, code, phrase = 422, "decoder_crashed", "Unprocessable Content"


class NoUsableModality(ActivityError):
    """Several parts were sent and none can be used."""

    status, code, phrase = 422, "no_usable_modality", "Unprocessable Content"


class ChunkUndecodableStart(ActivityError):
    """A chunk of a stream begins inside a group of pictures whose start neither it nor the state has."""

    status, code, phrase = 422, "chunk_undecodable_start", "Unprocessable Content"


class InternalError(ActivityError):
    """A defect of ours; carries nothing but the request id."""

    status, code, phrase = 500, "internal_error", "Internal Server Error"


def error_kinds() -> list[type[ActivityError]]:
    """Every kind of error, parents before their children."""
    kinds = list(ActivityError.__subclasses__())
    for kind in kinds:  # grows while it is walked
        kinds += kind.__subclasses__()
    return kinds


def error_codes() -> dict[str, type[ActivityError]]:
    """The closed list of codes, in the order of the alphabet, with the kind of error that has each."""
    return dict(sorted((code, kind) for kind in error_kinds() for code in kind.codes()))


def error_of_values(values: Mapping[str, Any]) -> ActivityError:
    """Make an error of its :attr:`ActivityError.values`, as they come from another process.

    Raises:
        ValueError: a value is missing or of the wrong kind, or the code is none of the list.
    """
    texts = [values.get(name) for name in ("code", "message", "remedy")]
    details = values.get("details")
    if not all(isinstance(each, str) for each in texts) or not isinstance(details, dict):
        raise ValueError("an error has a code, a message and a remedy of text, and details")
    code, message, remedy = map(str, texts)
    for what in get_args(Exceeded):
        if code == _limit_code(what):
            return LimitExceeded(what, message, remedy=remedy, details=details)
    kind = error_codes().get(code)
    if kind is None:
        raise ValueError(f"{code[:60]!r} is no code of an error")
    return kind(message, remedy=remedy, details=details)


def _limit_code(what: Exceeded) -> str:
    return f"limit_{what}"
