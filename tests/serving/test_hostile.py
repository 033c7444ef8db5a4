"""Every hostile request to a real server: the same status and code by REST and by gRPC, and no worker dies."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from cli.record import ServerRecord
from client.grpc import authorization, build_channel
from client.protos import inference_pb2, inference_pb2_grpc
from tests.hostile.catalogue import catalogue
from tests.hostile.item import OK, Item, Path

pytestmark = pytest.mark.server

CLIENTS = 8
"""As many as a batch has requests."""
PATHS: dict[Path, str] = {"predictions": "/predictions/{}", "v1": "/v1/models/{}:predict", "v2": "/v2/models/{}/infer"}

Outcome = tuple[int, str]


@pytest.fixture(scope="module")
def http(server: ServerRecord) -> Iterator[httpx.Client]:
    headers = {"Authorization": f"Bearer {server.tokens().inference}"}
    with httpx.Client(base_url=server.inference_url, headers=headers, trust_env=False, timeout=60) as client:
        yield client


def outcome(status: int, body: bytes) -> Outcome:
    """The status and the code that a body has; of one without them those of the answer."""
    values = json.loads(body)
    own = values.get("status", status)
    return own, values["code"] if own != 200 else OK


def by_rest(http: httpx.Client, model: str, item: Item) -> Outcome:
    path = PATHS[item.path].format(model)
    if item.is_body:
        response = http.post(path, content=item.raw["body"], headers={"Content-Type": item.content_type})
    else:
        kinds = {"text": "text/plain", "options": "application/json"}
        files = [(name, ("file", content, kinds.get(name, "video/mp4"))) for name, content in item.parts]
        response = http.post(path, files=files)
    found = outcome(response.status_code, response.content)
    assert found[0] == response.status_code
    return found


def by_grpc(stub: inference_pb2_grpc.InferenceAPIsServiceStub, server: ServerRecord, model: str, item: Item) -> Outcome:
    request = inference_pb2.PredictionsRequest(model_name=model, input=item.raw)
    response = stub.Predictions(request, metadata=authorization(server.tokens().inference), timeout=60)
    return outcome(200, response.prediction)


def workers(server: ServerRecord, model: str) -> list[tuple[str, int]]:
    """Status and process of each worker."""
    headers = {"Authorization": f"Bearer {server.tokens().management}"}
    response = httpx.get(f"{server.management_url}/models/{model}", headers=headers, trust_env=False)
    return [(worker["status"], worker["pid"]) for worker in response.json()[0]["workers"]]


def wrong(items: list[Item], found: list[Outcome]) -> dict[str, tuple[Outcome, Outcome]]:
    """What came of the requests that something else should have come of, and what that is."""
    pairs = zip(items, found, strict=True)
    return {item.name: (one, (item.status, item.code)) for item, one in pairs if one != (item.status, item.code)}


def test_each_request_is_answered_the_same_by_rest_and_by_grpc(
    server: ServerRecord, http: httpx.Client, every: str
) -> None:
    before = workers(server, every)
    items = list(catalogue())
    shared = [item for item in items if not item.only_rest]
    with ThreadPoolExecutor(CLIENTS) as pool, build_channel(server.grpc_target) as channel:
        stub = inference_pb2_grpc.InferenceAPIsServiceStub(channel)  # type: ignore[no-untyped-call]
        rest = list(pool.map(lambda item: by_rest(http, every, item), items))
        grpc = list(pool.map(lambda item: by_grpc(stub, server, every, item), shared))
    assert wrong(items, rest) == {}
    assert wrong(shared, grpc) == {}
    assert workers(server, every) == before
