"""The dataset's list: what is written comes back, and what is wrong is named by line and key."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from training.manifest import (
    DatasetRecord,
    LabelledSegment,
    ManifestEntry,
    ManifestError,
    read_ceilings,
    read_manifest,
    write_dataset_record,
    write_manifest,
)

SEGMENT = {"start_seconds": 0.0, "stop_seconds": 2.5, "label": "a"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with the files that the lines below name."""
    for name in ("one.mp4", "one.vtt", "one.wav"):
        (tmp_path / name).write_bytes(b"x")
    return tmp_path


def write_lines(folder: Path, *lines: Any) -> Path:
    path = folder / "manifest.jsonl"
    path.write_text("".join((x if isinstance(x, str) else json.dumps(x)) + "\n" for x in lines), encoding="utf-8")
    return path


def test_what_is_written_is_read(folder: Path) -> None:
    segments = (LabelledSegment(0.25, 4.5, "wave"), LabelledSegment(4.5, 9.0, "bounce"))
    entries = [
        ManifestEntry(folder / "one.mp4", folder / "one.vtt", folder / "one.wav", segments, "val"),
        ManifestEntry(folder / "one.mp4", None, None, segments[:1]),
    ]
    path = folder / "manifest.jsonl"
    write_manifest(path, entries)

    assert read_manifest(path) == entries
    first, second = (json.loads(line) for line in path.read_text(encoding="utf-8").splitlines())
    assert first == {
        "clip": "one.mp4",
        "text": "one.vtt",
        "audio": "one.wav",
        "segments": [
            {"start_seconds": 0.25, "stop_seconds": 4.5, "label": "wave"},
            {"start_seconds": 4.5, "stop_seconds": 9.0, "label": "bounce"},
        ],
        "split": "val",
    }
    assert list(second) == ["clip", "segments"]
    assert [file.name for file in folder.iterdir() if "manifest" in file.name] == ["manifest.jsonl"]


def test_every_key_is_written_and_read(folder: Path) -> None:
    entry = ManifestEntry(
        None,
        None,
        folder / "one.wav",
        (),
        "test",
        image=folder / "one.mp4",
        tabular=folder / "one.vtt",
        depth=folder / "one.mp4",
        vectors={"imu": folder / "one.vtt"},
        label="dog",
        group="speaker 1",
        fold=3,
    )
    path = folder / "manifest.jsonl"
    write_manifest(path, [entry])
    assert read_manifest(path) == [entry]
    assert json.loads(path.read_text(encoding="utf-8")) == {
        "audio": "one.wav",
        "image": "one.mp4",
        "tabular": "one.vtt",
        "depth": "one.mp4",
        "vectors": {"imu": "one.vtt"},
        "label": "dog",
        "split": "test",
        "group": "speaker 1",
        "fold": 3,
    }
    assert (entry.name, entry.labels) == ("one.wav", ("dog",))
    assert list(entry.files) == ["audio", "image", "tabular", "depth", "imu"]


def test_a_file_outside_the_folder_cannot_be_listed(folder: Path) -> None:
    entry = ManifestEntry(folder.parent / "other.mp4", None, None, (LabelledSegment(0, 1, "a"),))
    with pytest.raises(ValueError, match=r"other\.mp4"):
        write_manifest(folder / "manifest.jsonl", [entry])


