from __future__ import annotations

import json
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from cli.errors import CommandError
from cli.properties import write_properties
from cli.versions import MANIFEST, Rollout, Switch, _put_into_store, read_version, roll_back, roll_out
from tests.cli.test_record import build_record

SWITCH = Switch(timeout_seconds=1, quiet_seconds=0)


def write_archive(path: Path, version: str) -> Path:
    path.parent.mkdir(exist_ok=True)
    with zipfile.ZipFile(path, "w") as mar:
        mar.writestr(MANIFEST, json.dumps({"model": {"modelVersion": version}}))
    return path


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
    assert _put_into_store(inside, store, "1.0") == "a.mar"
    other = write_archive(tmp_path / "elsewhere" / "b.mar", "2.0")
    for _ in range(2):
        assert _put_into_store(other, store, "2.0") == "b.mar"
    assert (store / "b.mar").read_bytes() == other.read_bytes()
    # The one that is served keeps its file, whatever another one is called.
    before = inside.read_bytes()
    same_name = write_archive(tmp_path / "elsewhere" / "a.mar", "3.0")
    assert _put_into_store(same_name, store, "3.0") == "a-3.0.mar"
    assert inside.read_bytes() == before
    (store / "a-4.0.mar").touch()
    with pytest.raises(CommandError, match="Another file"):
        _put_into_store(write_archive(same_name, "4.0"), store, "4.0")
    assert sorted(path.name for path in store.iterdir()) == ["a-3.0.mar", "a-4.0.mar", "a.mar", "b.mar"]


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
