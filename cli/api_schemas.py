"""What requests, answers and errors look like, as JSON Schema: the components of the API's description.

Options, parts and error codes come from the code that reads and raises them; the tests hold real answers against the
schemas of answers.
"""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Any, get_args

from cli.api_answers import NDJSON_LINES, answer_schemas, array, either, obj, ref, text
from handler.errors import error_codes
from handler.kserve.body import ANSWER, MAX_ID_CHARACTERS
from handler.limits import Limits
from handler.options import RequestOptions
from handler.request import MEDIA, known_names
from models.settings import Settings

Schema = dict[str, Any]

PARTS: dict[str, str] = {
    "video": "Any container with picture, sound or both; sound inside it is used unless `audio` is sent.",
    "audio": "Any container with sound.",
    "text": "WebVTT, SubRip, or plain text, which holds for the whole clip; `auto`: the words of the sound, of a model "
    "that can hear them.",
    "image": "One PNG, JPEG, WebP, BMP or GIF; it holds for the whole clip.",
    "tabular": "One row as CSV with a header, JSON or Parquet.",
    "depth": "A video whose brightness is the depth.",
    "options": "The request's options as one JSON object.",
    "state": "Of a stream: the `state` of its last answer, as it came.",
}
"""What each part takes (:func:`handler.request.known_names`)."""
OTHER_PARTS = "A sequence of vectors by the name that the model's recipe gives it, such as `imu`: CSV, Parquet or JSON."

_ROLE = re.compile(r" ?\(:\w+:`[^`]*`\)|:\w+:`~?([^`]*)`")


def build_schemas() -> dict[str, Schema]:
    """All components by name."""
    return {
        **_settings_schemas(RequestOptions),
        **_request_schemas(),
        **answer_schemas(),
        "NdjsonLine": either(*NDJSON_LINES, {"$ref": "#/components/schemas/ErrorLine"}),
        "ErrorLine": _error_schema({"type": {"const": "error"}}),
        "Error": _error_schema({}),
        "ServerError": obj(
            {
                "code": {"type": "integer"},
                "type": text("The kind, such as `ModelNotFoundException`."),
                "message": text(),
            },
            description="TorchServe's own error: no worker has seen the request.",
        ),
        **_kserve_schemas(),
    }


def _settings_schemas(kind: type[Settings]) -> dict[str, Schema]:
    """A settings class with those inside it; what a field's docstring says is its description."""
    schema = kind.model_json_schema(ref_template="#/components/schemas/{model}")
    found = {**schema.pop("$defs", {}), kind.__name__: schema}
    classes = {each.__name__: each for each in _settings_in(kind)}
    for name, each in found.items():
        docs = attribute_docs(classes[name])
        each["description"] = plain(inspect.getdoc(classes[name]) or "")
        each.pop("title", None)
        for field, values in each["properties"].items():
            values.pop("title", None)
            if field in docs:
                values["description"] = docs[field]
    return found


def _settings_in(annotation: Any) -> Iterator[type[Settings]]:
    if isinstance(annotation, type) and issubclass(annotation, Settings):
        yield annotation
        for field in annotation.model_fields.values():
            yield from _settings_in(field.annotation)
    for argument in get_args(annotation):
        yield from _settings_in(argument)


def attribute_docs(kind: type) -> dict[str, str]:
    """What stands as a string below each annotated name of a class, as plain text."""
    (body,) = ast.parse(textwrap.dedent(inspect.getsource(kind))).body
    lines = body.body if isinstance(body, ast.ClassDef) else []
    return {
        field.target.id: plain(inspect.cleandoc(said.value.value))
        for field, said in pairwise(lines)
        if isinstance(field, ast.AnnAssign)
        and isinstance(field.target, ast.Name)
        and isinstance(said, ast.Expr)
        and isinstance(said.value, ast.Constant)
        and isinstance(said.value.value, str)
    }


def plain(docstring: str) -> str:
    """A docstring as Markdown in one paragraph: its references to code are left out."""
    return " ".join(_ROLE.sub(r"\1", docstring).replace("``", "`").split())


def part_schemas(base64_media: Schema) -> dict[str, Schema]:
    """Each part by its name, media as ``base64_media``."""
    return {name: {**_part_kind(name, base64_media), "description": PARTS[name]} for name in known_names()}


def _part_kind(name: str, media: Schema) -> Schema:
    if name == "options":
        return either(ref("RequestOptions"), {"type": "null"})
    if name in MEDIA:
        return media
    return {"type": ["string", "object", "array", "null"] if name == "tabular" else ["string", "null"]}


