"""Every port and address of a server and its front, asked without a key, with a wrong one and with the other's."""

from __future__ import annotations

import re
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import grpc
import httpx
import pytest
from typer.testing import CliRunner

from cli.app import app
from cli.front import Front
from cli.kserve_bridge import PUBLIC_SERVICE, SERVERS_SERVICE
from cli.properties import read_properties
from cli.record import ServerRecord
from client.errors import ClientError
from client.grpc import authorization, build_channel
from client.grpc_management import GrpcManagementClient
from client.management import ManagementClient
from client.protos import inference_pb2, management_pb2
from client.protos.open_inference_pb2 import ModelInferRequest
from tests.planted import zipped_pickle
from tests.serving.test_rollout import change, forget

pytestmark = pytest.mark.server

Port = Literal["inference", "management", "front"]
REFUSED = re.compile("Token Auth(oriz|entic)ation failed")
INFERENCE = "org.pytorch.serve.grpc.inference.InferenceAPIsService"
MANAGEMENT = "org.pytorch.serve.grpc.management.ManagementAPIsService"
PREDICTION = inference_pb2.PredictionsRequest(model_name="activity", input={"video": b"x"}).SerializeToString()
KSERVE = ModelInferRequest(model_name="activity").SerializeToString()
MODEL = management_pb2.DescribeModelRequest(model_name="activity").SerializeToString()

REST: tuple[tuple[Port, str, str], ...] = (
    ("inference", "GET", "/ping"),
    ("inference", "POST", "/predictions/activity"),
    ("inference", "POST", "/predictions/activity/1.0"),
    ("inference", "PUT", "/predictions/activity"),
    ("inference", "POST", "/explanations/activity"),
    ("inference", "POST", "/invocations"),
    ("inference", "POST", "/wfpredict/activity"),
    ("inference", "POST", "/v1/models/activity:predict"),
    ("inference", "POST", "/v2/models/activity/infer"),
    ("inference", "GET", "/v1/models/activity"),
    ("inference", "GET", "/v2"),
    ("inference", "GET", "/v2/health/live"),
    ("inference", "GET", "/v2/health/ready"),
    ("inference", "GET", "/v2/models/activity/ready"),
    ("inference", "GET", "/models"),
    ("inference", "GET", "/metrics"),
    ("inference", "GET", "/nothing"),
    ("management", "GET", "/models"),
    ("management", "GET", "/models/activity"),
    ("management", "GET", "/models/activity/all"),
    ("management", "POST", "/models?url=activity-2.mar"),
    ("management", "PUT", "/models/activity?min_worker=0"),
    ("management", "PUT", "/models/activity/1.0/set-default"),
    ("management", "DELETE", "/models/activity/1.0"),
    ("management", "GET", "/workflows"),
    ("management", "POST", "/workflows?url=a.war"),
    ("management", "DELETE", "/workflows/a"),
    ("management", "GET", "/token?type=inference"),
    ("management", "GET", "/metrics"),
    ("management", "GET", "/nothing"),
    ("front", "GET", "/ping"),
    ("front", "POST", "/predictions/activity"),
    ("front", "POST", "/explanations/activity"),
    ("front", "POST", "/v1/models/activity:predict"),
    ("front", "POST", "/v2/models/activity/infer"),
    ("front", "GET", "/models"),
    ("front", "GET", "/nothing"),
)
"""What needs a key; the front passes it on to the port for inference."""

OPEN: tuple[tuple[str, str, str], ...] = (
    ("inference", "OPTIONS", "/"),
    ("inference", "GET", "/api-description"),
    ("management", "OPTIONS", "/"),
    ("management", "GET", "/api-description"),
    ("metrics", "GET", "/metrics"),
)
"""What TorchServe gives to everybody, as SECURITY.md says: its own description, and the metrics."""

GRPC: tuple[tuple[Port, str, str, bytes], ...] = (
    ("inference", INFERENCE, "Ping", b""),
    ("inference", INFERENCE, "Predictions", PREDICTION),
    ("inference", INFERENCE, "StreamPredictions", PREDICTION),
    ("inference", SERVERS_SERVICE, "ServerLive", b""),
    ("inference", SERVERS_SERVICE, "ServerReady", b""),
    ("inference", SERVERS_SERVICE, "ModelReady", b"\n\x08activity"),
    ("inference", SERVERS_SERVICE, "ModelMetadata", b"\n\x08activity"),
    ("inference", SERVERS_SERVICE, "ModelInfer", KSERVE),
    ("management", MANAGEMENT, "ListModels", b""),
    ("management", MANAGEMENT, "DescribeModel", MODEL),
    ("management", MANAGEMENT, "ScaleWorker", MODEL),
    ("management", MANAGEMENT, "SetDefault", MODEL),
    ("management", MANAGEMENT, "RegisterModel", b""),
    ("management", MANAGEMENT, "UnregisterModel", MODEL),
    ("front", INFERENCE, "Ping", b""),
    ("front", INFERENCE, "Predictions", PREDICTION),
    ("front", PUBLIC_SERVICE, "ServerLive", b""),
    ("front", PUBLIC_SERVICE, "ModelInfer", KSERVE),
)
"""The same by gRPC; StreamPredictions2, which kills workers, is not called."""


