"""The description of the inference API in OpenAPI 3.1: what can be asked, and every answer that may come."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version
from typing import Any, Literal

from cli.api_answers import Schema, either, obj, ref, text
from cli.api_schemas import build_schemas, errors_of
from cli.server import MODEL_NAME
from handler.errors import LimitExceeded, error_codes
from handler.response import CONTENT_TYPES

Answers = Literal["Answer", "V1Answer", "V2Answer"]
PROTOCOLS: dict[str, tuple[Answers, ...]] = {
    "Clip": ("Answer", "V1Answer", "V2Answer"),
    "V1": ("V1Answer",),
    "V2": ("V2Answer",),
}
"""What is answered: by the form of the body on the ordinary paths, KServe's own form on its paths."""
FAILURES = ("Error", "V1Failure", "V2Failure")

JSON, NDJSON, VTT, SRT = (CONTENT_TYPES[name].split(";")[0] for name in ("json", "ndjson", "vtt", "srt"))
MODEL = {"name": "activity", "version": "1.0"}
SERVERS_ERRORS: dict[int, tuple[str, str, str]] = {
    400: ("InvalidKeyException", "Token Authorization failed.", "without a valid token"),
    404: ("ModelNotFoundException", "Model not found: nope", "an unknown model or version"),
    500: ("InternalServerException", "Worker died.", "a worker died over the batch that the request was in"),
    503: (
        "ServiceUnavailableException",
        "Model ... has no worker to serve inference request.",
        "no worker, or a full queue",
    ),
    507: ("InternalServerException", "Out of memory", "a worker is out of memory"),
}
"""What TorchServe itself answers: the status, its ``type`` and a message, and when."""
ERRORS = sorted({*(kind.status for kind in error_codes().values()), *SERVERS_ERRORS})
WORDS = "a hand waves\n"
_PLACES = {"model": MODEL["name"], "version": MODEL["version"]}


def build_document() -> dict[str, Any]:
    """The whole description, as JSON has it."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "activity",
            "version": version("activity"),
            "summary": "Timed activity labels of a clip's picture, sound and words.",
            "description": "Served by TorchServe. Every call carries a key of `key_file.json`; through `activity "
            "front` one without is answered with 401 (`unauthorized`). Limits are those that the service comes with; a "
            "model takes the parts that its recipe names.",
        },
        "servers": [{"url": "http://127.0.0.1:8080"}],
        "security": [{"key": []}],
        "tags": [{"name": "predictions"}, {"name": "KServe"}, {"name": "health"}],
        "paths": {
            "/ping": {"get": _ping()},
            "/predictions/{model}": _operation("predict", "Label a clip."),
            "/predictions/{model}/{version}": _operation("predictByVersion", "Label a clip, by one version."),
            "/explanations/{model}": _operation("explain", "Label a clip, and say why."),
            "/explanations/{model}/{version}": _operation(
                "explainByVersion", "Label a clip and say why, by one version."
            ),
            "/v1/models/{model}:predict": _operation("predictV1", "Label clips.", "V1"),
            "/v1/models/{model}:explain": _operation("explainV1", "Label clips, and say why.", "V1"),
            "/v2/models/{model}/infer": _operation("inferV2", "Label clips.", "V2"),
        },
        "components": {
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer", "description": "The inference key."}},
            "parameters": {name: _parameter(name, example) for name, example in _PLACES.items()},
            "requestBodies": {name: {"required": True, "content": _bodies(name)} for name in PROTOCOLS},
            "responses": {
                **{f"{name}Answer": _answer(kinds) for name, kinds in PROTOCOLS.items()},
                **{f"Error{status}": _error(status) for status in ERRORS},
            },
            "schemas": build_schemas(),
        },
    }


def _parameter(name: str, example: str) -> dict[str, Any]:
    pattern = f"^{MODEL_NAME.pattern}$"
    schema = {"type": "string", "pattern": pattern, "maxLength": 64}
    return {"name": name, "in": "path", "required": True, "schema": schema, "example": example}


def _ping() -> dict[str, Any]:
    schema = obj({"status": text("`Healthy`, also while no worker is ready: ask for a prediction to know.")})
    content = {JSON: {"schema": schema, "example": {"status": "Healthy"}}}
    return {
        "operationId": "ping",
        "summary": "Whether the server runs.",
        "tags": ["health"],
        "responses": {
            "200": {"description": "It does.", "content": content},
            "400": {"$ref": "#/components/responses/Error400"},
            "500": {"description": "Workers have failed.", "content": {JSON: {"schema": schema}}},
        },
    }


def _operation(name: str, summary: str, protocol: str = "Clip") -> dict[str, Any]:
    """A path's only one; what is asked and answered is shared with others."""
    version_too = ("version",) if name.endswith("ByVersion") else ()
    return {
        "parameters": [{"$ref": f"#/components/parameters/{each}"} for each in ("model", *version_too)],
        "post": {
            "operationId": name,
            "summary": summary,
            "tags": ["predictions" if protocol == "Clip" else "KServe"],
            "requestBody": {"$ref": f"#/components/requestBodies/{protocol}"},
            "responses": {
                "200": {"$ref": f"#/components/responses/{protocol}Answer"},
                **{str(status): {"$ref": f"#/components/responses/Error{status}"} for status in ERRORS},
            },
        },
    }