def _request_schemas() -> dict[str, Schema]:
    media = {"type": ["string", "null"], "contentEncoding": "base64"}
    form: dict[str, Schema] = {name: {"description": PARTS[name]} for name in known_names()}
    form["options"] = {**ref("RequestOptions"), "description": PARTS["options"]}
    return {
        "Request": obj(
            part_schemas(media),
            optional=known_names(),
            others={"description": OTHER_PARTS},
            description="Parts of one clip, at least one; media in base64.",
        ),
        "Form": obj(
            form,
            optional=known_names(),
            others={"description": OTHER_PARTS},
            description="Parts of one clip, at least one, each a file or a field.",
        ),
    }


def _error_schema(first: Mapping[str, Schema], last: Mapping[str, Schema] | None = None) -> Schema:
    kinds = error_codes()
    optional: dict[str, Schema] = {
        "modalities": {
            "type": "object",
            "additionalProperties": obj({"code": text(), "reason": text()}),
            "description": "Why each modality that was sent cannot be used.",
        },
        "chunk_seconds": {"type": "number", "description": "Where the chunk begins."},
        "clock_seconds": {"type": "number", "description": "Until where the stream is known."},
    }
    members: dict[str, Schema] = {
        "status": {"type": "integer", "enum": sorted({kind.status for kind in kinds.values()})},
        "code": {"type": "string", "enum": list(kinds)},
        "message": text("What is wrong: the value, and what is allowed."),
        "remedy": text("What the client can do."),
    }
    return obj(
        {**first, **members, **optional, **(last or {})},
        optional=(*optional, *(last or {})),
        description="What is wrong with the request.",
    )


def errors_of(status: int) -> dict[str, dict[str, Any]]:
    """Of each code that an answer of this status can have, the error's body as an example."""
    return {
        code: {"status": status, "code": code, "message": plain(kind.codes()[code]), "remedy": "What to do about it."}
        for code, kind in error_codes().items()
        if kind.status == status
    }


def _kserve_schemas() -> dict[str, Schema]:
    limits = Limits()
    media = either({"type": ["string", "null"], "contentEncoding": "base64"}, obj({"b64": {"type": "string"}}))
    instances = {"minItems": 1, "maxItems": limits.max_instances}
    answers = array(either(ref("Answer"), ref("Error"), text("An answer in another format than JSON.")))
    options = either(ref("RequestOptions"), {"type": "null"})
    tensor = obj(
        {
            "name": {"enum": list(known_names()), "description": "A part."},
            "datatype": {"const": "BYTES"},
            "shape": array({"type": "integer", "minimum": 1}, minItems=1, maxItems=2),
            "data": array({"type": ["string", "null", "array"]}, **instances),
            "parameters": {"type": "object"},
        },
        optional=("parameters", "data"),
        others={},
        description="Each element is an instance's part: media in base64, all else as text unless the parameters say "
        '`{"content_type": "base64"}`. With `binary_data_size` the bytes follow the JSON.',
    )
    output = obj(
        {
            "name": {"const": ANSWER},
            "datatype": {"const": "BYTES"},
            "shape": array({"type": "integer"}, minItems=1, maxItems=1),
            "data": array(text("An answer or an error, as JSON or in the format that was asked for.")),
        }
    )
    heads = {"id": text("The request's."), "model_name": text(), "model_version": text()}
    failure = {"error": text("The message, where the protocols have it.")}
    return {
        "V1Request": obj(
            {
                "instances": array(
                    either(
                        obj({"b64": {"type": "string"}}), obj(part_schemas(media), optional=known_names(), others={})
                    ),
                    **instances,
                ),
                "parameters": {**options, "description": "Options of the instances that have none of their own."},
            },
            optional=("parameters",),
            description="KServe v1.",
        ),
        "V1Answer": obj({"predictions": answers}, description="An answer or an error for each instance, in order."),
        "V1Failure": _error_schema(failure, {"predictions": answers}),
        "V2Request": obj(
            {
                "id": {"type": ["string", "null"], "maxLength": MAX_ID_CHARACTERS},
                "model_name": {"type": "string"},
                "model_version": {"type": "string"},
                "parameters": {**options, "description": "Options of the instances that have none of their own."},
                "inputs": array(tensor, minItems=1),
                "outputs": array(obj({"name": {"const": ANSWER}}, others={})),
            },
            optional=("id", "model_name", "model_version", "parameters", "outputs"),
            description="KServe v2, the Open Inference Protocol.",
        ),
        "V2Answer": obj({**heads, "outputs": array(output)}, optional=("id",), description="One output, `answer`."),
        "V2Failure": _error_schema(failure, {**heads, "outputs": array(output)}),
    }