@dataclass(frozen=True)
class Doors:
    """A server and its front."""

    server: ServerRecord
    front: Front

    def rest(self, port: str) -> str:
        urls = {"inference": self.server.inference_url, "management": self.server.management_url}
        return {**urls, "metrics": self.server.metrics_url.removesuffix("/metrics"), "front": self.front.rest_url}[port]

    def grpc(self, port: Port) -> str:
        own = {"inference": self.server.grpc_target, "management": self.server.grpc_management_target}
        return {**own, "front": self.front.grpc_target}[port]

    def wrong_keys(self, port: Port) -> Iterator[tuple[str, dict[str, str], str]]:
        """A name, headers, and what is put behind the address."""
        keys = self.server.tokens()
        right, other = keys.inference or "", keys.management or ""
        if port == "management":
            right, other = other, right
        yield "none", {}, ""
        yield "wrong", {"Authorization": f"Bearer {right[:-1]}{'a' if right[-1] != 'a' else 'b'}"}, ""
        yield "cut", {"Authorization": f"Bearer {right[:-1]}"}, ""
        yield "longer", {"Authorization": f"Bearer {right}x"}, ""
        yield "empty", {"Authorization": "Bearer"}, ""
        yield "other", {"Authorization": f"Bearer {other}"}, ""
        yield "as basic", {"Authorization": f"Basic {right}"}, ""
        yield "in the address", {}, f"?Authorization=Bearer%20{right}&token={right}"


@pytest.fixture(scope="module")
def doors(server: ServerRecord, front: Front) -> Doors:
    return Doors(server, front)


def test_by_rest_nobody_is_let_in_without_the_ports_own_key(doors: Doors) -> None:
    let_in = []
    with httpx.Client(trust_env=False, timeout=20) as client:
        for port, method, path in REST:
            for name, headers, behind in doors.wrong_keys(port):
                address = f"{doors.rest(port)}{path}{behind.replace('?', '&') if '?' in path else behind}"
                answer = client.request(method, address, headers=headers, content=b"x" if method == "POST" else None)
                if answer.status_code not in {400, 401} or not REFUSED.search(answer.text):
                    let_in.append((port, method, path, name, answer.status_code, answer.text[:80]))
    assert let_in == []


def test_by_grpc_nobody_is_let_in_without_the_ports_own_key(doors: Doors) -> None:
    let_in = []
    for port, service, method, body in GRPC:
        with build_channel(doors.grpc(port)) as channel:
            call: grpc.UnaryStreamMultiCallable[bytes, bytes] = channel.unary_stream(f"/{service}/{method}")
            for name, headers, _ in doors.wrong_keys(port):
                metadata = tuple((key.lower(), value) for key, value in headers.items())
                with pytest.raises(grpc.RpcError) as caught:
                    list(call(body, metadata=metadata, timeout=20))
                if not REFUSED.search(caught.value.details() or ""):
                    let_in.append((port, method, name, caught.value.code()))
    assert let_in == []


def test_with_it_everybody_is(doors: Doors) -> None:
    """So that it is the key that the others lack."""
    keys = doors.server.tokens()
    with httpx.Client(trust_env=False, timeout=20) as client:
        for port, method, path in REST:
            if method == "GET" and not path.startswith("/token"):  # which needs the third key
                key = keys.management if port == "management" else keys.inference
                answer = client.get(f"{doors.rest(port)}{path}", headers={"Authorization": f"Bearer {key}"})
                assert not REFUSED.search(answer.text), path
    for port, service, method, body in GRPC:
        if method in {"Ping", "Predictions", "ServerLive", "ModelInfer", "ListModels", "DescribeModel"}:
            key = keys.management if port == "management" else keys.inference
            with build_channel(doors.grpc(port)) as channel:
                call: grpc.UnaryStreamMultiCallable[bytes, bytes] = channel.unary_stream(f"/{service}/{method}")
                list(call(body, metadata=tuple(authorization(key)), timeout=20))


