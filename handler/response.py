"""Response: a prediction or an error becomes the bytes, the status and the content type that a client gets.

The same prediction gives the same bytes: keys stand in one order, scores and seconds are rounded to six decimals, and
nothing of the moment (cost, time) is in the body unless the request asked for it.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from handler.answer_text import encode_json as encode_json  # noqa: PLC0414 - of every answer that is made here
from handler.answer_text import encode_line as encode_line  # noqa: PLC0414 - of those that come in parts
from handler.answer_text import render_ndjson, render_srt, render_vtt
from handler.clip import Cue, ModalityStatus
from handler.errors import ActivityError
from handler.explain.explanation import Explanation, explanation_values
from handler.options import AnswerFormat
from handler.segments import Activity, Segment
from handler.windows import Schedule, Span, WindowSelection
from models.config import MODALITIES, Modality

CONTENT_TYPES: dict[AnswerFormat, str] = {
    "json": "application/json",
    "ndjson": "application/x-ndjson",
    "vtt": "text/vtt; charset=utf-8",
    "srt": "application/x-subrip; charset=utf-8",
}
_DECIMALS = 6


@dataclass(frozen=True)
class WindowScores:
    """The extra ``windows``: every window's scores before and after smoothing."""

    windows: WindowSelection
    labels: tuple[str, ...]
    """K labels."""
    scores: NDArray[np.float64]
    """``(W, K)`` in [0, 1], as the model gives them."""
    smoothed: NDArray[np.float64]
    """``(W, K)`` in [0, 1]."""

    def __post_init__(self) -> None:
        expected = (len(self.windows), len(self.labels))
        if self.scores.shape != expected or self.smoothed.shape != expected:
            raise ValueError(f"scores must be {expected}, got {self.scores.shape} and {self.smoothed.shape}")


@dataclass(frozen=True)
class Prediction:
    """One request's answer, before it is put into a format."""

    model_name: str
    model_version: str
    schedule: Schedule
    modalities: Mapping[Modality, ModalityStatus]
    activities: tuple[Activity, ...]
    """Best first."""
    segments: tuple[Segment, ...]
    """In the order of their starts."""
    windows: WindowScores | None = None
    embedding: NDArray[np.floating] | None = None
    """``(D,)`` float, the clip's embedding."""
    timing: Mapping[str, float] | None = None
    """Seconds by stage."""
    transcript: tuple[Cue, ...] | None = None
    """The words that were heard in the sound."""
    explanation: Explanation | None = None


@dataclass(frozen=True)
class Response:
    """What a client gets."""

    status: int
    """HTTP status."""
    phrase: str
    """HTTP reason phrase."""
    content_type: str
    body: bytes
    code: str = "ok"
    """``ok``, or the code of the error that it says; for the log and the metrics."""
    rest: Generator[bytes, None, str] | None = None
    """What follows the body, in pieces as they become ready; returns the code that ``code`` becomes by it."""


def render_prediction(prediction: Prediction, answer_format: AnswerFormat) -> Response:
    """Put a prediction into the format that the request asked for.

    ``vtt`` is WebVTT (W3C), ``srt`` is SubRip: a cue for each segment with its label and score. Neither has times
    before zero, so a segment is cut there, and one that ends there has no cue. ``ndjson`` has the values of ``json``,
    one object a line whose ``type`` comes first: the header, then a line for each window (the extra), then one for
    each segment.

    Raises:
        ValueError: a score is not finite, which JSON cannot say.
    """
    if answer_format == "json":
        body = encode_json(prediction_values(prediction))
    elif answer_format == "ndjson":
        body = render_ndjson(prediction_values(prediction))
    elif answer_format == "vtt":
        body = render_vtt(prediction.segments)
    else:
        body = render_srt(prediction.segments)
    return Response(200, "OK", CONTENT_TYPES[answer_format], body)


def render_error(error: ActivityError) -> Response:
    """Put an error into JSON, whichever format was asked for; the status also stands in the body, as gRPC has none."""
    return Response(error.status, error.phrase, CONTENT_TYPES["json"], encode_json(error.body), error.code)


