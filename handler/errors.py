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
    ├── LimitExceeded           413  limit_exceeded       too many bytes, pixels, seconds, streams, characters
    ├── UnsupportedMedia        415  unsupported_media    a container or codec that is not on the allow-list
    ├── UndecodableMedia        422  undecodable_media    opened, or not even that, but nothing came out
    ├── NoUsableModality        422  no_usable_modality   several parts were sent and none can be used
    ├── ChunkUndecodableStart   422  chunk_undecodable_start    a chunk begins where no decoder can
    └── InternalError           500  internal_error       our defect; the log has the cause under the request id

A modality that cannot be used while another can is no error of the request: the answer carries the code and the
message as that modality's reason.
"""

from __future__ import annotations

from typing import Any, ClassVar


class ActivityError(Exception):
    """One request's error.

    Args:
        message: the value and what is allowed, without a path or a class name.
        remedy: what the client can do.
        details: further JSON values for the body, such as the reasons by modality.
    """

    status: ClassVar[int]
    code: ClassVar[str]
    phrase: ClassVar[str]

    def __init__(self, message: str, *, remedy: str, details: dict[str, Any] | None = None) -> None:
        super().__init__(message)
        self.message = message
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
    """A limit on size, time or number is exceeded; the message says the limit."""

    status, code, phrase = 413, "limit_exceeded", "Content Too Large"


class UnsupportedMedia(ActivityError):
    """The container or the codec is not on the allow-list."""

    status, code, phrase = 415, "unsupported_media", "Unsupported Media Type"


class UndecodableMedia(ActivityError):
    """The bytes do not decode to a single frame, sample or word."""

    status, code, phrase = 422, "undecodable_media", "Unprocessable Content"


class NoUsableModality(ActivityError):
    """Several parts were sent and none can be used."""

    status, code, phrase = 422, "no_usable_modality", "Unprocessable Content"


class ChunkUndecodableStart(ActivityError):
    """A chunk of a stream begins inside a group of pictures whose start neither it nor the state has."""

    status, code, phrase = 422, "chunk_undecodable_start", "Unprocessable Content"


class InternalError(ActivityError):
    """A defect of ours; carries nothing but the request id."""

    status, code, phrase = 500, "internal_error", "Internal Server Error"
