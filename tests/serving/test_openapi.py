"""A live server answers as its description says: to the examples, and to what schemathesis makes of the schemas."""

from __future__ import annotations

import base64
import json
from typing import Any

import httpx
import jsonschema_rs
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from cli.api_document import SERVERS_ERRORS, build_document
from cli.properties import read_properties
from cli.record import ServerRecord
from cli.server import DEFAULT_CONFIG
from handler.request import MEDIA as PARTS
from training.synth.render import RenderedClip

pytestmark = pytest.mark.server

DOCUMENT = build_document()
MAX_REQUEST_BYTES = int(read_properties(DEFAULT_CONFIG)["max_request_size"])
CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
MEDIA = ("video/*", "audio/*", "application/octet-stream")
SOME, FEW = 30, 8
"""Examples of a path; of one whose bodies another path has too."""
NUM_EXAMPLES = {
    "/ping": 1,
    "/predictions/{model}": 2 * SOME,
    "/predictions/{model}/{version}": FEW,
    "/explanations/{model}": SOME,
    "/explanations/{model}/{version}": FEW,
    "/v1/models/{model}:predict": SOME,
    "/v1/models/{model}:explain": FEW,
    "/v2/models/{model}/infer": SOME,
}


@pytest.fixture(scope="module")
def key(server: ServerRecord) -> dict[str, str]:
    return {"Authorization": f"Bearer {server.tokens().inference}"}


@pytest.fixture(scope="module")
def api(server: ServerRecord, clip: RenderedClip) -> Any:
    """The description, made so that most requests name the model that there is, and that some media are media."""
    document = json.loads(json.dumps(DOCUMENT))
    parameters = document["components"]["parameters"]
    parameters["model"]["schema"] = {"enum": [server.model] * 9 + ["nobody"]}
    parameters["version"]["schema"] = {"enum": ["1.0"] * 9 + ["0.0"]}
    schemas, encoded = document["components"]["schemas"], base64.b64encode(clip.video).decode()
    media = {"enum": [None, encoded, encoded[:4000], "AAAA"]}
    instance = schemas["V1Request"]["properties"]["instances"]["items"]["anyOf"][1]
    for clips in (schemas["Request"], instance):
        clips["properties"].update((name, media) for name in PARTS)
        clips["additionalProperties"] = False
    tensor = schemas["V2Request"]["properties"]["inputs"]["items"]
    shape, words = {"const": [1]}, {"type": "array", "items": {"type": "string"}, "minItems": 1, "maxItems": 1}
    tensor["properties"].update(name={"enum": ["text", "options"]}, shape=shape, data=words)
    tensor["required"].append("data")
    for kind in MEDIA:
        schemathesis.openapi.media_type(kind, st.binary(max_size=64) | st.sampled_from([clip.video, clip.video[:9000]]))
    schema = schemathesis.openapi.from_dict(document)
    schema.config.update(base_url=server.inference_url)
    return schema


def test_every_path_is_asked() -> None:
    assert DOCUMENT["paths"].keys() == NUM_EXAMPLES.keys()


@pytest.mark.parametrize("path", NUM_EXAMPLES)
def test_each_answer_is_one_that_is_described(api: Any, key: dict[str, str], path: str) -> None:
    operation = api[path]["GET" if path == "/ping" else "POST"]
    statuses: set[int] = set()

    @given(case=operation.as_strategy())
    @settings(
        max_examples=NUM_EXAMPLES[path],
        phases=[Phase.generate],
        deadline=None,
        database=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
    )
    def ask(case: Any) -> None:
        response = case.call(headers=key, timeout=60)
        statuses.add(response.status_code)
        case.validate_response(response, checks=CHECKS)

    ask()
    assert statuses <= {200, 400, 404, 409, 413, 415, 422}
    assert NUM_EXAMPLES[path] <= FEW or statuses >= {200, 400}


def post(url: str, **sent: Any) -> httpx.Response:
    with httpx.Client(trust_env=False, timeout=60) as client:
        request = client.build_request("POST", url, **sent)
        request.read()  # schemathesis looks at what was sent, too
        return client.send(request)


def examples_of(described: dict[str, Any]) -> list[Any]:
    named = [each["value"] for each in described.get("examples", {}).values()]
    return [*named, *([described["example"]] if "example" in described else [])]


def as_text(example: Any) -> str:
    return example if isinstance(example, str) else json.dumps(example)


@pytest.mark.parametrize("protocol", ["Clip", "V1", "V2"])
def test_each_example_of_a_request_is_answered(
    api: Any, server: ServerRecord, key: dict[str, str], protocol: str
) -> None:
    paths = {"Clip": "/predictions/{model}", "V1": "/v1/models/{model}:predict", "V2": "/v2/models/{model}/infer"}
    path, content = paths[protocol], DOCUMENT["components"]["requestBodies"][protocol]["content"]
    url = server.inference_url + path.format(model=server.model)
    for kind, described in content.items():
        for example in examples_of(described):
            if kind == "multipart/form-data":
                response = post(url, headers=key, files={name: (name, as_text(each)) for name, each in example.items()})
            else:
                response = post(url, headers={**key, "Content-Type": kind}, content=as_text(example))
            assert response.status_code == 200, response.text
            api[path]["POST"].validate_response(response)


@pytest.mark.parametrize("answer_format", ["json", "ndjson", "vtt", "srt"])
def test_each_format_is_one_that_is_described(
    api: Any, server: ServerRecord, key: dict[str, str], clip: RenderedClip, answer_format: str
) -> None:
    parts = {"video": clip.video, "options": json.dumps({"format": answer_format}).encode()}
    response = post(f"{server.inference_url}/predictions/{server.model}", headers=key, files=parts)
    assert response.status_code == 200
    api["/predictions/{model}"]["POST"].validate_response(response)


def test_the_lines_of_a_stream_are_as_described(server: ServerRecord, key: dict[str, str], clip: RenderedClip) -> None:
    options = {"stream": True, "extras": ["windows", "timing"]}
    parts = {"video": clip.video, "options": json.dumps(options).encode()}
    response = post(f"{server.inference_url}/predictions/{server.model}", headers=key, files=parts)
    line = jsonschema_rs.Draft202012Validator(
        {"allOf": [{"$ref": "#/components/schemas/NdjsonLine"}], "components": DOCUMENT["components"]}
    )
    lines = [json.loads(each) for each in response.content.splitlines()]
    assert {each["type"] for each in lines} == {"header", "window", "segment", "progress", "end"}
    for each in lines:
        line.validate(each)
    assert response.headers["Content-Type"] in DOCUMENT["components"]["responses"]["ClipAnswer"]["content"]


def test_torchserves_own_errors_are_as_described(api: Any, server: ServerRecord, key: dict[str, str]) -> None:
    url = f"{server.inference_url}/predictions"
    for status, address, headers in ((400, f"{url}/{server.model}", {}), (404, f"{url}/nobody", key)):
        response = post(address, headers=headers, content=b"x")
        kind, _, _ = SERVERS_ERRORS[status]
        assert (response.status_code, response.json()["type"]) == (status, kind)
        api["/predictions/{model}"]["POST"].validate_response(response)
    too_large = post(f"{url}/{server.model}", headers=key, content=bytes(MAX_REQUEST_BYTES + 1))
    assert (too_large.status_code, too_large.content) == (413, b"")
