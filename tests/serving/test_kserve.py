"""KServe's protocols by a real server: its own paths of v1 and v2 by REST, the Open Inference Protocol by gRPC."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import httpx
import pytest

from cli.record import ServerRecord
from client.grpc import authorization, build_channel
from client.protos import open_inference_pb2 as messages
from client.protos import open_inference_pb2_grpc as services
from handler.pipeline import ActivityPipeline
from training.synth.render import RenderedClip

pytestmark = pytest.mark.server

BROKEN = b"no media"


@pytest.fixture(scope="module")
def expected(pipeline: ActivityPipeline, clip: RenderedClip) -> bytes:
    """The answer in this process."""
    (response,) = pipeline.respond([{"video": clip.video, "text": clip.words, "options": {"top_k": 2}}], ["test"])
    return response.body


@pytest.fixture(scope="module")
def http(server: ServerRecord) -> Iterator[httpx.Client]:
    headers = {"Authorization": f"Bearer {server.tokens().inference}"}
    with httpx.Client(base_url=server.inference_url, headers=headers, trust_env=False, timeout=60) as client:
        yield client


@pytest.fixture(scope="module")
def stub(server: ServerRecord) -> Iterator[services.GRPCInferenceServiceStub]:
    with build_channel(server.grpc_target) as channel:
        yield services.GRPCInferenceServiceStub(channel)  # type: ignore[no-untyped-call]


@pytest.fixture(scope="module")
def metadata(server: ServerRecord) -> list[tuple[str, str]]:
    return authorization(server.tokens().inference)


def v1_body(clip: RenderedClip) -> dict[str, Any]:
    video = base64.b64encode(clip.video).decode()
    broken = base64.b64encode(BROKEN).decode()
    return {
        "instances": [{"video": video, "text": clip.words, "options": {"top_k": 2}}, {"video": {"b64": broken}}],
    }


def v2_body(clip: RenderedClip) -> dict[str, Any]:
    contents = {"video": base64.b64encode(clip.video).decode(), "text": clip.words}
    inputs = [{"name": n, "datatype": "BYTES", "shape": [1], "data": [c]} for n, c in contents.items()]
    return {"id": "7", "inputs": inputs, "parameters": {"top_k": 2}}


def infer_request(**contents: list[bytes]) -> messages.ModelInferRequest:
    tensors = [
        messages.ModelInferRequest.InferInputTensor(
            name=name,
            datatype="BYTES",
            shape=[len(elements)],
            contents=messages.InferTensorContents(bytes_contents=elements),
        )
        for name, elements in contents.items()
    ]
    return messages.ModelInferRequest(model_name="activity", id="7", inputs=tensors)


def grpc_request(clip: RenderedClip) -> messages.ModelInferRequest:
    return infer_request(video=[clip.video], text=[clip.words.encode()], options=[b'{"top_k": 2}'])


@pytest.mark.parametrize("path", ["/v1/models/activity:predict", "/predictions/activity"])
def test_v1_by_rest(http: httpx.Client, clip: RenderedClip, expected: bytes, path: str) -> None:
    response = http.post(path, json=v1_body(clip))
    assert response.status_code == 200
    assert response.content.startswith(b'{"predictions":[' + expected + b",")
    assert response.json()["predictions"][1]["code"] == "undecodable_media"


@pytest.mark.parametrize("path", ["/v2/models/activity/infer", "/predictions/activity"])
def test_v2_by_rest(http: httpx.Client, clip: RenderedClip, expected: bytes, path: str) -> None:
    values = http.post(path, json=v2_body(clip)).json()
    assert (values["id"], values["model_name"], values["model_version"]) == ("7", "activity", "1.0")
    assert values["outputs"][0]["data"] == [expected.decode()]


def test_v2_with_binary_tensors(http: httpx.Client, clip: RenderedClip, expected: bytes) -> None:
    """As the public clients send it by default."""
    body = v2_body(clip)
    tail = b""
    for tensor, content in zip(body["inputs"], (clip.video, clip.words.encode()), strict=True):
        del tensor["data"]
        tensor["parameters"] = {"binary_data_size": 4 + len(content)}
        tail += len(content).to_bytes(4, "little") + content
    head = json.dumps(body).encode()
    headers = {"Content-Type": "application/octet-stream", "Inference-Header-Content-Length": str(len(head))}
    response = http.post("/v2/models/activity/infer", content=head + tail, headers=headers)
    assert response.json()["outputs"][0]["data"] == [expected.decode()]


def test_a_bad_body_is_a_4xx_that_the_protocols_clients_read(http: httpx.Client) -> None:
    for path, field in (("/v1/models/activity:predict", "instances"), ("/v2/models/activity/infer", "inputs")):
        response = http.post(path, json={field: []})
        assert response.status_code == 400
        assert "at least one" in response.json()["error"]


def test_the_open_inference_protocol_by_grpc(
    stub: services.GRPCInferenceServiceStub, metadata: Any, clip: RenderedClip, expected: bytes
) -> None:
    assert stub.ServerLive(messages.ServerLiveRequest(), metadata=metadata).live
    assert stub.ModelReady(messages.ModelReadyRequest(name="activity"), metadata=metadata).ready
    response = stub.ModelInfer(grpc_request(clip), metadata=metadata)
    assert (response.id, response.model_name, response.model_version) == ("7", "activity", "1.0")
    assert list(response.outputs[0].contents.bytes_contents) == [expected]


def test_the_open_inference_protocol_needs_the_token(
    stub: services.GRPCInferenceServiceStub, clip: RenderedClip
) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        stub.ModelInfer(grpc_request(clip))
    assert caught.value.code() is grpc.StatusCode.PERMISSION_DENIED


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        (infer_request(), "invalid_request"),
        (infer_request(video=[BROKEN]), "undecodable_media"),
        (infer_request(clip=[BROKEN]), "unknown_part"),
        (
            messages.ModelInferRequest(
                model_name="activity",
                inputs=[messages.ModelInferRequest.InferInputTensor(name="text", datatype="BYTES", shape=[1])],
                raw_input_contents=[b"\x04\x00\x00\x00stir"],
            ),
            "invalid_request",
        ),
    ],
    ids=["nothing", "broken", "unknown", "raw"],
)
def test_whatever_comes_by_grpc_is_answered_and_no_worker_dies(
    stub: services.GRPCInferenceServiceStub,
    metadata: Any,
    request_: messages.ModelInferRequest,
    code: str,
    server: ServerRecord,
) -> None:
    before = workers(server)
    response = stub.ModelInfer(request_, metadata=metadata)
    assert json.loads(response.outputs[0].contents.bytes_contents[0])["code"] == code
    assert workers(server) == before


def workers(server: ServerRecord) -> list[tuple[str, int]]:
    """Status and process of each worker."""
    headers = {"Authorization": f"Bearer {server.tokens().management}"}
    response = httpx.get(f"{server.management_url}/models/activity", headers=headers, trust_env=False)
    return [(worker["status"], worker["pid"]) for worker in response.json()[0]["workers"]]


def test_all_ways_at_once_share_batches(
    http: httpx.Client,
    stub: services.GRPCInferenceServiceStub,
    metadata: Any,
    clip: RenderedClip,
    expected: bytes,
) -> None:
    def ask(number: int) -> bytes:
        if number % 3 == 0:
            answer: bytes = stub.ModelInfer(grpc_request(clip), metadata=metadata).outputs[0].contents.bytes_contents[0]
            return answer
        if number % 3 == 1:
            data: str = http.post("/v2/models/activity/infer", json=v2_body(clip)).json()["outputs"][0]["data"][0]
            return data.encode()
        body = {"video": base64.b64encode(clip.video).decode(), "text": clip.words, "options": {"top_k": 2}}
        return http.post("/predictions/activity", json=body).content

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(ask, range(9))) == {expected}
