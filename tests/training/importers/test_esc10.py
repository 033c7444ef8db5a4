from __future__ import annotations

from pathlib import Path

import pytest

from training.importers.esc10 import import_esc10
from training.manifest import ManifestError, read_manifest

ROWS = ("dog_bark/1-100032-A.ogg,dog_bark,1", "dog_bark/2-122104-A.ogg,dog_bark,2", "rain/2-122104-B.ogg,rain,2")


def publish(folder: Path, *rows: str, table: str = "esc10.csv", header: str = "audio,label,fold") -> Path:
    (folder / table).parent.mkdir(parents=True, exist_ok=True)
    (folder / table).write_text("\n".join((header, *rows)) + "\n", encoding="utf-8")
    below = folder / "audio" if table.startswith("meta") else folder
    for row in rows:
        path = below / row.split(",")[0]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(path.name.encode())
    return folder


def test_takes_of_one_clip_are_a_group_and_folds_are_the_published_ones(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    manifest = import_esc10(
        publish(tmp_path / "in", *ROWS), tmp_path / "out", lambda done, total: seen.append((done, total))
    )
    entries = read_manifest(manifest)
    assert [(entry.name, entry.label, entry.group, entry.fold) for entry in entries] == [
        ("1-100032-A.ogg", "dog_bark", "100032", 1),
        ("2-122104-A.ogg", "dog_bark", "122104", 2),
        ("2-122104-B.ogg", "rain", "122104", 2),
    ]
    assert [entry.audio.read_bytes() for entry in entries if entry.audio] == [
        b"1-100032-A.ogg",
        b"2-122104-A.ogg",
        b"2-122104-B.ogg",
    ]
    assert seen == [(1, 3), (2, 3), (3, 3)]


def test_of_esc50_only_the_ten_are_taken_under_their_names(tmp_path: Path) -> None:
    folder = publish(
        tmp_path / "in",
        "1-100032-A-0.wav,1,0,dog,True,100032,A",
        "1-100038-A-14.wav,1,14,chirping_birds,False,100038,A",
        "5-9032-A-20.wav,5,20,crying_baby,True,9032,A",
        table="meta/esc50.csv",
        header="filename,fold,target,category,esc10,src_file,take",
    )
    entries = read_manifest(import_esc10(folder, tmp_path / "out"))
    assert [(entry.label, entry.fold) for entry in entries] == [("dog_bark", 1), ("baby_cry", 5)]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("rain/noise.ogg,rain,1", "line 2: 'noise.ogg' is not named FOLD-CLIP-TAKE"),
        ("rain/1-100-A.ogg,rain,2", "line 2: fold is '2', and '1-100-A.ogg' is of fold 1"),
        ("rain/1-100-A.ogg,,1", "line 2: the label is empty"),
    ],
)
def test_a_faulty_row_is_named(tmp_path: Path, row: str, message: str) -> None:
    with pytest.raises(ManifestError, match=message):
        import_esc10(publish(tmp_path, row), tmp_path / "out")


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match=r"neither esc10\.csv nor meta/esc50\.csv"):
        import_esc10(tmp_path, tmp_path / "out")
    folder = publish(tmp_path, "1-100-A.ogg,rain,1")
    (folder / "1-100-A.ogg").unlink()
    with pytest.raises(ManifestError, match=r"there is no file .*1-100-A\.ogg"):
        import_esc10(folder, tmp_path / "out")
    with pytest.raises(ManifestError, match=r"esc10\.csv has no column fold"):
        import_esc10(publish(tmp_path, "1-100-A.ogg,rain", header="audio,label"), tmp_path / "out")
    with pytest.raises(ManifestError, match="no recording of ESC-10 is listed"):
        import_esc10(publish(tmp_path), tmp_path / "out")
