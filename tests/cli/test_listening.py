from __future__ import annotations

from pathlib import Path

import pytest

from cli.errors import CommandError
from cli.listening import ADDRESSES, Tls, check_private, find_tls, is_loopback, listening_properties, loading_properties
from cli.ports import Ports
from cli.properties import read_properties
from cli.server import ServeSettings, start_server
from tests.cli.test_server import empty_archive

SHIPPED = read_properties(Path(__file__).parents[2] / "config.properties")
PORTS = Ports(1, 2, 3, 4, 5)


@pytest.fixture
def tls(tmp_path: Path) -> Tls:
    for name in ("cert.pem", "key.pem"):
        (tmp_path / name).touch(mode=0o600)
    return Tls(tmp_path / "cert.pem", tmp_path / "key.pem")


def test_the_shipped_settings_listen_on_this_machine_alone() -> None:
    for base in (SHIPPED, {}):
        assert listening_properties(base, PORTS, None, exposed=False) == {
            "inference_address": "http://127.0.0.1:1",
            "management_address": "http://127.0.0.1:2",
            "metrics_address": "http://127.0.0.1:3",
            "grpc_inference_address": "127.0.0.1",
            "grpc_management_address": "127.0.0.1",
        }


@pytest.mark.parametrize("name", ADDRESSES)
@pytest.mark.parametrize("host", ["0.0.0.0", "192.0.2.7", "[::]", "server.example"])  # noqa: S104 - what is refused
def test_an_address_beyond_this_machine_is_refused_unless_asked_for_aloud(name: str, host: str) -> None:
    base = {**SHIPPED, name: host if name.startswith("grpc") else f"http://{host}:80"}
    with pytest.raises(CommandError, match=f"{name} is .*{host.strip('[]')}".replace("[", r"\[")) as caught:
        listening_properties(base, PORTS, None, exposed=False)
    assert "--expose" in caught.value.remedy
    if host == "0.0.0.0":  # noqa: S104
        assert host in listening_properties(base, PORTS, None, exposed=True)[name]
    else:
        with pytest.raises(CommandError, match="would not find the server"):
            listening_properties(base, PORTS, None, exposed=True)


def test_a_start_with_such_an_address_is_refused_before_anything_is_made(tmp_path: Path) -> None:
    config = tmp_path / "config.properties"
    config.write_text("management_address=http://0.0.0.0:8081\n")
    archive, run_dir = empty_archive(tmp_path / "a.mar"), tmp_path / "run"
    with pytest.raises(CommandError, match=r"management_address is http://0\.0\.0\.0:8081"):
        start_server(ServeSettings(archive=archive, run_dir=run_dir, config=config))
    assert not run_dir.exists()


def test_with_tls_inference_and_management_speak_it(tls: Tls) -> None:
    found = listening_properties(SHIPPED, PORTS, tls, exposed=False)
    assert found["inference_address"] == "https://127.0.0.1:1"
    assert found["management_address"] == "https://127.0.0.1:2"
    assert found["metrics_address"] == "http://127.0.0.1:3"
    assert (found["certificate_file"], found["private_key_file"]) == (str(tls.certificate), str(tls.key))
    assert found["enable_grpc_ssl"] == "true"


def test_certificate_and_key_come_from_the_command_line_or_the_settings(tls: Tls, tmp_path: Path) -> None:
    assert find_tls(SHIPPED, None, None, tmp_path) is None
    assert find_tls(SHIPPED, tls.certificate, tls.key, tmp_path) == tls
    assert find_tls({"certificate_file": "cert.pem", "private_key_file": "key.pem"}, None, None, tmp_path) == tls


@pytest.mark.parametrize(
    ("base", "message"),
    [
        ({"certificate_file": "cert.pem"}, "needs a certificate and its key"),
        ({"keystore": "a.p12"}, "A keystore serves REST alone"),
        ({"inference_address": "https://127.0.0.1:1"}, "name no certificate"),
        ({"enable_grpc_ssl": "true"}, "name no certificate"),
        ({"certificate_file": "no.pem", "private_key_file": "key.pem"}, "There is no certificate"),
    ],
)
@pytest.mark.usefixtures("tls")
def test_half_of_it_is_refused(tmp_path: Path, base: dict[str, str], message: str) -> None:
    with pytest.raises(CommandError, match=message):
        find_tls(base, None, None, tmp_path)


def test_a_key_that_others_may_read_is_refused(tls: Tls) -> None:
    tls.key.chmod(0o640)
    with pytest.raises(CommandError, match=r"may be read by others \(mode 640\)") as caught:
        Tls(tls.certificate, tls.key)
    assert "chmod 600" in caught.value.remedy
    tls.key.chmod(0o600)
    check_private(tls.key)


def test_archives_come_from_the_model_store_alone_and_workflows_from_nowhere(tmp_path: Path) -> None:
    workflows = tmp_path / "workflows"
    for base in (SHIPPED, {}):  # without the setting TorchServe itself takes every address
        assert loading_properties(base, workflows) == {"allowed_urls": "none", "workflow_store": str(workflows)}
    one_host = {"allowed_urls": r"https://models\.example/.*"}
    assert loading_properties(one_host, workflows)["allowed_urls"] == one_host["allowed_urls"]


@pytest.mark.parametrize("allowed", [".*", "https?://.*", "file://.*", r"https://models\.example/.*,s3://.*", "("])
def test_settings_that_let_archives_come_from_anywhere_are_refused(tmp_path: Path, allowed: str) -> None:
    with pytest.raises(CommandError, match="allowed_urls") as caught:
        loading_properties({"allowed_urls": allowed}, tmp_path)
    assert "none" in caught.value.remedy


@pytest.mark.parametrize(
    ("host", "expected"),
    [("127.0.0.1", True), ("127.9.9.9", True), ("::1", True), ("localhost", True), ("", False), ("0.0.0.0", False)],  # noqa: S104
)
def test_what_only_this_machine_reaches(host: str, expected: bool) -> None:
    assert is_loopback(host) is expected
