"""ESC-10: 400 recordings of ten environmental sounds in five published folds (Piczak 2015, ACM Multimedia).

Two layouts of its folder are known: a table ``esc10.csv`` with the columns ``audio`` (a file below the folder),
``label`` and ``fold``; and that of ESC-50, ``meta/esc50.csv`` with ``filename`` (below ``audio``), ``category``,
``fold`` and ``esc10``, of which the rows of ESC-10 are taken, under the names of the first table. A recording is named
``FOLD-CLIP-TAKE``: takes of one clip of Freesound are a group, which no split may tear apart.
"""

from __future__ import annotations

import csv
import re
import shutil
from collections.abc import Callable
from pathlib import Path

from training.manifest import ManifestEntry, ManifestError, write_manifest

MANIFEST_NAME = "manifest.jsonl"
TABLE, ESC50_TABLE = "esc10.csv", "meta/esc50.csv"
COLUMNS = {TABLE: ("audio", "label", "fold"), ESC50_TABLE: ("filename", "category", "fold")}
ESC50_LABELS = {
    "dog": "dog_bark",
    "crying_baby": "baby_cry",
    "sneezing": "person_sneeze",
    "crackling_fire": "fire_crackling",
}
"""Of ESC-50, to those of ESC-10 where they differ."""
_NAME = re.compile(r"(?P<fold>\d+)-(?P<clip>\d+)-[A-Z]\b")


def import_esc10(folder: Path, output: Path, progress: Callable[[int, int], None] | None = None) -> Path:
    """Copy the recordings and write their manifest.

    Args:
        folder: the dataset as it was published.
        output: folder for ``audio`` and ``manifest.jsonl``; made where it is missing.
        progress: called with the recordings copied and all of them.

    Returns:
        The manifest.

    Raises:
        ManifestError: when there is no table, or a row of it cannot be used.
    """
    rows = _read_rows(folder)
    audio = output / "audio"
    audio.mkdir(parents=True, exist_ok=True)
    entries = []
    for number, (source, label, fold, row) in enumerate(rows, start=1):
        entries.append(_entry(source, label, fold, row, audio))
        shutil.copyfile(source, audio / source.name)
        if progress is not None:
            progress(number, len(rows))
    manifest = output / MANIFEST_NAME
    write_manifest(manifest, entries)
    return manifest


def _read_rows(folder: Path) -> list[tuple[Path, str, str, str]]:
    """File, label, fold, and what messages call the row."""
    name = next((name for name in COLUMNS if (folder / name).is_file()), None)
    if name is None:
        raise ManifestError(f"{folder} is no ESC-10: it has neither {TABLE} nor {ESC50_TABLE}")
    columns = COLUMNS[name]
    below = folder / "audio" if name == ESC50_TABLE else folder
    with (folder / name).open(encoding="utf-8", newline="") as file:
        table = csv.DictReader(file)
        missing = [column for column in columns if column not in (table.fieldnames or ())]
        if missing:
            raise ManifestError(f"{name} has no column {', '.join(missing)}")
        rows = [
            (
                below / row[columns[0]],
                ESC50_LABELS.get(row[columns[1]], row[columns[1]]),
                row[columns[2]],
                f"{name} line {table.line_num}",
            )
            for row in table
            if row.get("esc10", "True") == "True"
        ]
    if not rows:
        raise ManifestError(f"{name}: no recording of ESC-10 is listed")
    return rows


def _entry(source: Path, label: str, fold: str, row: str, audio: Path) -> ManifestEntry:
    named = _NAME.match(source.name)
    if named is None:
        raise ManifestError(f"{row}: {source.name!r} is not named FOLD-CLIP-TAKE")
    if fold != named["fold"]:
        raise ManifestError(f"{row}: fold is {fold!r}, and {source.name!r} is of fold {named['fold']}")
    if not label:
        raise ManifestError(f"{row}: the label is empty")
    if not source.is_file():
        raise ManifestError(f"{row}: there is no file {source}")
    return ManifestEntry(
        clip=None,
        text=None,
        audio=audio / source.name,
        segments=(),
        label=label,
        group=named["clip"],
        fold=int(fold),
    )
