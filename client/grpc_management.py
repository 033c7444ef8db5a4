"""The server's management by gRPC: the same calls as :class:`client.management.ManagementClient`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import grpc

from client.closing import Closing
from client.grpc import authorization, build_channel, client_error
from client.management import DEFAULT_TIMEOUT_SECONDS, ModelVersion, parse_description, parse_json
from client.protos import management_pb2, management_pb2_grpc

PAGE_LENGTH = 100


class GrpcManagementClient(Closing):
    """Manages the models of one server.

    Args:
        target: the gRPC management address, such as ``127.0.0.1:7071``.
        token: the management key of the server's key_file.json; None where the server asks for none.
        timeout_seconds: how long one call may take.
        ca: as of :class:`client.grpc.GrpcClient`.
    """

    def __init__(
        self,
        target: str,
        token: str | None = None,
        *,
        timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS,
        ca: Path | str | None = None,
    ) -> None:
        self.target = target
        self._metadata = authorization(token)
        self._timeout_seconds = timeout_seconds
        self._channel = build_channel(target, ca)
        self._stub = management_pb2_grpc.ManagementAPIsServiceStub(self._channel)  # type: ignore[no-untyped-call]

    def list(self) -> tuple[str, ...]:
        """The names of the registered models."""
        names: list[str] = []
        page: int | None = 0
        while page is not None:
            # Unlike by REST, a limit that is left out means none at all.
            request = management_pb2.ListModelsRequest(limit=PAGE_LENGTH, next_page_token=page)
            answer = json.loads(self._call(self._stub.ListModels, request))
            names.extend(model["modelName"] for model in answer["models"])
            page = int(answer["nextPageToken"]) if "nextPageToken" in answer else None
        return tuple(names)

    def describe(self, name: str, version: str | None = None) -> tuple[ModelVersion, ...]:
        """The default version of a model, or ``version``, or with ``"all"`` every one."""
        request = management_pb2.DescribeModelRequest(model_name=name, model_version=version or "")
        return parse_description(parse_json(self.target, self._call(self._stub.DescribeModel, request)))

    def register(self, archive: str, *, name: str | None = None, workers: int = 1, synchronous: bool = True) -> str:
        """Register an archive of the server's model store."""
        request = management_pb2.RegisterModelRequest(
            url=archive, model_name=name or "", initial_workers=workers, synchronous=synchronous
        )
        return self._call(self._stub.RegisterModel, request)

    def scale(self, name: str, *, workers: int, version: str | None = None, synchronous: bool = True) -> str:
        """Start or stop workers until there are ``workers``."""
        request = management_pb2.ScaleWorkerRequest(
            model_name=name,
            model_version=version or "",
            min_worker=workers,
            max_worker=workers,
            synchronous=synchronous,
        )
        return self._call(self._stub.ScaleWorker, request)

    def set_default(self, name: str, version: str) -> str:
        """Let requests that name no version go to ``version``."""
        request = management_pb2.SetDefaultRequest(model_name=name, model_version=version)
        return self._call(self._stub.SetDefault, request)

    def unregister(self, name: str, version: str | None = None) -> str:
        """Stop the workers of a version and forget it."""
        request = management_pb2.UnregisterModelRequest(model_name=name, model_version=version or "")
        return self._call(self._stub.UnregisterModel, request)

    def _call(self, method: Any, request: Any) -> str:
        try:
            response: management_pb2.ManagementResponse = method(
                request, timeout=self._timeout_seconds, metadata=self._metadata
            )
        except grpc.RpcError as exc:
            raise client_error(self.target, exc, self._timeout_seconds, request.ByteSize()) from exc
        return response.msg

    def close(self) -> None:
        """Close the channel."""
        self._channel.close()
