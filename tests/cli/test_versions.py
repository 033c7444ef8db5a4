from __future__ import annotations

import json
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from cli.archive_check import MANIFEST, digest_of, write_sum
from cli.errors import CommandError
from cli.properties import write_properties
from cli.versions import Rollout, Switch, _put_into_store, read_version, roll_back, roll_out
from tests.cli.test_record import build_record

SWITCH = Switch(timeout_seconds=1, quiet_seconds=0)


def write_archive(path: Path, version: str) -> Path:
    path.parent.mkdir(exist_ok=True)
    with zipfile.ZipFile(path, "w") as mar:
        mar.writestr(MANIFEST, json.dumps({"model": {"modelVersion": version}}))
    write_sum(path, digest_of(path))
    return path


def put(archive: Path, store: Path, version: str) -> str:
    return _put_into_store(archive, store, version, digest_of(archive))


def test_an_archive_says_its_version(tmp_path: Path) -> None:
    assert read_version(write_archive(tmp_path / "a.mar", "2.1")) == "2.1"
    (tmp_path / "b.mar").write_text("no archive")
    with pytest.raises(CommandError, match=r"b\.mar is no archive"):
        read_version(tmp_path / "b.mar")


def test_a_server_that_takes_no_archives_says_how_to_start_one_that_does(tmp_path: Path) -> None:
    write_properties(tmp_path / "config.properties", {"enable_model_api": "false"})
    with pytest.raises(CommandError, match="takes no further archives") as caught:
        roll_out(build_record(tmp_path), write_archive(tmp_path / "a.mar", "2.0"), SWITCH)
    assert "activity serve --enable-model-api" in caught.value.remedy


def test_an_archive_comes_into_the_model_store(tmp_path: Path) -> None:
    store = tmp_path / "store"
    inside = write_archive(store / "a.mar", "1.0")
    assert put(inside, store, "1.0") == "a.mar"
    other = write_archive(tmp_path / "elsewhere" / "b.mar", "2.0")
    for _ in range(2):
        assert put(other, store, "2.0") == "b.mar"
    assert (store / "b.mar").read_bytes() == other.read_bytes()
    # The one that is served keeps its file, whatever another one is called.
    before = inside.read_bytes()
    same_name = write_archive(tmp_path / "elsewhere" / "a.mar", "3.0")
    assert put(same_name, store, "3.0") == "a-3.0.mar"
    assert inside.read_bytes() == before
    (store / "a-4.0.mar").touch()
    with pytest.raises(CommandError, match="Another file"):
        put(write_archive(same_name, "4.0"), store, "4.0")
    archives = ["a-3.0.mar", "a.mar", "b.mar"]
    assert sorted(path.name for path in store.glob("*.mar")) == [archives[0], "a-4.0.mar", *archives[1:]]
    # A copy can be served again: its digest came along.
    assert sorted(path.name for path in store.glob("*.sha256")) == [f"{name}.sha256" for name in archives]


def test_the_way_back_is_of_one_server(tmp_path: Path) -> None:
    record = build_record(tmp_path)
    assert Rollout.read(record) is None
    last = Rollout(record.pid, record.began_ticks, "1.0", "/store/a.mar")
    last.write(tmp_path)
    assert Rollout.read(record) == last
    started_anew = replace(record, began_ticks=record.began_ticks + 1)
    assert Rollout.read(started_anew) is None
    with pytest.raises(CommandError, match="has had no roll-out"):
        roll_back(started_anew, SWITCH)


def test_an_archive_that_was_changed_is_not_rolled_out(tmp_path: Path) -> None:
    write_properties(tmp_path / "config.properties", {"enable_model_api": "true"})
    changed = write_archive(tmp_path / "a.mar", "2.0")
    with zipfile.ZipFile(changed, "a") as mar:
        mar.writestr("activity_handler.py", "import os")
    with pytest.raises(CommandError, match="is not the archive that was packaged"):
        roll_out(build_record(tmp_path), changed, SWITCH)
    # By the digest that its maker tells it goes further: to the server, of which there is none.
    with pytest.raises(CommandError, match="The server's key file"):
        roll_out(build_record(tmp_path), changed, SWITCH, sha256=digest_of(changed))
