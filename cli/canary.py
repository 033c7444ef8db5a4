"""The canary: a request that an archive carries with its answer, asked of a server before the server counts as up.

``/ping`` says Healthy long before a worker is ready and while every worker is dead; only a prediction that comes back
right says that the whole path works.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from client.answer import Answer

FOLDER = "canary"
EXPECTED_NAME = "expected.json"
FILE_NAMES = {
    "video": "clip.mp4",
    "text": "words.vtt",
    "image": "image.png",
    "tabular": "tabular.csv",
    "depth": "depth.mp4",
}
"""The file of each part; a table and sequences of vectors have their own names, and are CSV."""

SCORE_TOLERANCE = 0.02
"""Another processor adds in another order, or computes in bfloat16; a wrong path is off by far more."""


@dataclass(frozen=True)
class Canary:
    """One request and its answer."""

    parts: Mapping[str, bytes]
    """What is sent, by the part's name."""
    expected: dict[str, Any]
    """The answer's body as it was in the process that built the archive."""

    def find_fault(self, answer: Answer) -> str | None:
        """What is wrong with an answer to this canary, or None."""
        if not answer.ok:
            return f"status {answer.status}: {answer.body[:500].decode('utf-8', 'replace')}"
        try:
            return compare_predictions(self.expected, answer.json())
        except (ValueError, KeyError, TypeError) as exc:
            return f"the answer is no prediction ({type(exc).__name__})"


def read_canary(archive: Path) -> Canary | None:
    """The canary of a ``.mar`` file, or None when it carries none."""
    part_of = {name: part for part, name in FILE_NAMES.items()}
    with zipfile.ZipFile(archive) as mar:
        paths = [PurePosixPath(name) for name in mar.namelist() if PurePosixPath(name).parent.name == FOLDER]
        files = {path.name: mar.read(str(path)) for path in paths if len(path.parts) == 2}
    expected = files.pop(EXPECTED_NAME, None)
    if expected is None or not files:
        return None
    parts = {part_of.get(name, PurePosixPath(name).stem): content for name, content in files.items()}
    return Canary(parts, json.loads(expected))


def file_name(part: str) -> str:
    """The name of a part's file in the archive's folder ``canary``."""
    return FILE_NAMES.get(part, f"{part}.csv")


def compare_predictions(expected: Mapping[str, Any], found: Mapping[str, Any]) -> str | None:
    """What differs between two predictions beyond the rounding of another processor, or None."""
    wanted = {activity["label"]: activity["score"] for activity in expected["activities"]}
    scores = {activity["label"]: activity["score"] for activity in found["activities"]}
    if wanted and max(wanted, key=wanted.__getitem__) != max(scores, key=scores.__getitem__, default=None):
        return f"the best label is not the expected one: expected {wanted}, got {scores}"
    for label in sorted(wanted.keys() & scores.keys()):
        if abs(wanted[label] - scores[label]) > SCORE_TOLERANCE:
            return f"the score of {label} is {scores[label]}, expected {wanted[label]}"
    runs = [[segment["label"] for segment in prediction["segments"]] for prediction in (expected, found)]
    if runs[0] != runs[1]:
        return f"the segments are {runs[1]}, expected {runs[0]}"
    return None
