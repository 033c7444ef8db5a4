"""KServe: a body of the Open Inference Protocol becomes its requests, and their answers become one body.

v1 is ``{"instances": [{"video": "<base64>", "text": "words", "options": {}}], "parameters": {}}``, answered by
``{"predictions": [...]}``. v2 is ``{"id": "1", "inputs": [{"name": "video", "datatype": "BYTES", "shape": [1], "data":
["<base64>"]}], "parameters": {}}``, answered by ``{"id", "model_name", "model_version", "outputs": [...]}`` with one
BYTES output, ``answer``. Several instances are answered in order, each with its own answer or error; the status is an
error's only where nothing was answered, and then the error's fields stand beside the answers, the message also as
``error``, where both protocols have it. (https://kserve.github.io/website/docs/concepts/architecture/data-plane)
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from handler.answer_text import encode_json
from handler.errors import ActivityError, InvalidRequest, LimitExceeded
from handler.kserve.binary import split_binary
from handler.kserve.v2 import check_count, read_inputs
from handler.limits import Limits
from handler.request import BODY, MEDIA, ActivityRequest, known_names
from handler.response import CONTENT_TYPES, Response, render_error
from handler.strict_json import JsonError, json_kind, parse_json
from models.config import Modality

Protocol = Literal["v1", "v2"]
Instance = Mapping[str, Any] | ActivityError
"""A request as :func:`handler.request.parse_request` takes it, or why it is none."""

GRPC_BODY = "open_inference_grpc"
"""The name under which the entry hands over a body that came by gRPC's Open Inference Protocol."""
ANSWER = "answer"
"""The name of v2's output."""
MAX_ID_CHARACTERS = 1_024

_V1_REMEDY = 'Send {"instances": [{"video": "<base64>", "text": "words", "options": {}}]}.'
_V2_FIELDS = ("id", "model_name", "model_version", "parameters", "inputs", "outputs")
_V2_REMEDY = (
    'Send {"inputs": [{"name": "video", "datatype": "BYTES", "shape": [1], "data": ["<base64>"]}], "parameters": {}}.'
)
_SLOW_EXTRAS = frozenset({"descriptions", "explanation"})
_PROTOCOLS_OWN = frozenset({"binary_data_output"})
"""Parameters that clients add by themselves, and that are no options of ours."""


@dataclass(frozen=True)
class Unfolded:
    """One item of the server's batch as the requests in it."""

    instances: tuple[Instance, ...]
    """One for an item that is no KServe body, which stands here as it came."""
    protocol: Protocol | None = None
    request_id: str | None = None
    """The client's own ``id``, of v2."""
    error: ActivityError | None = None
    """What is wrong with the body as a whole; then there are no instances."""
    is_grpc: bool = False
    """Whether the server made the body of a gRPC call, whose answer it makes of ours."""


def unfold(raw: Mapping[str, Any], limits: Limits, vectors: Collection[Modality] = ()) -> Unfolded:
    """Find the requests in one item of the server's batch.

    Args:
        raw: as for :func:`handler.request.parse_request`, or a mapping with ``GRPC_BODY`` alone.
        limits: ``max_instances`` and ``max_instances_bytes`` hold for the body.
        vectors: the names of the model's sequences of vectors.
    """
    values, binary = _json_body(raw)
    if values is None:
        return Unfolded((raw,))
    if GRPC_BODY in raw or ("inputs" in values and "inputs" not in vectors):
        return _unfold_v2(values, binary, limits, known_names(vectors), is_grpc=GRPC_BODY in raw)
    if "instances" in values and "instances" not in vectors and not binary:
        return _unfold_v1(values, limits)
    return Unfolded((raw,))


