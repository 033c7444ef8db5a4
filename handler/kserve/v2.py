"""The tensors of a KServe v2 body: each a part of the request, each element an instance's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

from handler.errors import InvalidRequest, LimitExceeded, UnknownPart
from handler.kserve.binary import SIZE, BinaryReader
from handler.limits import Limits
from handler.request import MEDIA, decode_base64
from handler.strict_json import json_kind

REMEDY = 'Send {"name": "video", "datatype": "BYTES", "shape": [1], "data": ["<base64>"]}; gRPC: in bytes_contents.'
_BASE64 = {"content_type": "base64"}
_MAX_DIMENSIONS = 2


@dataclass(frozen=True)
class Tensor:
    """One input."""

    elements: Sequence[Any]
    """One an instance, bytes where they came as binary; None and nothing mean that the instance has no such part."""
    is_base64: bool


@dataclass(frozen=True)
class Inputs:
    """All inputs of a body."""

    tensors: Mapping[str, Tensor]
    count: int
    """Instances of the body; a tensor of options may have one element for all of them."""

    @property
    def num_bytes(self) -> int:
        """Bytes of all elements, about: base64 is counted as what it decodes to."""
        return sum(
            len(element) * 3 // 4 if tensor.is_base64 and isinstance(element, str) else len(element)
            for tensor in self.tensors.values()
            for element in tensor.elements
            if isinstance(element, str | bytes)
        )

    def parts(self, position: int, limits: Limits) -> dict[str, bytes | str]:
        """The parts of one instance.

        Raises:
            InvalidRequest: an element that is no text, or no base64 where it should be.
            LimitExceeded: a part of more than ``limits.max_bytes``.
        """
        parts: dict[str, bytes | str] = {}
        for name, tensor in self.tensors.items():
            element = tensor.elements[position if len(tensor.elements) > 1 else 0]
            if not isinstance(element, str | bytes | None):
                raise InvalidRequest(f"input '{name}' must hold text, got {json_kind(element)}", remedy=REMEDY)
            is_encoded = tensor.is_base64 and not isinstance(element, bytes)
            content = decode_base64(name, element, limits) if is_encoded else element
            if content:
                parts[name] = content
        return parts


def check_count(count: int, limits: Limits) -> None:
    """Hold the instances of a body to ``limits.max_instances``.

    Raises:
        LimitExceeded: there are more.
    """
    if count > limits.max_instances:
        raise LimitExceeded(
            "instances",
            f"the body has {count} instances, at most {limits.max_instances} are allowed",
            remedy="Send the others in bodies of their own.",
        )


def read_inputs(inputs: Any, names: Sequence[str], limits: Limits, binary: bytes = b"", *, is_grpc: bool) -> Inputs:
    """Read the field ``inputs``.

    Args:
        inputs: what it holds.
        names: of the parts that the model takes.
        limits: ``max_instances`` holds for each tensor before its elements are read.
        binary: what follows the JSON (:mod:`handler.kserve.binary`).
        is_grpc: the server made the body of a gRPC call, whose BYTES it all puts into base64. In a client's own JSON
            media is base64, while words, tables and options are text unless the input's parameters say
            ``{"content_type": "base64"}``.

    Raises:
        InvalidRequest: it is no list of tensors of BYTES with as many elements as their shapes say, one an instance.
        UnknownPart: a tensor has another name than a part.
        LimitExceeded: more instances than are allowed.
    """
    if not isinstance(inputs, list) or not inputs:
        raise InvalidRequest(f"'inputs' must be a list with at least one, got {json_kind(inputs)}", remedy=REMEDY)
    reader = BinaryReader(binary)
    tensors: dict[str, Tensor] = {}
    for tensor in inputs:
        name = _name(tensor, names)
        if name in tensors:
            raise InvalidRequest(f"the input '{name}' stands twice", remedy=REMEDY)
        is_base64 = is_grpc or name in MEDIA or tensor.get("parameters") == _BASE64
        tensors[name] = Tensor(_elements(name, tensor, reader, limits), is_base64)
    reader.check_end()
    counts = {name: len(tensor.elements) for name, tensor in tensors.items()}
    count = max(counts.values())
    for name, own in counts.items():
        if own != count and not (name == "options" and own == 1):
            raise InvalidRequest(f"input '{name}' has {own} elements where another has {count}", remedy=REMEDY)
    return Inputs(tensors, count)


def _name(tensor: Any, names: Sequence[str]) -> str:
    if not isinstance(tensor, Mapping):
        raise InvalidRequest(f"an input must be a JSON object, got {json_kind(tensor)}", remedy=REMEDY)
    name = tensor.get("name")
    if name not in names:
        raise UnknownPart(
            f"unknown input {str(name)[:60]!r} (known inputs: {', '.join(names)})",
            remedy="Rename or leave out the input; names are case-sensitive.",
        )
    return str(name)


def _elements(name: str, tensor: Mapping[str, Any], reader: BinaryReader, limits: Limits) -> Sequence[Any]:
    if tensor.get("datatype") != "BYTES":
        raise InvalidRequest(
            f"input '{name}' must have the datatype BYTES, got {str(tensor.get('datatype'))[:60]!r}", remedy=REMEDY
        )
    shape, elements, parameters = tensor.get("shape"), tensor.get("data"), tensor.get("parameters")
    if not isinstance(shape, list) or not 1 <= len(shape) <= _MAX_DIMENSIONS or not all(map(_is_size, shape)):
        raise InvalidRequest(f"input '{name}' must have the shape [N] or [N, 1]", remedy=REMEDY)
    check_count(shape[0], limits)
    if elements is None and isinstance(parameters, Mapping) and SIZE in parameters:
        elements = reader.elements(name, parameters[SIZE], shape[0])
    if not isinstance(elements, list):
        raise InvalidRequest(f"input '{name}' must have a list as data, got {json_kind(elements)}", remedy=REMEDY)
    if elements and all(isinstance(row, list) and len(row) == 1 for row in elements):
        elements = [row[0] for row in elements]
    if prod(shape) != shape[0] or len(elements) != shape[0]:
        raise InvalidRequest(
            f"input '{name}' has {len(elements)} elements, its shape {shape} says {prod(shape)}: one an instance",
            remedy=f"{REMEDY} The server does not hand on raw_input_contents of gRPC.",
        )
    return elements


def _is_size(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= 2**31
