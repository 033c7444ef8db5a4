"""The description of the API says what the code reads, and what it really answers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
from typer.testing import CliRunner

from cli.api_document import ERRORS, build_document
from cli.api_schemas import PARTS, attribute_docs, part_schemas, plain
from cli.app import app
from cli.openapi import render_description
from handler.errors import InternalError, NoUsableModality, error_codes, error_of_values
from handler.limits import Limits
from handler.options import AnswerFormat, RequestOptions
from handler.pipeline import ActivityPipeline
from handler.request import known_names
from handler.response import CONTENT_TYPES, render_error
from models.settings import Settings
from tests.handler.requests import tiny_pipeline
from tests.media import Sound, render

DOCS = Path(__file__).resolve().parents[2] / "docs" / "openapi.json"
DOCUMENT = build_document()


def validator(schema: Any) -> jsonschema_rs.Draft202012Validator:
    return jsonschema_rs.Draft202012Validator({"allOf": [schema], "components": DOCUMENT["components"]})


def component(name: str) -> jsonschema_rs.Draft202012Validator:
    return validator({"$ref": f"#/components/schemas/{name}"})


def contents(value: Any) -> Iterator[dict[str, Any]]:
    """Every media type of a request or a response."""
    if isinstance(value, dict):
        if "schema" in value and ("example" in value or "examples" in value):
            yield value
        for each in value.values():
            yield from contents(each)
    elif isinstance(value, list):
        for each in value:
            yield from contents(each)


def test_the_file_in_docs_is_up_to_date() -> None:
    assert DOCS.read_text("utf-8") == render_description(), "run `activity openapi -o docs/openapi.json`"


def test_the_command_writes_it_or_prints_it(tmp_path: Path) -> None:
    printed = CliRunner().invoke(app, ["openapi"])
    assert (printed.exit_code, printed.stdout) == (0, render_description())
    CliRunner().invoke(app, ["openapi", "-o", str(tmp_path / "api.json")])
    assert (tmp_path / "api.json").read_text("utf-8") == render_description()


def test_every_reference_leads_somewhere() -> None:
    text = json.dumps(DOCUMENT)
    targets = {each.split('"')[0] for each in text.split('"$ref": "#/components/')[1:]}
    known = {f"{kind}/{name}" for kind, named in DOCUMENT["components"].items() for name in named}
    assert targets <= known
    unused = known - targets - {"securitySchemes/key", "schemas/NdjsonLine"}
    assert unused == set()


def test_every_example_is_what_its_schema_says() -> None:
    num_examples = 0
    for content in contents(DOCUMENT):
        examples = content.get("examples") or {"": {"value": content.get("example")}}
        for name, example in examples.items():
            validator(content["schema"]).validate(example["value"])
            num_examples += 1
            assert "required" not in name
    assert num_examples > 25


def test_every_option_and_every_part_says_what_it_is() -> None:
    options = DOCUMENT["components"]["schemas"]["RequestOptions"]
    assert options["properties"].keys() == RequestOptions.model_fields.keys()
    assert all(values["description"] for values in options["properties"].values())
    assert not any(sign in json.dumps(options) for sign in (":mod:", ":class:", "``"))
    assert part_schemas({}).keys() == set(known_names()) <= PARTS.keys()


def test_every_error_stands_under_its_status() -> None:
    assert error_codes().keys() >= {"invalid_options", "limit_bytes", "limit_frames", "internal_error"}
    for code, kind in error_codes().items():
        responses = DOCUMENT["components"]["responses"]
        schema = responses[f"Error{kind.status}"]["content"]["application/json"]["schema"]
        error = error_of_values({"code": code, "message": "no\nwords", "remedy": "none", "details": {}})
        body = json.loads(render_error(error).body)
        validator(schema).validate(body)
        other = next(status for status in ERRORS if status != kind.status and status < 500)
        assert not validator(responses[f"Error{other}"]["content"]["application/json"]["schema"]).is_valid(body)
    assert InternalError.status in ERRORS


def test_every_format_of_an_answer_is_named() -> None:
    content = DOCUMENT["components"]["responses"]["ClipAnswer"]["content"]
    assert content.keys() == {each.split(";")[0] for each in CONTENT_TYPES.values()}


@pytest.fixture(scope="module")
def sound() -> bytes:
    return render("wav", Sound(codec="pcm_s16le", seconds=3.0))


@cache
def pipeline() -> ActivityPipeline:
    return tiny_pipeline()


def answer(raw: dict[str, Any]) -> bytes:
    (response,) = pipeline().respond([raw], ["a"])
    return response.body


def options(answer_format: AnswerFormat) -> dict[str, Any]:
    return {"threshold": 0.0, "format": answer_format, "extras": ["windows", "embedding", "timing", "explanation"]}


def test_an_answer_with_everything_is_as_described(sound: bytes) -> None:
    values = json.loads(answer({"audio": sound, "text": "stir", "options": options("json")}))
    assert values["status"] == 200
    assert values["segments"]
    assert values["explanation"]["segments"]
    component("Answer").validate(values)
    component("Answer").validate(json.loads(answer({"text": "stir"})))
    assert not component("Answer").is_valid({**values, "surplus": 1})


def test_lines_are_as_described(sound: bytes) -> None:
    lines = answer({"audio": sound, "text": "stir", "options": options("ndjson")}).splitlines()
    kinds = {json.loads(line)["type"] for line in lines}
    assert {"header", "window", "segment"} <= kinds
    for line in lines:
        component("NdjsonLine").validate(json.loads(line))


def test_a_streams_answers_are_as_described(sound: bytes) -> None:
    begun = json.loads(answer({"audio": sound, "options": {"chunk": {}, "extras": ["windows"], "threshold": 0.0}}))
    component("Answer").validate(begun)
    assert {"final"} <= begun["windows"][0].keys()
    component("Form").validate({"audio": None, "state": begun["state"]})
    asked = {"audio": sound, "state": begun["state"]}
    late = {"chunk": {"offset_seconds": 4.0, "last": True}, "format": "ndjson", "extras": ["windows"], "threshold": 0.0}
    lines = [json.loads(line) for line in answer({**asked, "options": late}).splitlines()]
    assert lines[0]["stream"]["gap_seconds"] == 1.0
    assert "state" not in lines[0]
    for line in lines:
        component("NdjsonLine").validate(line)
    twice = json.loads(answer({**asked, "options": {"chunk": {}, "threshold": 0.0}}))
    assert (twice["code"], "clock_seconds" in twice) == ("chunk_out_of_order", True)
    component("Error").validate(twice)


def test_the_protocols_answers_and_failures_are_as_described() -> None:
    words = {"name": "text", "datatype": "BYTES", "shape": [2], "data": ["stir", "pour"]}
    for kind, good, bad in (
        ("V1", {"instances": [{"text": "stir"}, {"clip": 1}]}, {"instances": [{"clip": 1}]}),
        ("V2", {"id": "1", "inputs": [words]}, {"id": "1", "inputs": [{**words, "shape": [3]}]}),
    ):
        component(f"{kind}Answer").validate(json.loads(answer({"body": good})))
        component(f"{kind}Failure").validate(json.loads(answer({"body": bad})))
    component("V1Request").validate({"instances": [{"b64": "AAAA"}, {"video": {"b64": "AAAA"}, "text": "a"}]})
    component("V2Request").validate({"inputs": [words]})


@pytest.mark.parametrize(
    ("chosen", "valid"),
    [
        ({}, True),
        ({"top_k": 3, "format": "vtt", "templates": ["a {}"]}, True),
        ({"templates": {"all": ["a {}"]}}, True),
        ({"top_k": 0}, False),
        ({"unknown": 1}, False),
        ({"extras": ["nothing"]}, False),
    ],
)
def test_options_are_read_as_described(chosen: dict[str, Any], *, valid: bool) -> None:
    assert component("RequestOptions").is_valid(chosen) is valid
    if valid:
        RequestOptions.read(chosen, source="options")


def test_limits_are_those_of_the_service() -> None:
    instances = DOCUMENT["components"]["schemas"]["V1Request"]["properties"]["instances"]
    assert instances["maxItems"] == Limits().max_instances


class Described(Settings):
    """Of a test."""

    first: int = 1
    """The ``first`` one (:mod:`handler.options`), as
    :class:`~handler.errors.Error` says."""
    second: int = 2


def test_what_stands_below_a_field_describes_it() -> None:
    assert attribute_docs(Described) == {"first": "The `first` one, as handler.errors.Error says."}
    assert plain("a\n  b") == "a b"


def test_an_error_with_details_is_as_described() -> None:
    details = {"modalities": {"video": {"code": "undecodable_media", "reason": "no"}}}
    component("Error").validate(NoUsableModality("no", remedy="do", details=details).body)
