from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from cli.errors import CommandError, NotRunning
from cli.ports import Ports
from cli.record import ServerRecord, Tokens, require_record, resolve_run_dir


def build_record(run_dir: Path, *, token_authorization: bool = True) -> ServerRecord:
    return ServerRecord(
        run_dir=str(run_dir),
        temp_folder="/tmp/activity-test",  # noqa: S108 - a name, nothing is written there
        pid=4_000_000,
        began_ticks=1,
        model="activity",
        archive="activity.mar",
        workers=2,
        ports=Ports(1, 2, 3, 4, 5),
        token_authorization=token_authorization,
    )


def test_a_record_comes_back_as_it_was_written(tmp_path: Path) -> None:
    record = build_record(tmp_path)
    record.write()
    assert ServerRecord.read(tmp_path) == record
    assert require_record(tmp_path) == record
    assert [path.name for path in tmp_path.iterdir()] == ["server.json"]


def test_addresses_are_loopback_with_their_ports(tmp_path: Path) -> None:
    record = build_record(tmp_path)
    assert record.inference_url == "http://127.0.0.1:1"
    assert record.management_url == "http://127.0.0.1:2"
    assert record.metrics_url == "http://127.0.0.1:3/metrics"
    assert record.grpc_target == "127.0.0.1:4"
    assert record.grpc_management_target == "127.0.0.1:5"


def test_no_record_is_said_with_what_to_do(tmp_path: Path) -> None:
    assert ServerRecord.read(tmp_path) is None
    with pytest.raises(NotRunning, match="No server was started from") as caught:
        require_record(tmp_path)
    assert "activity serve" in caught.value.remedy


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"ports": {}}', '{"ports": {"nonsense": 1}}'])
def test_a_file_that_is_no_record_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "server.json").write_text(content)
    with pytest.raises(CommandError, match="is no record of a server"):
        ServerRecord.read(tmp_path)


def test_a_copy_of_a_run_folder_is_not_taken_for_it(tmp_path: Path) -> None:
    first, copied, link = tmp_path / "first", tmp_path / "copied", tmp_path / "link"
    first.mkdir()
    record = build_record(first)
    record.write()
    shutil.copytree(first, copied)
    link.symlink_to(first)
    with pytest.raises(CommandError, match="of a server of another folder"):
        ServerRecord.read(copied)
    assert ServerRecord.read(link) == record


def test_a_run_folder_that_is_none_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(CommandError, match="file cannot be used as a run folder: Not a directory") as caught:
        ServerRecord.read(tmp_path / "file")
    assert "--run-dir" in caught.value.remedy


def test_tokens_are_read_from_the_key_file(tmp_path: Path) -> None:
    keys = {"inference": {"key": "i"}, "management": {"key": "m"}, "API": {"key": "a"}}
    (tmp_path / "key_file.json").write_text(json.dumps(keys))
    assert build_record(tmp_path).tokens() == Tokens("i", "m")
    assert build_record(tmp_path, token_authorization=False).tokens() == Tokens(None, None)


@pytest.mark.parametrize("content", [None, "", "{}"])
def test_a_key_file_that_is_not_there_yet_is_an_error(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "key_file.json").write_text(content)
    with pytest.raises(CommandError, match="key file"):
        build_record(tmp_path).tokens()


def test_the_run_folder_is_given_or_from_the_environment_or_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ACTIVITY_RUN_DIR", raising=False)
    assert resolve_run_dir(None) == tmp_path / ".activity"
    monkeypatch.setenv("ACTIVITY_RUN_DIR", "elsewhere")
    assert resolve_run_dir(None) == tmp_path / "elsewhere"
    assert resolve_run_dir(Path("given")) == tmp_path / "given"
