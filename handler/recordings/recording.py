"""A recording decoded, encoded and scored piece by piece, in memory that does not grow with its length.

What is kept of a piece that has been scored is the scores of its windows, the tokens of less than a window and, for the
embedding, a sum. A clip of one piece is decoded as a whole.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from handler.clip import Clip
from handler.errors import ActivityError
from handler.inference import ScoredWindows, Scorer
from handler.label_choice import LabelChoice
from handler.recordings.pieces import ClipPiece, ModalityFailed, Pieces
from handler.rolling.scorer import RollingScorer
from models.config import Modality

Result = TypeVar("Result")
Failed = dict[Modality, ActivityError]
OpenPieces = Callable[[Failed], Pieces]
"""Opens a recording, without the modalities that have failed."""


@dataclass(frozen=True)
class ReadClip:
    """A clip that is decoded and, where it has several pieces, scored."""

    clip: Clip
    """Of a recording of several pieces its schedule, statuses and transcript alone."""
    scored: ScoredWindows | None = None
    """Of such a recording: the scores of its windows, and one row that is the mean of their embeddings."""
    model_seconds: float = 0.0
    """How long the scoring took."""


def decode_anew(open_pieces: OpenPieces, use: Callable[[Pieces], Result]) -> Result:
    """Open a recording and use its pieces; where a modality fails among them, begin anew without it.

    Raises:
        ActivityError: nothing can be used, and what ``use`` raises.
    """

    def attempt(failed: Failed) -> Result:
        with open_pieces(failed) as pieces:
            return use(pieces)

    return repeat_without_failed(attempt)


def repeat_without_failed(attempt: Callable[[Failed], Result]) -> Result:
    """Attempt something without the modalities that have failed, until none fails.

    Raises:
        ActivityError: what ``attempt`` raises, or a modality fails although it is left out.
    """
    failed: Failed = {}
    while True:
        try:
            return attempt(failed)
        except ModalityFailed as failure:
            if failure.modality in failed:
                raise failure.error from failure
            failed[failure.modality] = failure.error


def read_clip(pieces: Pieces, scorer: Scorer, choice: LabelChoice | None) -> ReadClip:
    """Decode a clip of one piece; score one of several as they come.

    Args:
        pieces: of the clip.
        scorer: the model's.
        choice: labels, where these are the request's choice.

    Raises:
        ModalityFailed: begin anew without that one.
        ActivityError: nothing can be used.
    """
    first = next(pieces.pieces)
    if first.clip.schedule.num_hops == pieces.schedule.num_hops:
        return ReadClip(first.clip)
    clip = Clip(schedule=pieces.schedule, modalities=pieces.modalities, transcript=pieces.transcript)
    rolling = RollingScorer(scorer, choice, window_hops=pieces.schedule.window_hops, whole_batches=True)
    scores: list[NDArray[np.float64]] = []
    total = EmbeddingSum()
    seconds = 0.0
    rest = chain((first,), pieces.pieces)
    del first  # else it would stay as long as the recording lasts
    for scored, spent in score_pieces(rolling, rest):
        scores.append(scored.scores)
        total.add(scored.embeddings)
        seconds += spent
    return ReadClip(clip, ScoredWindows(np.concatenate(scores), total.mean()[None]), seconds)


def score_pieces(rolling: RollingScorer, pieces: Iterator[ClipPiece]) -> Iterator[tuple[ScoredWindows, float]]:
    """Score the windows that each piece completes, then those that are left, with the seconds that each took."""
    for piece in pieces:
        started = time.perf_counter()
        scored = rolling.push(piece.clip)
        yield scored, time.perf_counter() - started
    started = time.perf_counter()
    scored = rolling.finish()
    yield scored, time.perf_counter() - started


class EmbeddingSum:
    """The mean over windows that come piece by piece: to the bit what ``embeddings.mean(axis=0)`` is of all."""

    def __init__(self) -> None:
        self._total: NDArray[np.float32] | None = None
        self._count = 0

    def add(self, embeddings: NDArray[np.float32]) -> None:
        """Add W windows, ``(W, E)`` float32; W may be 0."""
        rows = embeddings if self._total is None else np.concatenate((self._total[None], embeddings))
        if len(rows):
            self._total = rows.sum(axis=0)  # row after row, as numpy adds up the whole
        self._count += len(embeddings)

    def mean(self) -> NDArray[np.float32]:
        """``(E,)`` float32.

        Raises:
            ValueError: no window came.
        """
        if self._total is None:
            raise ValueError("no window was added")
        mean: NDArray[np.float32] = self._total / np.float32(self._count)
        return mean
