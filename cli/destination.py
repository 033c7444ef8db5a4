"""Which model of which server a command asks, and how."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from cli.record import ServerRecord
from client.answer import Answer

DEFAULT_TIMEOUT_SECONDS = 600.0


@dataclass(frozen=True)
class Destination:
    """A model of a server."""

    rest_url: str
    """``http://HOST:PORT``."""
    grpc_target: str
    """``HOST:PORT``."""
    token: str | None
    model: str = "activity"
    version: str | None = None
    """None is the default version."""
    timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS
    ca: str | None = None
    """A file of certificates that are trusted in place of this machine's; by gRPC it means TLS."""

    @classmethod
    def of_record(
        cls,
        record: ServerRecord,
        *,
        model: str | None = None,
        version: str | None = None,
        timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS,
    ) -> Self:
        """A server that was started from here; ``model`` is the one it was started with where it is None."""
        token = record.tokens().inference
        return cls(
            record.inference_url,
            record.grpc_target,
            token,
            model or record.model,
            version,
            timeout_seconds,
            record.tls_certificate,
        )

    def ask(self, parts: Mapping[str, bytes], options: Mapping[str, Any], *, grpc: bool = False) -> Answer:
        """Send one request.

        Args:
            parts: ``video``, ``audio``, ``text`` and the others by name, each where it is there.
            options: the request's options; empty means the server's defaults.
            grpc: by gRPC instead of REST.

        Raises:
            client.errors.ClientError: when the model did not answer.
        """
        if grpc:
            from client.grpc import GrpcClient  # noqa: PLC0415 - help must not wait for what only the work needs

            with GrpcClient(
                self.grpc_target,
                self.token,
                model=self.model,
                version=self.version,
                timeout_seconds=self.timeout_seconds,
                ca=self.ca,
            ) as client:
                return client.predict(**parts, options=options)
        from client.rest import RestClient  # noqa: PLC0415

        with RestClient(
            self.rest_url,
            self.token,
            model=self.model,
            version=self.version,
            timeout_seconds=self.timeout_seconds,
            ca=self.ca,
        ) as rest:
            return rest.predict(**parts, options=options)