def fold(unfolded: Unfolded, responses: Sequence[Response], name: str, version: str, limits: Limits) -> Response:
    """Put the answers of one item's requests together.

    Args:
        unfolded: the item.
        responses: one an instance.
        name: the model's.
        version: the model's.
        limits: ``max_answers_bytes`` holds for the result, as a server would rather die of it.

    Returns:
        An ordinary request's own response, or that it is too long; else a KServe body.
    """
    if unfolded.protocol is None:
        return _bounded(responses[0], limits)
    if unfolded.error is not None:
        responses = [render_error(unfolded.error)]
    failed = responses[0] if all(response.status != 200 for response in responses) else None
    if unfolded.protocol == "v1":
        members = _predictions(responses) if unfolded.error is None else []
    else:
        members = _outputs(unfolded, responses, name, version)
    if failed is not None:
        values = json.loads(failed.body)
        members.append(encode_json({"error": values["message"], **values})[1:-1])
    body = b"{" + b",".join(members) + b"}"
    if len(body) > limits.max_answers_bytes:
        error = LimitExceeded(
            "answers",
            f"the answers together have {len(body)} bytes, at most {limits.max_answers_bytes} are allowed",
            remedy="Send fewer instances in one body, or ask for fewer extras.",
        )
        return fold(replace(unfolded, error=error), (), name, version, limits)
    if failed is None:
        return Response(200, "OK", CONTENT_TYPES["json"], body)
    return Response(failed.status, failed.phrase, CONTENT_TYPES["json"], body, failed.code)


def _bounded(response: Response, limits: Limits) -> Response:
    """An ordinary request's response, unless it is one that the worker dies of."""
    if len(response.body) <= limits.max_answers_bytes:
        return response
    error = LimitExceeded(
        "answers",
        f"the answer has {len(response.body)} bytes, at most {limits.max_answers_bytes} are allowed",
        remedy="Send a shorter clip, or ask for fewer extras.",
    )
    return render_error(error)


def check_alone(request: ActivityRequest, *, transcribed: bool) -> None:
    """Hold what takes longest to bodies of one instance, so that a batch of bodies is done in the time of a batch.

    Raises:
        LimitExceeded: words of the sound, descriptions or an explanation are asked for, and the body has others.
    """
    if request.num_instances > 1 and (transcribed or _SLOW_EXTRAS & set(request.options.extras)):
        raise LimitExceeded(
            "instances",
            "words of the sound, descriptions and explanations are for bodies of 1 instance, "
            f"this one has {request.num_instances}",
            remedy="Send the instances in bodies of their own.",
        )


def _json_body(raw: Mapping[str, Any]) -> tuple[Mapping[str, Any] | None, bytes]:
    """The JSON object that an item is, if it may be a KServe body, and what follows it.

    What else an item may be, broken JSON included, is told where every body is read.
    """
    body = raw.get(GRPC_BODY, raw.get(BODY)) if len(raw) == 1 else None
    if isinstance(body, bytes | bytearray):
        return _parsed(bytes(body))
    return (body if isinstance(body, Mapping) else None), b""


def _parsed(body: bytes) -> tuple[Mapping[str, Any] | None, bytes]:
    """A body that came with another content type; media and JSON of other kinds are not parsed for this."""
    is_object = body[:64].removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"{")
    if not is_object or not (b'"instances"' in body or b'"inputs"' in body):
        return None, b""
    try:
        return parse_json(body), b""
    except JsonError:
        return split_binary(body) or (None, b"")


def _unfold_v1(values: Mapping[str, Any], limits: Limits) -> Unfolded:
    try:
        _check_fields(values, ("instances", "parameters"), _V1_REMEDY)
        instances = values["instances"]
        if not isinstance(instances, list) or not instances:
            raise InvalidRequest(
                f"'instances' must be a list with at least one, got {json_kind(instances)}", remedy=_V1_REMEDY
            )
        check_count(len(instances), limits)
        sizes = (_v1_bytes(instance) for instance in instances)
        _check_bytes(sum(sizes), limits)
        parameters = _parameters(values, _V1_REMEDY)
    except ActivityError as error:
        return Unfolded((), "v1", error=error)
    return Unfolded(tuple(_v1_instance(instance, parameters) for instance in instances), "v1")


def _v1_instance(instance: Any, parameters: Mapping[str, Any] | None) -> Instance:
    if not isinstance(instance, Mapping):
        return InvalidRequest(f"an instance must be a JSON object, got {json_kind(instance)}", remedy=_V1_REMEDY)
    fields = {"video": instance} if set(instance) == {"b64"} else dict(instance)
    for name in MEDIA:  # v1's own way to say that text is base64
        value = fields.get(name)
        if isinstance(value, Mapping) and set(value) == {"b64"}:
            fields[name] = value["b64"]
    if parameters is not None and fields.get("options") is None:
        fields["options"] = parameters
    return {BODY: fields}


