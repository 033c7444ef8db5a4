"""The answer to a chunk of a stream: an answer like any other, with what is final in it marked, and the state."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from handler.answer_text import render_values
from handler.options import AnswerFormat
from handler.response import (
    CONTENT_TYPES,
    Prediction,
    Response,
    prediction_values,
    render_prediction,
    rounded,
    segment_values,
    window_values,
)
from handler.rolling.decision import Decided


@dataclass(frozen=True, kw_only=True)
class ChunkPrediction(Prediction):
    """One chunk's answer, before it is put into a format.

    Its schedule is that of the stream as far as it is known, its activities are of the stream so far, its segments
    those that this chunk made final and the provisional ones.
    """

    final_until_seconds: float
    """What lies before is final."""
    gap_seconds: float
    """Between the last chunk and this one; 0 where there is none."""
    labels: tuple[str, ...]
    final: Decided
    """What this chunk made final."""
    provisional: Decided
    """What the rest would be if the stream ended now; empty after its end."""
    with_windows: bool
    state: str | None
    """The token; None after the stream's end."""


def render_any(prediction: Prediction, answer_format: AnswerFormat) -> Response:
    """Put a prediction of a whole clip, or of a chunk, into the format that its request asked for.

    Raises:
        ValueError: as the one or the other.
    """
    if isinstance(prediction, ChunkPrediction):
        return render_chunk(prediction, answer_format)
    return render_prediction(prediction, answer_format)


def render_chunk(prediction: ChunkPrediction, answer_format: AnswerFormat) -> Response:
    """Put a chunk's answer into JSON or NDJSON, whose header has the state.

    Raises:
        ValueError: a score is not finite, which JSON cannot say.
    """
    body = render_values(_values(prediction), answer_format)
    return Response(200, "OK", CONTENT_TYPES[answer_format], body)


def _values(prediction: ChunkPrediction) -> dict[str, Any]:
    """The JSON answer: the keys of every answer, then those of streams."""
    parts = ((prediction.final, True), (prediction.provisional, False))
    values = prediction_values(prediction)
    values["segments"] = [
        {**segment_values(segment), "final": final} for decided, final in parts for segment in decided.segments
    ]
    if prediction.with_windows:
        values["windows"] = [
            {**window, "final": final}
            for decided, final in parts
            for window in window_values(
                decided.windows.spans, prediction.labels, decided.windows.scores, decided.windows.smoothed
            )
        ]
    values["stream"] = {
        "clock_seconds": rounded(prediction.schedule.span.stop_seconds),
        "final_until_seconds": rounded(prediction.final_until_seconds),
    }
    if prediction.gap_seconds:
        values["stream"]["gap_seconds"] = rounded(prediction.gap_seconds)
    if prediction.state is not None:
        values["state"] = prediction.state
    return values
