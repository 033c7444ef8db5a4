"""What strangers and clients are told: no traceback, path or version, and no class but those that SECURITY.md names."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import grpc
import httpx
import pytest

from cli.front import Front
from cli.kserve_bridge import PUBLIC_SERVICE, SERVERS_SERVICE
from cli.record import ServerRecord
from client.grpc import authorization, build_channel
from client.protos import inference_pb2
from client.protos.open_inference_pb2 import ModelInferRequest
from tests.hostile.catalogue import catalogue
from tests.hostile.item import OK, Item

pytestmark = pytest.mark.server

PROJECT = Path(__file__).parents[2]
INNER = re.compile(
    r"Traceback|File \"|/home/|/tmp/|/root/|/work/|/usr/|site-packages|\.py\b|org\.pytorch|java\.|\bio\.netty"
    r"|[A-Z]\w*(Exception|Error)\b|TorchServe/|[Nn]ginx/\d|[Pp]ython/\d|\b0\.12\.0\b|\bat 0x[0-9a-f]+"
)
"""What tells how a service is made."""
TORCHSERVES_OWN = re.compile(r'"type": ?"\w+Exception"')
"""The one thing of this that TorchServe says by REST of itself: which of its exceptions it was."""
TORCHSERVES_OWN_BY_GRPC = re.compile(r"\n(org\.pytorch\.serve|io\.grpc)\.[\w.]+Exception.*", re.DOTALL)
"""And by gRPC, on a line of its own."""
LARGEST_BYTES = 100_000

UNKNOWN: tuple[tuple[str, str], ...] = (
    *(("GET", path) for path in ("/", "/nothing", "/models", "/metrics", "/../../etc/passwd", "/%00", "/a%0ab")),
    *(("GET", path) for path in ("/v2/models/activity", "/v1/models/nothing", "/console", "/.git/config")),
    *((method, "/predictions/activity") for method in ("GET", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS")),
    *(("POST", path) for path in ("/predictions", "/predictions/", "/wfpredict/a", "/v9/models/activity/infer")),
)
UNKNOWN_MODELS: tuple[tuple[str, str], ...] = (
    *(("POST", f"/predictions/{name}") for name in ("nothing", "activity/9.9", "..%2f..%2fetc", "%00", "a%0ab")),
    *(("POST", path) for path in ("/v1/models/nothing:predict", "/v2/models/nothing/infer", "/explanations/nothing")),
)
METHODS = (
    (SERVERS_SERVICE, "ServerMetadata"),
    (SERVERS_SERVICE, "ModelInfer"),
    ("org.pytorch.serve.grpc.inference.InferenceAPIsService", "Predictions"),
)


def chosen() -> Iterator[Item]:
    """Of the catalogue's requests one for each code; all of them are tested without a server."""
    seen = {OK}
    for item in catalogue():
        small = sum(len(content) for _, content in item.parts) < LARGEST_BYTES
        if small and item.code not in seen:
            seen.add(item.code)
            yield item


def sent(client: httpx.Client, url: str, item: Item) -> httpx.Response:
    paths = {"predictions": "/predictions/activity", "v1": "/v1/models/activity:predict"}
    address = url + paths.get(item.path, "/v2/models/activity/infer")
    if item.is_body:
        return client.post(address, content=item.parts[0][1], headers={"Content-Type": item.content_type})
    files = [(name, (name, content, "application/octet-stream")) for name, content in item.parts]
    return client.post(address, files=files)


SIGNS = ("Traceback (most", "/tmp/models/1/a.py", "org.pytorch.serve.X", "a.KeyError: 1", "nginx/1.22")  # noqa: S108


def told(answer: httpx.Response) -> str:
    return "\n".join([answer.text, *(f"{key}: {value}" for key, value in answer.headers.items())])


@pytest.fixture(scope="module")
def client(server: ServerRecord) -> Iterator[httpx.Client]:
    key = {"Authorization": f"Bearer {server.tokens().inference}"}
    with httpx.Client(trust_env=False, headers=key, timeout=30) as opened:
        yield opened


def test_the_signs_are_seen() -> None:
    for sign in SIGNS:
        assert INNER.search(sign)
    assert not INNER.search('{"status":422,"code":"undecodable_media","message":"the 1 bytes do not open"}')