def test_what_torchserve_gives_to_everybody_is_what_security_says(doors: Doors) -> None:
    with httpx.Client(trust_env=False, timeout=20) as client:
        for port, method, path in OPEN:
            assert client.request(method, f"{doors.rest(port)}{path}").status_code == 200
        for path in ("/models", "/predictions/activity", "/models/activity"):
            assert client.get(f"{doors.rest('metrics')}{path}").status_code in {404, 405}
    others: tuple[tuple[Port, str], ...] = (("inference", MANAGEMENT), ("management", INFERENCE))
    for port, service in others:
        with build_channel(doors.grpc(port)) as channel:
            call: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(f"/{service}/Ping")
            with pytest.raises(grpc.RpcError) as caught:
                call(b"", metadata=tuple(authorization(doors.server.tokens().inference)))
        assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


def test_keys_lie_in_files_of_their_owner_alone(server: ServerRecord) -> None:
    run_dir = Path(server.run_dir)
    assert run_dir.stat().st_mode & 0o777 == 0o700
    for name in ("key_file.json", "stream_key", "config.properties"):
        assert (run_dir / name).stat().st_mode & 0o777 == 0o600, name


@contextmanager
def managements(server: ServerRecord) -> Iterator[tuple[ManagementClient, GrpcManagementClient]]:
    key, ca = server.tokens().management, server.tls_certificate
    with (
        ManagementClient(server.management_url, key, ca=ca) as rest,
        GrpcManagementClient(server.grpc_management_target, key, ca=ca) as by_grpc,
    ):
        yield rest, by_grpc


FROM_ELSEWHERE = ("http://127.0.0.1:1/a.mar", "https://stranger.example/a.mar", "file:///etc/passwd", "s3://a/b.mar")


def test_the_model_api_is_off_unless_asked_for(secure: ServerRecord) -> None:
    assert read_properties(Path(secure.run_dir) / "config.properties")["enable_model_api"] == "false"
    with managements(secure) as clients:
        for client in clients:
            for archive in ("echo.mar", *FROM_ELSEWHERE):
                with pytest.raises(ClientError, match=r"not allowed|disabled"):
                    client.register(archive)
            with pytest.raises(ClientError, match=r"not allowed|disabled"):
                client.unregister("echo")
            assert client.list() == ("echo",) if isinstance(client, ManagementClient) else True


@pytest.mark.parametrize("archive", [*FROM_ELSEWHERE, "/etc/passwd", "../activity.mar", "~/a.mar", "nothing.mar"])
def test_where_it_is_on_archives_come_from_the_model_store_alone(server: ServerRecord, archive: str) -> None:
    with managements(server) as clients:
        for client in clients:
            with pytest.raises(ClientError):
                client.register(archive, name="stranger")
        assert clients[0].list() == ("activity",)


def test_workflows_which_load_code_too_come_from_nowhere(
    server: ServerRecord, secure: ServerRecord, model_store: Path
) -> None:
    (model_store / "a.war").write_bytes((model_store / "activity.mar").read_bytes())
    for record in (server, secure):
        verify = True if record.tls_certificate is None else ssl.create_default_context(cafile=record.tls_certificate)
        headers = {"Authorization": f"Bearer {record.tokens().management}"}
        with httpx.Client(trust_env=False, headers=headers, verify=verify) as client:
            for archive in ("a.war", "../model store0/a.war", *FROM_ELSEWHERE):
                answer = client.post(f"{record.management_url}/workflows", params={"url": archive})
                assert answer.status_code == 404, answer.text
            assert client.get(f"{record.management_url}/workflows").json() == {"workflows": []}
    (model_store / "a.war").unlink()


def test_a_pickle_in_the_place_of_the_weights_never_runs_in_a_worker(
    server: ServerRecord, model_store: Path, tmp_path: Path
) -> None:
    mark = tmp_path / "mark"
    planted = change(
        model_store / "activity.mar", tmp_path / "planted.mar", "5.0", {"model.safetensors": zipped_pickle(mark)}
    )
    result = CliRunner().invoke(app, ["rollout", str(planted), "--run-dir", server.run_dir])
    assert result.exit_code == 1
    assert "model.safetensors does not fit" in str(result.exception)
    assert not mark.exists()
    with managements(server) as (rest, _):
        assert [version.version for version in rest.describe("activity", "all")] == ["1.0"]
    forget(model_store / "planted.mar")
