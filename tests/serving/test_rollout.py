"""Another version answers while requests come in; one that is wrong never does."""

from __future__ import annotations

import json
import threading
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from typer.testing import CliRunner

from benchmarks.scaling import Load, canary_of, ways_to
from cli.app import app
from cli.archive_check import MANIFEST, digest_of, sum_path, write_sum
from cli.canary import EXPECTED_NAME
from cli.destination import Destination
from cli.front import Front
from cli.readiness import build_management
from cli.record import ServerRecord, require_record
from cli.versions import ROLLOUT_NAME
from client.management import ManagementClient
from tests.serving.test_ready import wait_for

pytestmark = pytest.mark.server


@pytest.fixture
def management(server: ServerRecord) -> Iterator[ManagementClient]:
    """Afterwards the server is as it was."""
    with build_management(server) as client:
        yield client
        client.scale("activity", workers=1, version="1.0")
        client.set_default("activity", "1.0")
        for version in client.describe("activity", "all"):
            if version.version != "1.0":
                client.unregister("activity", version.version)
    server.write()
    (Path(server.run_dir) / ROLLOUT_NAME).unlink(missing_ok=True)


def run(server: ServerRecord, *arguments: str) -> str:
    result = CliRunner().invoke(app, [*arguments, "--run-dir", server.run_dir])
    assert result.exit_code == 0, (result.output, result.exception)
    return result.stdout


def workers_of(management: ManagementClient) -> dict[str, int]:
    return {version.version: len(version.workers) for version in management.describe("activity", "all")}


def default_of(management: ManagementClient) -> str:
    return management.describe("activity")[0].version


def change(archive: Path, target: Path, version: str, replaced: Mapping[str, str | bytes]) -> Path:
    """The same archive as another version, with other files in place of some."""
    with zipfile.ZipFile(archive) as source, zipfile.ZipFile(target, "w") as mar:
        contents = {name: source.read(name) for name in source.namelist()}
        values = json.loads(contents[MANIFEST])
        values["model"]["modelVersion"] = version
        changed = {MANIFEST: json.dumps(values), **replaced}
        assert changed.keys() <= contents.keys()
        for name, content in {**contents, **changed}.items():
            mar.writestr(name, content)
    write_sum(target, digest_of(target))
    return target


def forget(archive: Path) -> None:
    for path in (archive, sum_path(archive)):
        path.unlink()


@contextmanager
def always_ready(front: Front) -> Iterator[None]:
    """The front says that the server is ready all the time that the block lasts."""
    ended, faults = threading.Event(), set[str]()

    def look() -> None:
        while not ended.wait(0.1):
            answer = httpx.get(f"{front.rest_url}/ready", trust_env=False)
            if answer.status_code != 200:
                faults.add(answer.text)

    looking = threading.Thread(target=look)
    looking.start()
    try:
        yield
    finally:
        ended.set()
        looking.join()
    assert faults == set()


def test_there_and_back_under_load(
    server: ServerRecord, front: Front, management: ManagementClient, model_store: Path
) -> None:
    canary = canary_of(server)
    with Load(ways_to(server, canary, front.rest_url, front.grpc_target), canary) as load:
        run(server, "rollout", str(model_store / "activity-2.mar"))
        assert default_of(management) == "2.0"
        assert workers_of(management) == {"1.0": 0, "2.0": 1}
        assert require_record(Path(server.run_dir)).archive == str(model_store / "activity-2.mar")
        run(server, "rollback", "--keep-warm")
        assert default_of(management) == "1.0"
        assert workers_of(management) == {"1.0": 1, "2.0": 1}
        assert require_record(Path(server.run_dir)).archive == server.archive
    wait_for(front, ready=True, seconds=60)
    with always_ready(front):
        run(server, "rollback")
    assert default_of(management) == "2.0"
    assert {name: outcomes.failures for name, outcomes in load.outcomes.items()} == {name: {} for name in load.outcomes}
    assert load.different_answers == 2  # an answer says which version it is of


def test_a_version_whose_canary_is_wrong_never_answers_and_is_gone_again(
    server: ServerRecord, management: ManagementClient, model_store: Path, tmp_path: Path
) -> None:
    expected = {**canary_of(server).expected, "activities": [{"label": "walk", "score": 1.0}]}
    wrong = change(
        model_store / "activity.mar", tmp_path / "wrong.mar", "3.0", {f"canary/{EXPECTED_NAME}": json.dumps(expected)}
    )
    result = CliRunner().invoke(app, ["rollout", str(wrong), "--run-dir", server.run_dir])
    assert result.exit_code == 1
    assert "The canary came back wrong: the best label is not the expected one" in str(result.exception)
    assert workers_of(management) == {"1.0": 1}
    assert Destination.of_record(server).ask({"text": b"hi"}, {}).json()["model"]["version"] == "1.0"
    rollback = CliRunner().invoke(app, ["rollback", "--run-dir", server.run_dir])
    assert rollback.exit_code == 1
    assert "has had no roll-out" in str(rollback.exception)
    forget(model_store / "wrong.mar")


def test_a_version_that_does_not_load_is_gone_again(
    server: ServerRecord, management: ManagementClient, model_store: Path, tmp_path: Path
) -> None:
    code = {"handler/__init__.py": "import nonsense_of_this_test"}
    broken = change(model_store / "activity.mar", tmp_path / "broken.mar", "4.0", code)
    result = CliRunner().invoke(app, ["rollout", str(broken), "--run-dir", server.run_dir])
    assert result.exit_code == 1
    assert "nonsense_of_this_test" in str(result.exception)
    assert workers_of(management) == {"1.0": 1}
    forget(model_store / "broken.mar")


def test_a_version_that_is_there_already_is_refused(server: ServerRecord, model_store: Path) -> None:
    command = ["rollout", str(model_store / "activity.mar"), "--run-dir", server.run_dir]
    assert "has version 1.0 already" in str(CliRunner().invoke(app, command).exception)
