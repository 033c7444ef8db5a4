"""What can go wrong between a client and a server, one closed tree.

::

    ClientError
    ├── ServerUnreachable   nobody listens there, or the connection broke
    ├── ServerTimeout       no answer within the time that the client waits
    ├── Refused             the token is missing, wrong or expired
    ├── ModelNotFound       the server has no such model or version
    ├── TooLarge            the request is above the server's max_request_size
    ├── Conflict            the version is registered already, or is the default and cannot go
    ├── Overloaded          the queue is full, or no worker is up: try again later
    ├── WorkerFailed        the worker died or ran out of memory over the batch that held the request
    ├── UnexpectedAnswer    anything else that no part of this project sends
    ├── SourceUnusable      what is to be sent cannot be opened or cut
    └── ChunkRefused        the model answered a stream's chunk with an error

An answer of the model itself, be it an error, raises nothing: it is an :class:`client.answer.Answer` with its status.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

NO_PLACE = "has no worker to serve"
"""TorchServe's words both for a full queue and for a model without workers."""
TOKEN_REFUSED = "Token Authorization failed"  # noqa: S105 - TorchServe's words, no token
"""Its words where the token is missing, wrong or expired: 400 by REST, PERMISSION_DENIED by gRPC."""
DEFAULT_VERSION = "Cannot remove default version"
"""Its words, with 403, for the version that requests without one go to."""


class ClientError(Exception):
    """A request that was not answered by the model.

    Args:
        message: what happened, with the address.
        remedy: what to do next.
    """

    def __init__(self, message: str, *, remedy: str) -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.message} {self.remedy}"


class ServerUnreachable(ClientError):
    """Nobody listens at the address, or the connection broke before an answer came."""


class ServerTimeout(ClientError):
    """No answer within the client's ``timeout_seconds``; the server's work may still run."""


class Refused(ClientError):
    """The token is missing, wrong or expired."""


class ModelNotFound(ClientError):
    """The server does not have the model, or not this version of it."""


class TooLarge(ClientError):
    """The request is above the server's ``max_request_size``."""


class Conflict(ClientError):
    """The server's state forbids it: a version that is registered already, or the default one."""


class Overloaded(ClientError):
    """The server has no place or no worker for the request; the same request can succeed later."""


class WorkerFailed(ClientError):
    """The worker died or ran out of memory over the batch that held the request."""


class UnexpectedAnswer(ClientError):
    """An answer that neither the model nor the server is known to give."""


class SourceUnusable(ClientError):
    """What is to be sent cannot be opened, or not be cut into chunks."""


class ChunkRefused(ClientError):
    """The model answered a stream's chunk with an error.

    Args:
        body: the error as the model said it: ``status``, ``code``, ``message``, ``remedy``.
        place: which chunk it was.
    """

    def __init__(self, body: Mapping[str, Any], *, place: str) -> None:
        said = f"{place} was answered with {body.get('status')} ({body.get('code')}): {body.get('message')}"
        super().__init__(said, remedy=str(body.get("remedy", "")))
        self.body = body
        self.status = int(body.get("status", 500))
        self.code = str(body.get("code", ""))


def refused(address: str) -> Refused:
    """The server's refusal, which has the same causes by REST and by gRPC."""
    return Refused(
        f"The server at {address} refused the token.",
        remedy="Pass the key that the server's key_file.json holds for inference or for management: "
        "it is new at each start of the server. Or that of the front's --inference-key-file, which stays.",
    )


def too_large(address: str, size_bytes: int) -> TooLarge:
    """A request above the server's limit."""
    return TooLarge(
        f"The server at {address} did not take a request of {size_bytes} bytes.",
        remedy="Send a shorter or more compressed clip, or raise max_request_size in the server's config.properties.",
    )


def timed_out(address: str, timeout_seconds: float) -> ServerTimeout:
    """No answer in time."""
    return ServerTimeout(
        f"The server at {address} did not answer within {timeout_seconds:g} s.",
        remedy="Raise timeout_seconds, send a shorter clip, or add workers.",
    )


def unreachable(address: str, cause: BaseException) -> ServerUnreachable:
    """No connection."""
    if "CERTIFICATE_VERIFY_FAILED" in str(cause):
        return ServerUnreachable(
            f"The certificate of the server at {address} is not one that is trusted here.",
            remedy="Name the certificates that it is trusted by (--ca, ca=), and its host as its own has it.",
        )
    return ServerUnreachable(
        f"No server could be reached at {address} ({type(cause).__name__}).",
        remedy="Start one with `activity serve`, or check host and port with `activity status`.",
    )


def refusal_of_server(address: str, status: int, message: str) -> ClientError:
    """The error for an answer that TorchServe itself gave.

    Args:
        address: where the server listens.
        status: the HTTP status, or what the gRPC status stands for.
        message: TorchServe's own words.
    """
    said = f"The server at {address} answered {status}: {message}"
    if status == 401 or TOKEN_REFUSED in message:
        return refused(address)
    if NO_PLACE in message:
        return Overloaded(said, remedy="Try again later, or add workers with `activity scale --workers N`.")
    if DEFAULT_VERSION in message:
        return Conflict(said, remedy="Make another version the default first.")
    if status >= 500:
        return WorkerFailed(said, remedy="Try again; if it happens again, the server's log says why.")
    kind, remedy = ERRORS_BY_STATUS.get(status, UNEXPECTED)
    return kind(said, remedy=remedy)


ERRORS_BY_STATUS: dict[int, tuple[type[ClientError], str]] = {
    404: (ModelNotFound, "See the registered models and versions with `activity status`."),
    409: (Conflict, "Unregister that version first, or package a new one with another --version."),
}
UNEXPECTED = (UnexpectedAnswer, "Check that the address is this server's port for inference or management.")
