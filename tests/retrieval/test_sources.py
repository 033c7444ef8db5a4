"""Which files are found, with which words, and what tells that one has changed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from retrieval.sources import build_single_source, find_sources

MODALITIES = ("video", "audio", "text")


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"content")


def test_media_below_a_folder(tmp_path: Path) -> None:
    touch(tmp_path, "b.MP4", "a/c.wav", "a/d.mkv", "notes.txt", "photo.jpg", ".hidden.mp4", ".git/e.mp4", "a/f")
    assert [source.name for source in find_sources(tmp_path, MODALITIES)] == ["b.MP4", "a/c.wav", "a/d.mkv"]
    assert [source.name for source in find_sources(tmp_path, ("image",))] == ["photo.jpg"]
    assert [source.name for source in find_sources(tmp_path, ("video",))] == ["b.MP4", "a/d.mkv"]
    (photo,) = find_sources(tmp_path, ("image",))
    assert list(photo.files) == ["image"]
    assert find_sources(tmp_path / "nothing", MODALITIES) == []


def test_links_to_folders_are_not_followed(tmp_path: Path) -> None:
    touch(tmp_path, "a/c.wav")
    (tmp_path / "a" / "loop").symlink_to(tmp_path)
    assert [source.name for source in find_sources(tmp_path, MODALITIES)] == ["a/c.wav"]


def test_a_pipe_is_not_waited_for_and_a_link_to_nothing_is_listed(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.mp4")
    (tmp_path / "gone.mp4").symlink_to(tmp_path / "nowhere")
    assert [source.name for source in find_sources(tmp_path, ["video"])] == ["gone.mp4"]


def test_words_stand_beside_a_file(tmp_path: Path) -> None:
    touch(tmp_path, "a.mp4", "a.srt", "a.vtt", "b.mp4", "b.txt", "c.mp4")
    found = {source.name: source.files.get("text") for source in find_sources(tmp_path, MODALITIES)}
    assert found == {"a.mp4": tmp_path / "a.vtt", "b.mp4": tmp_path / "b.txt", "c.mp4": None}
    assert all("text" not in source.files for source in find_sources(tmp_path, ("video",)))
    assert dict(build_single_source(tmp_path / "b.mp4", MODALITIES).files) == {
        "video": tmp_path / "b.mp4",
        "text": tmp_path / "b.txt",
    }


@pytest.mark.parametrize("changed", ["a.mp4", "a.vtt"])
def test_the_stamp_changes_with_any_of_the_files(tmp_path: Path, changed: str) -> None:
    touch(tmp_path, "a.mp4", "a.vtt")
    (source,) = find_sources(tmp_path, MODALITIES)
    before = source.stamp()
    assert source.stamp() == before
    os.utime(tmp_path / changed, ns=(1, 1))
    assert source.stamp() != before


def test_odd_names(tmp_path: Path) -> None:
    name = os.fsdecode(b"not utf8 \xff 'quoted\".wav")
    touch(tmp_path, name)
    (source,) = find_sources(tmp_path, MODALITIES)
    assert source.name == name
    assert source.read().video == b"content"
    assert source.stamp()
