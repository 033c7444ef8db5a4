"""The canary: a request that an archive carries with its answer, asked of a server before the server counts as up.

``/ping`` says Healthy long before a worker is ready and while every worker is dead; only a prediction that comes back
right says that the whole path works.
"""

from __future__ import annotations

import json
import math
import operator
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
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
    "options": "options.json",
}
"""The file of each part; a table and sequences of vectors have their own names, and are CSV."""
OPTIONS = "options"

SCORE_TOLERANCE = 0.02
"""Another processor adds in another order, or computes in bfloat16; a wrong path is off by far more."""
STEEP_SCORE_TOLERANCE = 0.25
"""The same where scores are cosines times a hundred, as CLIP's are; what is compared closely is the embedding."""
SMALLEST_COSINE = 0.98
"""Of the embeddings of one clip on two processors."""


@dataclass(frozen=True)
class Canary:
    """One request and its answer."""

    parts: Mapping[str, bytes]
    """What is sent, by the part's name."""
    expected: dict[str, Any]
    """The answer's body as it was in the process that built the archive."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """The options of the request."""

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
    with zipfile.ZipFile(archive) as mar:
        paths = [PurePosixPath(name) for name in mar.namelist() if PurePosixPath(name).parent.name == FOLDER]
        return _of_files({path.name: mar.read(str(path)) for path in paths if len(path.parts) == 2})


def read_unpacked_canary(folder: Path) -> Canary | None:
    """The canary of an archive that a server has unpacked, or None when it carries none."""
    return _of_files({path.name: path.read_bytes() for path in sorted((folder / FOLDER).glob("*")) if path.is_file()})


def _of_files(files: dict[str, bytes]) -> Canary | None:
    part_of = {name: part for part, name in FILE_NAMES.items()}
    expected = files.pop(EXPECTED_NAME, None)
    if expected is None or not files:
        return None
    parts = {part_of.get(name, PurePosixPath(name).stem): content for name, content in files.items()}
    options = json.loads(parts.pop(OPTIONS, b"{}"))
    return Canary(parts, json.loads(expected), options)


def file_name(part: str) -> str:
    """The name of a part's file in the archive's folder ``canary``."""
    return FILE_NAMES.get(part, f"{part}.csv")


def compare_predictions(expected: Mapping[str, Any], found: Mapping[str, Any]) -> str | None:
    """What differs between two predictions beyond the rounding of another processor, or None.

    Where the expected one has an embedding, this decides, and the scores need only be alike.
    """
    wanted = {activity["label"]: activity["score"] for activity in expected["activities"]}
    scores = {activity["label"]: activity["score"] for activity in found["activities"]}
    if "embedding" in expected:
        cosine = _cosine(expected["embedding"], found["embedding"])
        if cosine < SMALLEST_COSINE:
            return f"the embedding is another: its cosine with the expected one is {cosine:.3f}"
        return _compare_scores(wanted, scores, STEEP_SCORE_TOLERANCE)
    if wanted and max(wanted, key=wanted.__getitem__) != max(scores, key=scores.__getitem__, default=None):
        return f"the best label is not the expected one: expected {wanted}, got {scores}"
    fault = _compare_scores(wanted, scores, SCORE_TOLERANCE)
    if fault is not None:
        return fault
    runs = [[segment["label"] for segment in prediction["segments"]] for prediction in (expected, found)]
    if runs[0] != runs[1]:
        return f"the segments are {runs[1]}, expected {runs[0]}"
    return None


def _compare_scores(wanted: Mapping[str, float], scores: Mapping[str, float], tolerance: float) -> str | None:
    for label in sorted(wanted.keys() & scores.keys()):
        if abs(wanted[label] - scores[label]) > tolerance:
            return f"the score of {label} is {scores[label]}, expected {wanted[label]}"
    return None


def _cosine(one: Sequence[float], other: Sequence[float]) -> float:
    """The cosine of two embeddings; 0 where one of them has no length."""
    lengths = math.hypot(*one) * math.hypot(*other)
    return sum(map(operator.mul, one, other)) / lengths if lengths else 0.0
