from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import psutil
import pytest
from typer.testing import CliRunner

from cli.app import app
from cli.destination import Destination
from cli.readiness import missing_workers
from cli.record import ServerRecord
from client.errors import Conflict, ModelNotFound, Refused, UnexpectedAnswer
from client.grpc_management import GrpcManagementClient
from client.management import ManagementClient

pytestmark = pytest.mark.server

Management = ManagementClient | GrpcManagementClient


@pytest.fixture
def rest(server: ServerRecord) -> Iterator[ManagementClient]:
    with ManagementClient(server.management_url, server.tokens().management) as client:
        yield client


@pytest.fixture
def grpc(server: ServerRecord) -> Iterator[GrpcManagementClient]:
    with GrpcManagementClient(server.grpc_management_target, server.tokens().management) as client:
        yield client


def test_both_ways_describe_the_same_model(rest: ManagementClient, grpc: GrpcManagementClient) -> None:
    assert rest.list() == grpc.list() == ("activity",)
    (version,) = rest.describe("activity")
    assert grpc.describe("activity") == rest.describe("activity", "1.0") == (version,)
    assert (version.version, version.url, version.min_workers) == ("1.0", "activity.mar", 1)
    # As config/model-config.yaml says: the archive's settings win.
    assert (version.batch_size, version.max_batch_delay_milliseconds, version.response_timeout_seconds) == (8, 20, 600)
    assert missing_workers(version, version.min_workers) is None
    assert psutil.Process(version.workers[0].pid).is_running()


def test_scaling_up_and_down_by_the_command_line(server: ServerRecord, rest: ManagementClient) -> None:
    before = {worker.pid for worker in rest.describe("activity")[0].workers}
    up = CliRunner().invoke(app, ["scale", "--workers", "2", "--run-dir", server.run_dir])
    assert up.exit_code == 0
    assert up.stdout.count("READY") == 2
    (version,) = rest.describe("activity")
    assert missing_workers(version, version.min_workers) is None
    pids = {worker.pid for worker in version.workers}
    assert len(pids) == 2
    assert before < pids
    down = CliRunner().invoke(app, ["scale", "--workers", "1", "--run-dir", server.run_dir])
    assert down.exit_code == 0
    assert down.stdout.count("READY") == 1
    assert missing_workers(rest.describe("activity")[0], 1) is None


@pytest.fixture
def second_version(rest: ManagementClient, grpc: GrpcManagementClient) -> Iterator[str]:
    """Version 2.0, registered by gRPC for as long as the test runs."""
    assert "registered with 1 initial workers" in grpc.register("activity-2.mar", workers=1)
    yield "2.0"
    rest.set_default("activity", "1.0")
    if len(rest.describe("activity", "all")) == 2:
        rest.unregister("activity", "2.0")


def test_a_second_version_is_made_the_default_and_unregistered(
    rest: ManagementClient, grpc: GrpcManagementClient, destination: Destination, second_version: str
) -> None:
    def answered_by(version: str | None) -> str:
        answer = dataclasses.replace(destination, version=version).ask({"text": b"hello"}, {})
        return str(answer.json()["model"]["version"])

    assert {version.version for version in rest.describe("activity", "all")} == {"1.0", second_version}
    assert (answered_by(None), answered_by("1.0"), answered_by(second_version)) == ("1.0", "1.0", second_version)
    rest.set_default("activity", second_version)
    assert answered_by(None) == second_version
    grpc.set_default("activity", "1.0")
    assert answered_by(None) == "1.0"
    assert "unregistered" in grpc.unregister("activity", second_version)
    assert [version.version for version in grpc.describe("activity", "all")] == ["1.0"]
    with pytest.raises(ModelNotFound, match=second_version):
        answered_by(second_version)


def test_what_the_servers_state_forbids_is_said(
    rest: ManagementClient, grpc: GrpcManagementClient, second_version: str
) -> None:
    with pytest.raises(Conflict, match=r"Model version 2\.0 is already registered"):
        rest.register("activity-2.mar")
    rest.set_default("activity", second_version)
    with pytest.raises(Conflict, match="Cannot remove default version"):
        rest.unregister("activity", second_version)
    # By gRPC TorchServe gives no reason for either.
    with pytest.raises(UnexpectedAnswer, match="UNKNOWN"):
        grpc.register("activity-2.mar")
    with pytest.raises(UnexpectedAnswer, match="UNKNOWN"):
        grpc.unregister("activity", second_version)


@pytest.mark.parametrize("way", ["rest", "grpc"])
def test_unknown_models_and_archives_are_said(way: str, request: pytest.FixtureRequest) -> None:
    management: Management = request.getfixturevalue(way)
    with pytest.raises(ModelNotFound, match="nonsense"):
        management.describe("nonsense")
    with pytest.raises(ModelNotFound, match=r"nonsense\.mar"):
        management.register("nonsense.mar")


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/a.mar", "file:///etc/passwd", "../activity.mar"])
def test_archives_come_from_the_model_store_alone(rest: ManagementClient, url: str) -> None:
    with pytest.raises(ModelNotFound, match=r"not allowed|does not match any allowed"):
        rest.register(url)


@pytest.mark.parametrize("token", [None, "wrong", "inference"])
def test_management_has_a_token_of_its_own(server: ServerRecord, token: str | None) -> None:
    key = server.tokens().inference if token == "inference" else token
    with ManagementClient(server.management_url, key) as client, pytest.raises(Refused):
        client.list()
    with GrpcManagementClient(server.grpc_management_target, key) as client, pytest.raises(Refused):
        client.list()


def test_the_status_shows_model_and_workers(server: ServerRecord, rest: ManagementClient) -> None:
    result = CliRunner(env={"COLUMNS": "160"}).invoke(app, ["status", "--run-dir", server.run_dir])
    assert result.exit_code == 0
    (worker,) = rest.describe("activity")[0].workers
    row = next(line for line in result.stdout.splitlines() if "READY" in line)
    cells = row.split()
    assert cells[:3] == ["activity", "1.0", "*"]  # the default one
    assert cells[5:7] == ["READY", str(worker.pid)]
    assert cells[-1] == "MB"
    assert server.inference_url in result.stdout