def prediction_values(prediction: Prediction) -> dict[str, Any]:
    """The JSON answer, keys in their documented order."""
    span = prediction.schedule.span
    values: dict[str, Any] = {
        "status": 200,
        "model": {"name": prediction.model_name, "version": prediction.model_version},
        "start_seconds": rounded(span.start_seconds),
        "duration_seconds": rounded(span.duration_seconds),
        "modalities": modality_values(prediction.modalities),
        "activities": activity_values(prediction.activities),
        "segments": [segment_values(segment) for segment in prediction.segments],
    }
    extra = prediction.windows
    if extra is not None:
        spans = [extra.windows.window_span(position) for position in range(len(extra.windows))]
        values["windows"] = window_values(spans, extra.labels, extra.scores, extra.smoothed)
    values |= extra_values(prediction.embedding, prediction.timing, prediction.transcript)
    if prediction.explanation is not None:
        values["explanation"] = explanation_values(prediction.explanation)
    return values


def segment_values(segment: Segment) -> dict[str, Any]:
    """A segment as it stands in the answer."""
    values: dict[str, Any] = {
        "start_seconds": rounded(segment.start_seconds),
        "stop_seconds": rounded(segment.stop_seconds),
        "label": segment.label,
        "score": rounded(segment.score),
    }
    return values if segment.description is None else {**values, "description": segment.description}


def activity_values(activities: Sequence[Activity]) -> list[dict[str, Any]]:
    """The activities as they stand in the answer."""
    return [{"label": item.label, "score": rounded(item.score)} for item in activities]


def modality_values(modalities: Mapping[Modality, ModalityStatus]) -> dict[str, Any]:
    """The statuses of the modalities as they stand in the answer."""
    return {name: _status_values(modalities[name]) for name in sorted(modalities, key=_place)}


def window_values(
    spans: Sequence[Span], labels: Sequence[str], scores: NDArray[np.float64], smoothed: NDArray[np.float64]
) -> list[dict[str, Any]]:
    """Windows as they stand in the answer: W spans, K labels, scores ``(W, K)`` before and after smoothing."""
    return [
        {
            "start_seconds": rounded(span.start_seconds),
            "stop_seconds": rounded(span.stop_seconds),
            "scores": _labelled(labels, before),
            "smoothed": _labelled(labels, after),
        }
        for span, before, after in zip(spans, scores, smoothed, strict=True)
    ]


def extra_values(
    embedding: NDArray[np.floating] | None, timing: Mapping[str, float] | None, transcript: Sequence[Cue] | None
) -> dict[str, Any]:
    """Those of these extras that there are, as they stand in the answer."""
    values: dict[str, Any] = {}
    if embedding is not None:
        values["embedding"] = [rounded(value) for value in embedding.tolist()]
    if timing is not None:
        values["timing"] = {stage: rounded(seconds) for stage, seconds in timing.items()}
    if transcript is not None:
        values["transcript"] = [
            {"start_seconds": rounded(cue.start_seconds), "stop_seconds": rounded(cue.stop_seconds), "text": cue.text}
            for cue in transcript
        ]
    return values


def rounded(value: float) -> float:
    """A score or a time as it stands in the answer."""
    return round(float(value), _DECIMALS) + 0.0  # minus zero becomes zero


def _place(modality: Modality) -> int:
    """The built-in modalities come first, in their order; the sequences of vectors after them, as they came."""
    return MODALITIES.index(modality) if modality in MODALITIES else len(MODALITIES)


def _status_values(status: ModalityStatus) -> dict[str, Any]:
    values = {"used": status.used, "code": status.code, "reason": status.reason}
    return {key: value for key, value in values.items() if value is not None}


def _labelled(labels: Sequence[str], scores: NDArray[np.float64]) -> dict[str, float]:
    return dict(zip(labels, map(rounded, scores.tolist()), strict=True))
