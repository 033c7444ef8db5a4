"""What goes through nginx to a real server: the same bytes by REST and gRPC, and KServe's public service."""

from __future__ import annotations

import json
import time

import grpc
import httpx
import pytest

from benchmarks.long_media import make_long_clip
from cli.destination import Destination
from cli.errors import CommandError
from cli.front import Front, running_front
from cli.kserve_bridge import PUBLIC_SERVICE
from cli.record import ServerRecord
from client.grpc import authorization, build_channel
from client.protos.open_inference_pb2 import ModelInferRequest, ModelInferResponse
from training.synth.render import RenderedClip

pytestmark = pytest.mark.server


@pytest.fixture
def through(server: ServerRecord, front: Front) -> Destination:
    return Destination(front.rest_url, front.grpc_target, server.tokens().inference)


def test_the_bytes_are_the_servers(through: Destination, destination: Destination, clip: RenderedClip) -> None:
    parts = {"video": clip.video, "text": clip.words.encode()}
    expected = destination.ask(parts, {}).body
    assert through.ask(parts, {}) == destination.ask(parts, {})
    assert through.ask(parts, {}, grpc=True).body == expected
    error = through.ask({"video": b"no media"}, {})
    assert (error.status, error.json()["code"]) == (422, "undecodable_media")


def test_keys_go_through_and_management_does_not(front: Front, server: ServerRecord, clip: RenderedClip) -> None:
    refused = httpx.post(f"{front.rest_url}/predictions/activity", content=clip.video, trust_env=False)
    assert refused.status_code == 401
    assert refused.json()["code"] == "unauthorized"
    key = {"Authorization": f"Bearer {server.tokens().management}"}
    assert httpx.get(f"{front.rest_url}/models/activity", headers=key, trust_env=False).status_code != 200


def test_kserves_public_grpc_service_with_raw_contents(
    front: Front, server: ServerRecord, destination: Destination, clip: RenderedClip
) -> None:
    """As tritonclient sends them by default."""
    contents = {"video": clip.video, "text": clip.words.encode(), "options": b'{"top_k": 2}'}
    request = ModelInferRequest(model_name="activity")
    for name, content in contents.items():
        request.inputs.add(name=name, datatype="BYTES", shape=[1])
        request.raw_input_contents.append(len(content).to_bytes(4, "little") + content)
    metadata = tuple(authorization(server.tokens().inference))
    with build_channel(front.grpc_target) as channel:
        infer = channel.unary_unary(
            f"/{PUBLIC_SERVICE}/ModelInfer", ModelInferRequest.SerializeToString, ModelInferResponse.FromString
        )
        response = infer(request, metadata=metadata)
        (raw,) = response.raw_output_contents
        parts = {"video": clip.video, "text": clip.words.encode()}
        assert raw[4:] == destination.ask(parts, {"top_k": 2}).body
        assert int.from_bytes(raw[:4], "little") == len(raw) - 4
        with pytest.raises(grpc.RpcError) as caught:
            infer(request)
        assert caught.value.code() is grpc.StatusCode.PERMISSION_DENIED


def test_a_run_folder_has_one_front(front: Front, server: ServerRecord) -> None:
    with pytest.raises(CommandError, match="runs already"), running_front(server):
        pass
    assert json.loads(httpx.get(f"{front.rest_url}/ready", trust_env=False).text)["ready"] in {True, False}


def test_an_answer_that_comes_in_pieces_goes_on_in_pieces(
    through: Destination, front: Front, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Although the front keeps what a slow reader has not read, so that nobody holds the server."""
    path = tmp_path_factory.mktemp("long") / "long.mp4"
    make_long_clip(path, 100)
    files = {"video": path.read_bytes(), "options": b'{"stream": true}'}
    headers = {"Authorization": f"Bearer {through.token}"}
    url = f"{front.rest_url}/predictions/activity"
    came: list[tuple[float, str]] = []
    with httpx.stream("POST", url, files=files, headers=headers, timeout=120.0, trust_env=False) as response:
        came.extend((time.monotonic(), json.loads(line)["type"]) for line in response.iter_lines())
    assert (came[0][1], came[-1][1]) == ("header", "end")
    assert came[-1][0] - came[0][0] > 0.1