def test_no_bad_request_is_told_how_the_service_is_made(
    server: ServerRecord, front: Front, client: httpx.Client
) -> None:
    items = list(chosen())
    assert len(items) > 15
    for place, item in enumerate(items):
        answer = sent(client, front.rest_url if place % 2 else server.inference_url, item)
        assert answer.status_code < 500, (item.name, answer.text)
        found = INNER.search(told(answer))
        assert not found, (item.name, found, answer.text)


def test_nor_by_grpc(server: ServerRecord, front: Front) -> None:
    metadata = tuple(authorization(server.tokens().inference))
    with build_channel(server.grpc_target) as direct, build_channel(front.grpc_target) as through:
        path = "/org.pytorch.serve.grpc.inference.InferenceAPIsService/Predictions"
        calls: list[grpc.UnaryUnaryMultiCallable[bytes, bytes]] = [each.unary_unary(path) for each in (direct, through)]
        for place, item in enumerate(item for item in chosen() if not item.only_rest and item.path == "predictions"):
            if not all(name.isascii() or name.isprintable() for name, _ in item.parts):
                continue
            request = inference_pb2.PredictionsRequest(model_name="activity", input=item.raw)
            answered = calls[place % 2](request.SerializeToString(), metadata=metadata, timeout=30)
            body = inference_pb2.PredictionResponse.FromString(answered).prediction.decode()
            assert not INNER.search(body), (item.name, body)


@pytest.mark.parametrize("key", ["right", "none"])
def test_what_is_not_there_is_told_in_the_fronts_own_words(front: Front, client: httpx.Client, key: str) -> None:
    headers = {} if key == "right" else {"Authorization": ""}
    for method, path in UNKNOWN:
        answer = client.request(method, f"{front.rest_url}{path}", headers=headers)
        assert answer.status_code < 500, (method, path, answer.status_code)
        if method != "HEAD" and not path.startswith("/predictions/"):
            assert answer.json()["status"] == answer.status_code
        left = TORCHSERVES_OWN.sub("", told(answer)) if path.startswith("/predictions/") else told(answer)
        assert not INNER.search(left), (method, path, left)


def test_of_unknown_models_and_by_torchserve_itself_only_its_exceptions_are_told(
    server: ServerRecord, front: Front, client: httpx.Client
) -> None:
    for url, asked in ((front.rest_url, UNKNOWN_MODELS), (server.inference_url, (*UNKNOWN, *UNKNOWN_MODELS))):
        for method, path in asked:
            answer = client.request(method, f"{url}{path}")
            assert not INNER.search(TORCHSERVES_OWN.sub("", told(answer))), (method, path, told(answer))


def test_the_front_tells_no_version(server: ServerRecord, front: Front, client: httpx.Client) -> None:
    """TorchServe itself does, to who has a key, as SECURITY.md says."""
    assert "0.12" in client.get(f"{server.inference_url}/v2").text
    answer = client.get(f"{front.rest_url}/v2")
    assert not INNER.search(told(answer))
    assert answer.json()["name"] == "activity"


def test_by_grpc_its_exceptions_too_but_not_by_kserves_name(server: ServerRecord, front: Front) -> None:
    metadata = tuple(authorization(server.tokens().inference))
    request = inference_pb2.PredictionsRequest(model_name="nothing").SerializeToString()
    infer = ModelInferRequest(model_name="nothing").SerializeToString()
    for target in (server.grpc_target, front.grpc_target):
        with build_channel(target) as channel:
            for service, method in METHODS:
                body = infer if method == "ModelInfer" else request
                details = failure(channel, f"/{service}/{method}", body, metadata)
                left = TORCHSERVES_OWN_BY_GRPC.sub("", details).replace(f"{service}/{method}", "")
                assert not INNER.search(left), details
    with build_channel(front.grpc_target) as channel:
        for method, body in (("ModelInfer", infer), ("ModelInfer", b"\xff"), ("ServerMetadata", b""), ("Nothing", b"")):
            assert not INNER.search(failure(channel, f"/{PUBLIC_SERVICE}/{method}", body, metadata)), method


def failure(channel: grpc.Channel, path: str, body: bytes, metadata: tuple[tuple[str, str], ...]) -> str:
    call: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(path)
    with pytest.raises(grpc.RpcError) as caught:
        call(body, metadata=metadata, timeout=30)
    return caught.value.details() or ""
