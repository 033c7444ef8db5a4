"""TLS with a certificate of the test's own: of TorchServe itself, by REST and gRPC, for inference and management."""

from __future__ import annotations

import dataclasses
import ssl
from pathlib import Path

import httpx
import pytest
from typer.testing import CliRunner

from cli.app import app
from cli.destination import Destination
from cli.record import ServerRecord
from client.errors import ServerUnreachable, UnexpectedAnswer
from client.grpc_management import GrpcManagementClient
from client.management import ManagementClient

pytestmark = pytest.mark.server


def test_inference_and_management_answer_who_trusts_the_certificate(secure: ServerRecord) -> None:
    destination = Destination.of_record(secure)
    assert destination.rest_url.startswith("https://")
    for grpc in (False, True):
        assert destination.ask({"video": b"12345"}, {}, grpc=grpc).ok
    key, ca = secure.tokens().management, secure.tls_certificate
    with ManagementClient(secure.management_url, key, ca=ca) as rest:
        assert rest.list() == ("echo",)
    with GrpcManagementClient(secure.grpc_management_target, key, ca=ca) as grpc_client:
        assert grpc_client.describe("echo")[0].workers[0].ready


def test_who_does_not_trust_it_sends_nothing(secure: ServerRecord) -> None:
    stranger = dataclasses.replace(Destination.of_record(secure), ca=None)
    with pytest.raises(ServerUnreachable, match="certificate") as caught:
        stranger.ask({"video": b"1"}, {})
    assert "--ca" in caught.value.remedy
    by_tls = dataclasses.replace(stranger, grpc_target=f"https://{stranger.grpc_target}")
    with pytest.raises(ServerUnreachable, match="certificate"):
        by_tls.ask({"video": b"1"}, {}, grpc=True)


def test_without_tls_nobody_is_let_in(secure: ServerRecord) -> None:
    plain = dataclasses.replace(
        Destination.of_record(secure), ca=None, rest_url=secure.inference_url.replace("https", "http")
    )
    with pytest.raises(UnexpectedAnswer):
        plain.ask({"video": b"1"}, {})
    with pytest.raises(ServerUnreachable):
        plain.ask({"video": b"1"}, {}, grpc=True)


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
def test_no_old_version_of_it_is_spoken(secure: ServerRecord) -> None:
    context = ssl.create_default_context(cafile=secure.tls_certificate)
    context.set_ciphers("ALL:@SECLEVEL=0")  # so that it is the server that refuses
    context.minimum_version, context.maximum_version = ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1
    with (
        pytest.raises(httpx.ConnectError, match="ALERT_PROTOCOL_VERSION"),
        httpx.Client(verify=context, trust_env=False) as client,
    ):
        client.get(f"{secure.inference_url}/ping")


def test_the_command_line_talks_to_it(secure: ServerRecord, tmp_path: Path) -> None:
    clip = tmp_path / "clip.mp4"
    clip.write_bytes(b"12345")
    ask = ["predict", str(clip), "--format", "json", "--model", "echo", "--token", secure.tokens().inference or ""]
    address = ["--ca", str(secure.tls_certificate), "--server"]
    for way in (
        [*address, secure.inference_url],
        [*address, secure.grpc_target, "--grpc"],
        ["--run-dir", secure.run_dir],
    ):
        done = CliRunner().invoke(app, [*ask, *way])
        assert done.exit_code == 0, (done.output, done.exception)
        assert '"status": 200' in done.output
    assert "https://" in CliRunner(env={"COLUMNS": "160"}).invoke(app, ["status", "--run-dir", secure.run_dir]).output