def _bodies(protocol: str) -> dict[str, Any]:
    """A clip as one file, as parts, or as JSON; KServe's bodies are JSON, whichever path they come by."""
    kinds = [f"{name}Request" for name in (("", "V1", "V2") if protocol == "Clip" else (protocol,))]
    examples = {kind: {"value": REQUESTS[kind]} for kind in kinds}
    json_body = {JSON: {"schema": _one_of(kinds), "examples": examples}}
    if protocol != "Clip":
        return json_body
    words = {"schema": text("Words, with times or without.")}
    form = {"schema": ref("Form"), "encoding": {"options": {"contentType": JSON}}}
    return {
        **{kind: {"schema": {}} for kind in ("video/*", "audio/*", "application/octet-stream")},
        "text/plain": {**words, "example": WORDS},
        VTT: {**words, "example": f"WEBVTT\n\n00:00.000 --> 00:02.000\n{WORDS}"},
        "multipart/form-data": {**form, "example": {"text": WORDS, "options": {"top_k": 3}}},
        **json_body,
    }


REQUESTS: dict[str, dict[str, Any]] = {
    "Request": {"text": WORDS, "options": {"top_k": 3, "extras": ["windows"]}},
    "V1Request": {"instances": [{"text": WORDS, "options": {"top_k": 3}}, {"text": "a ball falls"}]},
    "V2Request": {
        "id": "1",
        "parameters": {"top_k": 3},
        "inputs": [{"name": "text", "datatype": "BYTES", "shape": [1], "data": [WORDS]}],
    },
}
ANSWER: dict[str, Any] = {
    "status": 200,
    "model": MODEL,
    "start_seconds": 0.0,
    "duration_seconds": 12.48,
    "modalities": {
        "video": {"used": True},
        "audio": {"used": True},
        "text": {"used": False, "code": "not_sent", "reason": "not sent"},
    },
    "activities": [{"label": "wave_rise_greet", "score": 0.93}],
    "segments": [{"start_seconds": 0.0, "stop_seconds": 4.2, "label": "wave_rise_greet", "score": 0.91}],
}
ANSWERS: dict[Answers, dict[str, Any]] = {
    "Answer": ANSWER,
    "V1Answer": {"predictions": [ANSWER]},
    "V2Answer": {
        "id": "1",
        "model_name": MODEL["name"],
        "model_version": MODEL["version"],
        "outputs": [{"name": "answer", "datatype": "BYTES", "shape": [1], "data": ['{"status":200}']}],
    },
}
CUE = "00:00.000 --> 00:04.200\nwave_rise_greet (91%)\n"
TEXTS: dict[str, str] = {
    NDJSON: '{"type":"header","status":200}\n{"type":"segment","label":"wave_rise_greet"}\n',
    VTT: f"WEBVTT\n\n00:{CUE}",
    SRT: "1\n00:00:00,000 --> 00:00:04,200\nwave_rise_greet (91%)\n",
}


def _one_of(kinds: Sequence[str]) -> Schema:
    return ref(kinds[0]) if len(kinds) == 1 else either(*map(ref, kinds))


def _answer(kinds: Sequence[Answers]) -> dict[str, Any]:
    """An ordinary answer has the format that was asked for; KServe's are JSON."""
    content: dict[str, Any] = {
        JSON: {"schema": _one_of(kinds), "examples": {kind: {"value": ANSWERS[kind]} for kind in kinds}}
    }
    if "Answer" in kinds:
        lines = text("Lines of JSON, each as `#/components/schemas/NdjsonLine` says.")
        content[NDJSON] = {"schema": lines, "example": TEXTS[NDJSON]}
        content.update({kind: {"schema": text(), "example": TEXTS[kind]} for kind in (VTT, SRT)})
    return {"description": "The answer.", "headers": _headers(), "content": content}


def _error(status: int) -> dict[str, Any]:
    """The handler's errors of a status, in each protocol's form, and TorchServe's own."""
    errors = errors_of(status)
    only = {"properties": {"status": {"const": status}, "code": {"enum": list(errors)}}}
    schemas: list[Schema] = [{"allOf": [either(*map(ref, FAILURES)), only]}] if errors else []
    examples: dict[str, Any] = {code: {"value": error} for code, error in errors.items()}
    when = [f"`{code}`: {error['message']}" for code, error in errors.items()]
    if status in SERVERS_ERRORS:
        kind, message, reason = SERVERS_ERRORS[status]
        schemas.append(ref("ServerError"))
        examples["TorchServe"] = {"value": {"code": status, "type": kind, "message": message}}
        when.append(f"TorchServe: {reason}.")
    if status == LimitExceeded.status:
        when.append("TorchServe: above `max_request_size`, without a body.")
    content = {JSON: {"schema": either(*schemas), "examples": examples}}
    return {"description": "\n".join(when), "headers": _headers(), "content": content}


def _headers() -> dict[str, Any]:
    return {"x-request-id": {"description": "Names the request in the logs.", "schema": {"type": "string"}}}
