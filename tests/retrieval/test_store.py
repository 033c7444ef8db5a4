"""The store: files whole or not at all, odd names, one writer, broken files."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from retrieval.errors import IndexUnusable
from retrieval.store import STORE_FILE, EmbeddedWindow, Moment, open_store

VIDEO, AUDIO = ("own", "video"), ("own", "audio")
ODD = ["a 'quoted\" name.mp4", "ünïcödé/日本.mp4", os.fsdecode(b"not utf8 \xff.mp4"), "line\nbreak.mp4"]


def window(start: float, **values: float) -> EmbeddedWindow:
    vectors = {("own", name): np.full(3, value, dtype=np.float32) for name, value in values.items()}
    return EmbeddedWindow(start, start + 2.0, vectors)


def test_files_and_their_windows(tmp_path: Path) -> None:
    with open_store(tmp_path, write=True) as store:
        for place, name in enumerate(ODD):
            store.replace_file(name, f"stamp {place}", [window(0.0, video=place), window(0.5, video=place, audio=1)])
        store.replace_file("bad.mp4", "stamp", [], "it is no video")
    with open_store(tmp_path) as store:
        assert store.stamps() == {name: f"stamp {place}" for place, name in enumerate(ODD)} | {"bad.mp4": "stamp"}
        assert store.failures() == {"bad.mp4": "it is no video"}
        assert store.channels() == {AUDIO: 4, VIDEO: 8}
        numbers, vectors = store.vectors(VIDEO)
        assert vectors[:, 0].tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
        assert vectors.dtype == np.float32
        assert [store.moments()[number] for number in numbers[:2].tolist()] == [
            Moment(ODD[0], 0.0, 2.0),
            Moment(ODD[0], 0.5, 2.5),
        ]
        assert set(store.windows_of(AUDIO).tolist()) <= set(numbers.tolist())


def test_a_file_replaces_itself_and_can_be_dropped(tmp_path: Path) -> None:
    with open_store(tmp_path, write=True) as store:
        store.replace_file("a", "1", [window(0.0, video=1)])
        store.replace_file("b", "1", [window(0.0, video=2)])
        generation = store.generation
        store.replace_file("a", "2", [window(0.0, audio=3), window(1.0, audio=4)])
        assert store.generation == generation + 1
        assert store.channels() == {AUDIO: 2, VIDEO: 1}
        assert store.stamps() == {"a": "2", "b": "1"}
        store.drop_files(["a"])
        store.drop_files([])
        assert store.generation == generation + 2
        assert store.channels() == {VIDEO: 1}
        assert len(store.moments()) == 1


def test_a_file_that_cannot_be_written_whole_leaves_what_was_there(tmp_path: Path) -> None:
    with open_store(tmp_path, write=True) as store:
        store.replace_file("a", "1", [window(0.0, video=1)])
        broken = EmbeddedWindow(0.0, 1.0, {("own", "video"): None})  # type: ignore[dict-item]
        with pytest.raises(AttributeError):
            store.replace_file("a", "2", [window(0.0, video=2), broken])
        assert store.stamps() == {"a": "1"}
        assert store.vectors(VIDEO)[1].tolist() == [[1, 1, 1]]


def test_one_process_writes_and_no_other_reads_meanwhile(tmp_path: Path) -> None:
    with open_store(tmp_path, write=True):
        pass
    with open_store(tmp_path, write=True):  # before anything is written
        for write in (True, False):
            with (
                pytest.raises(IndexUnusable, match="is being written by another process"),
                open_store(tmp_path, write=write),
            ):
                pass


def test_a_folder_without_a_store_is_no_index(tmp_path: Path) -> None:
    with pytest.raises(IndexUnusable, match="is no index: it has no index") as error, open_store(tmp_path):
        pass
    assert error.value.remedy == "Make one with `activity index`."


@pytest.mark.parametrize("fault", ["noise", "cut", "zeros"])
def test_a_broken_store_is_said_to_be_broken(tmp_path: Path, fault: str) -> None:
    with open_store(tmp_path, write=True) as store:
        for place in range(50):
            store.replace_file(f"file {place}", "1", [window(0.0, video=1)])
    path = tmp_path / STORE_FILE
    whole = path.read_bytes()
    path.write_bytes({"noise": b"no database" * 1000, "cut": whole[:5000], "zeros": bytes(9000)}[fault])
    with pytest.raises(IndexUnusable, match="sqlite3 is broken"), open_store(tmp_path) as store:
        store.moments()


def test_another_format_is_refused(tmp_path: Path) -> None:
    with open_store(tmp_path, write=True) as store:
        store.write_meta({"format": "99"})
    with pytest.raises(IndexUnusable, match="is an index of format 99, this program reads 1"), open_store(tmp_path):
        pass