def _v1_bytes(instance: Any) -> int:
    """Bytes of the media of an instance, decoded."""
    if not isinstance(instance, Mapping):
        return 0
    values = [value.get("b64") if isinstance(value, Mapping) else value for value in instance.values()]
    return sum(len(value) * 3 // 4 for value in values if isinstance(value, str))


def _unfold_v2(
    values: Mapping[str, Any], binary: bytes, limits: Limits, names: Sequence[str], *, is_grpc: bool
) -> Unfolded:
    request_id = values.get("id")
    shown_id = request_id[:MAX_ID_CHARACTERS] if isinstance(request_id, str) else None
    try:
        _check_fields(values, _V2_FIELDS, _V2_REMEDY)
        if request_id != shown_id:
            raise InvalidRequest(f"'id' must be text of at most {MAX_ID_CHARACTERS} characters", remedy=_V2_REMEDY)
        _check_outputs(values.get("outputs"))
        inputs = read_inputs(values.get("inputs"), names, limits, binary, is_grpc=is_grpc)
        _check_bytes(inputs.num_bytes, limits)
        parameters = _parameters(values, _V2_REMEDY)
    except ActivityError as error:
        return Unfolded((), "v2", shown_id, error, is_grpc)
    instances: list[Instance] = []
    for position in range(inputs.count):
        try:
            parts = inputs.parts(position, limits)
            instances.append(parts if parameters is None else {"options": parameters, **parts})
        except ActivityError as error:
            instances.append(error)
    return Unfolded(tuple(instances), "v2", shown_id, is_grpc=is_grpc)


def _check_outputs(outputs: Any) -> None:
    if outputs is None:
        return
    names = [output.get("name") if isinstance(output, Mapping) else None for output in _listed(outputs)]
    if any(name != ANSWER for name in names) or not isinstance(outputs, list):
        raise InvalidRequest(f"'outputs' may name '{ANSWER}' alone", remedy="Leave it out.")


def _listed(values: Any) -> list[Any]:
    return values if isinstance(values, list) else []


def _parameters(values: Mapping[str, Any], remedy: str) -> Mapping[str, Any] | None:
    """The options that hold for every instance without its own."""
    parameters = values.get("parameters")
    if not isinstance(parameters, Mapping | None):
        raise InvalidRequest(f"'parameters' must be a JSON object, got {json_kind(parameters)}", remedy=remedy)
    return {name: value for name, value in (parameters or {}).items() if name not in _PROTOCOLS_OWN} or None


def _check_fields(values: Mapping[str, Any], known: Sequence[str], remedy: str) -> None:
    unknown = sorted(str(name) for name in values if name not in known)
    if unknown:
        raise InvalidRequest(f"unknown field {unknown[0][:60]!r} (known fields: {', '.join(known)})", remedy=remedy)


def _check_bytes(num_bytes: int, limits: Limits) -> None:
    if num_bytes > limits.max_instances_bytes:
        raise LimitExceeded(
            "instances_bytes",
            f"the instances together have {num_bytes} bytes, at most {limits.max_instances_bytes} are allowed",
            remedy="Send fewer instances in one body.",
        )


def _predictions(responses: Sequence[Response]) -> list[bytes]:
    return [b'"predictions":[' + b",".join(map(_as_json, responses)) + b"]"]


def _outputs(unfolded: Unfolded, responses: Sequence[Response], name: str, version: str) -> list[bytes]:
    """An element of BYTES is text in v2's JSON. Of gRPC's, TorchServe sends an element's JSON: there it is no text."""
    head = {} if unfolded.request_id is None else {"id": unfolded.request_id}
    if unfolded.is_grpc:  # without an id the worker dies
        head = {"id": unfolded.request_id or ""}
    tensor = {"name": ANSWER, "datatype": "BYTES", "shape": [len(responses)]}
    element = _as_json if unfolded.is_grpc else _quoted
    data = b",".join(map(element, responses))
    return [
        encode_json({**head, "model_name": name, "model_version": version})[1:-1],
        b'"outputs":[' + encode_json(tensor)[:-1] + b',"data":[' + data + b"]}]",
    ]


def _as_json(response: Response) -> bytes:
    return response.body if response.content_type == CONTENT_TYPES["json"] else _quoted(response)


def _quoted(response: Response) -> bytes:
    return json.dumps(response.body.decode("utf-8"), ensure_ascii=False).encode("utf-8")