def test_blank_lines_are_skipped_and_counted(folder: Path) -> None:
    path = write_lines(folder, "", {"clip": "one.mp4", "segments": [SEGMENT]}, " ", "{")
    with pytest.raises(ManifestError, match=r"^manifest\.jsonl line 4: not JSON"):
        read_manifest(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"clip": None, "text": None}, r"line 2: no file is named: give at least one of clip, text"),
        ({"clip": ""}, r"line 2: 'clip' is ''"),
        ({"clip": "two.mp4"}, r"line 2: 'clip' is 'two\.mp4', and there is no such file"),
        ({"text": "two.vtt"}, r"line 2: 'text' is 'two\.vtt', and there is no such file"),
        ({"vtt": "one.vtt"}, r"line 2: unknown key 'vtt' \(known keys: audio, clip, depth, .*, vectors\)"),
        ({"split": "dev"}, r"line 2: 'split' is 'dev': input should be 'train', 'val' or 'test'"),
        ({"segments": []}, r"line 2: 'segments' is \[\]"),
        ({"segments": [{**SEGMENT, "stop_seconds": "2"}]}, r"line 2: 'segments\.0\.stop_seconds' is '2'"),
        ({"segments": [{**SEGMENT, "start_seconds": float("nan")}]}, r"line 2: 'segments\.0\.start_seconds' is nan"),
        ({"segments": [{"start_seconds": 0, "label": "a"}]}, r"line 2: missing key 'segments\.0\.stop_seconds'"),
        ({"segments": [SEGMENT, {**SEGMENT, "score": 1}]}, r"line 2: unknown key 'segments\.1\.score' \(known keys"),
        ({"segments": [{**SEGMENT, "stop_seconds": 0.0}]}, r"line 2: 'segments\.0' .*must be above start_seconds 0\.0"),
        (
            {"segments": [SEGMENT, SEGMENT]},
            r"line 2: segments\.1 starts at 0\.0, before segments\.0 of the same label stops at 2\.5",
        ),
        (
            {"segments": [SEGMENT, {**SEGMENT, "start_seconds": 1.0, "label": "b"}, {**SEGMENT, "start_seconds": 2.0}]},
            r"line 2: segments\.2 starts at 2\.0, before segments\.0 of the same label stops at 2\.5",
        ),
        (
            {"segments": [{**SEGMENT, "start_seconds": 1.0}, {**SEGMENT, "label": "b"}]},
            r"line 2: segments\.1 starts at 0\.0, segments\.0 later: list them in the order of their starts",
        ),
    ],
)
def test_a_fault_is_named_by_line_and_key(folder: Path, change: dict[str, Any], message: str) -> None:
    good = {"clip": "one.mp4", "text": "one.vtt", "segments": [SEGMENT], "split": "train"}
    path = write_lines(folder, good, {**good, **change})
    with pytest.raises(ManifestError, match=message):
        read_manifest(path)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("[1]", r"line 1: expected an object with the files' keys, got list"),
        ({"segments": [SEGMENT]}, r"line 1: no file is named: give at least one of clip, text"),
        ({"clip": "one.mp4"}, r"line 1: give either 'segments' or, for the whole clip, 'label'"),
        ({"clip": "one.mp4", "label": "a", "segments": [SEGMENT]}, r"line 1: give either 'segments' or"),
        ({"audio": "one.wav", "label": "a", "vectors": {"imu": "x"}}, r"line 1: 'vectors.imu' is 'x', and there is"),
        ({"audio": "one.wav", "label": "a", "fold": "1"}, r"line 1: 'fold' is '1'"),
        ({"audio": "one.wav", "label": "a", "vectors": {"audio": "one.mp4"}}, r"line 1: vectors cannot be named audio"),
        ({"audio": "a" * 5000, "label": "a"}, r"line 1: 'audio' is 'aaa"),
        ("[" * 100_000, r"line 1: not JSON: nested too deeply"),
        ('{"fold": ' + "1" * 5000 + "}", r"line 1: not JSON: a number has too many digits"),
        ("", r"manifest\.jsonl: no clip is listed"),
    ],
)
def test_a_line_that_is_no_clip(folder: Path, line: Any, message: str) -> None:
    with pytest.raises(ManifestError, match=message):
        read_manifest(write_lines(folder, line))


def test_activities_of_different_labels_may_overlap(folder: Path) -> None:
    segments = [SEGMENT, {**SEGMENT, "label": "b"}, {**SEGMENT, "start_seconds": 2.5, "stop_seconds": 3.0}]
    (entry,) = read_manifest(write_lines(folder, {"clip": "one.mp4", "segments": segments}))
    assert entry.segments == (
        LabelledSegment(0.0, 2.5, "a"),
        LabelledSegment(0.0, 2.5, "b"),
        LabelledSegment(2.5, 3.0, "a"),
    )


def test_ceilings_are_found_in_any_order_of_the_modalities(tmp_path: Path) -> None:
    manifest = tmp_path / "manifest.jsonl"
    assert read_ceilings(manifest) is None
    write_dataset_record(
        manifest, DatasetRecord(generator="hand", seed=0, clips=1, ceilings={"video": 0.3, "video+text": 0.7})
    )
    ceilings = read_ceilings(manifest)
    assert ceilings is not None
    assert ceilings(["video"]) == 0.3
    assert ceilings(["text", "video"]) == ceilings(["video", "text"]) == 0.7
    assert ceilings(["audio"]) is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", r"^dataset\.json: not JSON"),
        ("[]", r"^dataset\.json: expected an object with the key 'generator', got list"),
        ('{"generator": "x", "seed": 0}', r"^dataset\.json: missing key 'clips'"),
        (
            '{"generator": "x", "seed": 0, "clips": 1, "ceilings": {"video": 25}}',
            r"^dataset\.json: 'ceilings\.video' is 25",
        ),
    ],
)
def test_a_record_that_cannot_be_used(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "dataset.json").write_text(text, encoding="utf-8")
    with pytest.raises(ManifestError, match=message):
        read_ceilings(tmp_path / "manifest.jsonl")
