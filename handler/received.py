"""What a body without parts is, by its content type.

The server is told to hand on bytes (``decode_input_request`` in config.properties): its own reading of JSON takes the
last of two equal keys, knows NaN, and builds whatever a body spells, in gigabytes of memory. A server that is not told
so hands on text and parsed JSON, which stay as they are.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from handler.kserve.body import GRPC_BODY
from handler.request import BODY
from handler.strict_json import JsonError, parse_json

JSON_TYPE = "application/json"


def read_body(item: Mapping[str, Any], content_type: str, *, is_rest: bool) -> Mapping[str, Any]:
    """An item of the server's batch as :mod:`handler.pipeline` takes it.

    Args:
        item: parts by name, or a body alone.
        content_type: of that body; empty where there is none, as by gRPC.
        is_rest: it came by REST. JSON that did not is what the server made of a call of gRPC's Open Inference Protocol.
    """
    body = item.get(BODY)
    if len(item) != 1 or body is None:
        return item
    if not isinstance(body, bytes | bytearray):
        return {BODY if is_rest or not isinstance(body, Mapping) else GRPC_BODY: body}
    if content_type.startswith("text"):
        return {BODY: _decoded(body)}
    if content_type != JSON_TYPE:
        return item
    try:
        return {BODY if is_rest else GRPC_BODY: parse_json(bytes(body))}
    except (JsonError, MemoryError):  # where every body is read it is told what is wrong with it
        return item if is_rest else {GRPC_BODY: {}}


def _decoded(body: bytes | bytearray) -> str | bytes | bytearray:
    try:
        return body.decode("utf-8")
    except UnicodeDecodeError:
        return body
