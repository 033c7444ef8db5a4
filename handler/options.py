"""A request's options: parsed from JSON, validated, and resolved against the model that answers."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import Field, model_validator

from handler.errors import InvalidOptions, LimitExceeded
from handler.label_choice import ByModality, LabelChoice, Labels, TemplatesBySpace, choose_labels
from handler.limits import Limits
from handler.stream.options import ChunkOptions
from handler.strict_json import JsonError, json_kind, parse_json
from models.config import ModelConfig, WindowConfig
from models.settings import Settings, SettingsError
from models.zero_shot_config import clean_label

Extra = Literal["windows", "embedding", "timing", "transcript", "descriptions", "explanation"]
AnswerFormat = Literal["json", "ndjson", "vtt", "srt"]
WHOLE_EXTRAS: frozenset[Extra] = frozenset({"explanation", "descriptions"})
"""Extras that are made of the whole clip at once."""

REMEDY = 'Send options as one JSON object, for example {"top_k": 3, "format": "vtt"}.'
_STRIDE_TOLERANCE = 1e-9
_LABELS_SHOWN = 20
_FAULTS_SHOWN_CHARACTERS = 1_000

_T = TypeVar("_T")
_Number = Annotated[float, Field(strict=True, allow_inf_nan=False)]
_Labels = tuple[Annotated[str, Field(strict=True)], ...]


class RequestOptions(Settings):
    """What a request may choose; None means the model's own choice (:class:`models.config.DecisionConfig`)."""

    top_k: Annotated[int, Field(strict=True, ge=1, le=1000)] | None = None
    """How many activities of the whole clip are listed."""
    threshold: Annotated[_Number, Field(ge=0.0, le=1.0)] | None = None
    """Smoothed score from which a window belongs to a segment."""
    stride_seconds: Annotated[_Number, Field(gt=0.0)] | None = None
    """Time between two windows of the answer: a whole multiple of the model's stride, at most a window's length."""
    smoothing_windows: Annotated[int, Field(strict=True, ge=1, le=101)] | None = None
    """Windows of the answer that one smoothed score is the mean of."""
    lookahead_windows: Annotated[int, Field(strict=True, ge=0, le=100)] | None = None
    """How many of these lie ahead; 0 is causal."""
    min_segment_seconds: Annotated[_Number, Field(ge=0.0, le=3600.0)] | None = None
    """Shorter segments are dropped."""
    labels: Labels | None = None
    """What is told apart, of a model whose labels are the request's choice; by default the archive's own."""
    templates: TemplatesBySpace | None = None
    """Sentences with ``{}`` for the label, whose embeddings are averaged: a list, or an object with one a space."""
    weights: ByModality | None = None
    """Of each modality's scores in their mean; those of modalities that are not named stay the model's."""
    include_labels: _Labels | None = None
    """Only these labels may be answered."""
    exclude_labels: _Labels | None = None
    """These labels are not answered."""
    transcribe: Annotated[bool, Field(strict=True)] | None = None
    """Take the words from the sound; false: a text ``auto`` is that word, and no request for it."""
    extras: tuple[Extra, ...] = ()
    """Further parts of the answer; of these only ``descriptions`` has a place in VTT and SRT."""
    format: AnswerFormat = "json"
    """Of the answer; an error is JSON in any case."""
    stream: Annotated[bool, Field(strict=True)] = False
    """Send the answer line by line while the recording is being read (:mod:`handler.recordings.answer`)."""
    chunk: ChunkOptions | None = None
    """The request is the next piece of a stream whose state the client keeps (:mod:`handler.stream.session`)."""

    @model_validator(mode="after")
    def _streamable(self) -> Self:
        whole = [extra for extra in self.extras if extra in WHOLE_EXTRAS]
        if self.stream and whole:
            raise ValueError(f"extras {', '.join(whole)} need the whole recording, stream sends it piece by piece")
        if self.stream and self.chunk is not None:
            raise ValueError("stream is for a whole recording, chunk for a piece of one: send either")
        if self.stream and self.format not in ("json", "ndjson"):
            raise ValueError(f"stream sends lines of JSON, not {self.format}")
        return self

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        smoothing, lookahead = self.smoothing_windows, self.lookahead_windows
        if smoothing is not None and lookahead is not None and lookahead >= smoothing:
            raise ValueError(f"lookahead_windows {lookahead} must be below smoothing_windows {smoothing}")
        json_only = [extra for extra in self.extras if extra != "descriptions"]
        if json_only and self.format not in ("json", "ndjson"):
            raise ValueError(f"extras {', '.join(json_only)} need format json or ndjson, got {self.format}")
        return self


@dataclass(frozen=True)
class ResolvedOptions:
    """A request's options with the model's choices filled in."""

    labels: tuple[str, ...]
    """The K labels that are told apart, in the order of the scores."""
    choice: LabelChoice | None
    """What a model whose labels are the request's choice is asked; None where the labels are the model's."""
    top_k: int
    threshold: float
    stride_windows: int
    """Every how many of the schedule's windows one is kept, at least 1."""
    smoothing_windows: int
    lookahead_windows: int
    min_segment_seconds: float
    allowed: tuple[bool, ...]
    """For each label whether it may be answered; at least one True."""
    extras: frozenset[Extra]
    format: AnswerFormat


def parse_options(raw: str | bytes | Mapping[str, Any] | None, limits: Limits) -> RequestOptions:
    """Read the options part.

    Args:
        raw: one JSON object as text or parsed; None and blank text mean no options.
        limits: ``max_options_bytes`` holds for the object as JSON.

    Raises:
        InvalidOptions: an unknown option (the message names the known ones), a value of the wrong kind or out of
            range, or no JSON object at all.
        LimitExceeded: more than ``max_options_bytes``.
    """
    if raw is None:
        return RequestOptions()
    try:
        text = json.dumps(raw, allow_nan=False) if isinstance(raw, Mapping) else raw
    except (ValueError, TypeError, RecursionError) as exc:
        raise InvalidOptions("options: not a plain JSON object", remedy=REMEDY) from exc
    num_bytes = len(text) if isinstance(text, bytes) else len(text.encode("utf-8", "surrogatepass"))
    if num_bytes > limits.max_options_bytes:
        raise LimitExceeded(
            "options", f"options: {num_bytes} bytes, at most {limits.max_options_bytes} are allowed", remedy=REMEDY
        )
    if not text.strip():
        return RequestOptions()
    return _read(text)


def with_explanation(options: RequestOptions) -> RequestOptions:
    """The options of a request whose address asks for an explanation.

    Raises:
        InvalidOptions: they ask for a format that has no place for it.
    """
    try:
        extras = tuple(dict.fromkeys((*options.extras, "explanation")))
        return RequestOptions.read({**options.model_dump(exclude_unset=True), "extras": extras}, source="options")
    except SettingsError as exc:
        raise InvalidOptions(str(exc)[:_FAULTS_SHOWN_CHARACTERS], remedy='Leave out "format", or send "json".') from exc


def resolve_options(options: RequestOptions, config: ModelConfig) -> ResolvedOptions:
    """Fill in the model's choices and check what only the model knows: labels and strides.

    Raises:
        InvalidOptions: an unknown label, no label left, a stride the model does not have, a lookahead that does not
            fit the smoothing, labels for a model that has its own.
    """
    decision = config.decision
    labels, choice = choose_labels(options.labels, options.templates, options.weights, config)
    smoothing, lookahead = _resolve_smoothing(options, config)
    return ResolvedOptions(
        labels=labels,
        choice=choice,
        top_k=_given(options.top_k, decision.top_k),
        threshold=_given(options.threshold, decision.threshold),
        stride_windows=_stride_windows(options.stride_seconds, config.windows),
        smoothing_windows=smoothing,
        lookahead_windows=lookahead,
        min_segment_seconds=_given(options.min_segment_seconds, decision.min_segment_seconds),
        allowed=_allowed_labels(options, labels, cleaned=choice is not None),
        extras=frozenset(options.extras),
        format=options.format,
    )


def _read(text: str | bytes) -> RequestOptions:
    try:
        values = parse_json(text)
        if values is None:  # as where the server has parsed it
            return RequestOptions()
        if not isinstance(values, dict):
            raise InvalidOptions(f"options: expected a JSON object, got {json_kind(values)}", remedy=REMEDY)
        return RequestOptions.read(values, source="options")
    except JsonError as exc:
        raise InvalidOptions(f"options: {exc}", remedy=REMEDY) from exc
    except SettingsError as exc:
        raise InvalidOptions(str(exc)[:_FAULTS_SHOWN_CHARACTERS], remedy=REMEDY) from exc
    except RecursionError as exc:  # deep enough to parse and too deep to show
        raise InvalidOptions("options: nested too deeply", remedy=REMEDY) from exc


def _given(chosen: _T | None, default: _T) -> _T:
    return default if chosen is None else chosen


def _resolve_smoothing(options: RequestOptions, config: ModelConfig) -> tuple[int, int]:
    smoothing = _given(options.smoothing_windows, config.decision.smoothing_windows)
    lookahead = _given(options.lookahead_windows, config.decision.lookahead_windows)
    if lookahead < smoothing:
        return smoothing, lookahead
    if options.lookahead_windows is None:
        return smoothing, (smoothing - 1) // 2  # the model's lookahead does not fit: centred
    raise InvalidOptions(
        f"options: lookahead_windows {lookahead} must be below the model's smoothing_windows {smoothing}",
        remedy=f"Send at most {smoothing - 1}, or more smoothing_windows with it.",
    )


def _stride_windows(stride_seconds: float | None, windows: WindowConfig) -> int:
    if stride_seconds is None:
        return 1
    ratio = stride_seconds / windows.stride_seconds
    stride_windows = round(min(ratio, windows.hops + 1))
    if 1 <= stride_windows <= windows.hops and abs(ratio - stride_windows) <= _STRIDE_TOLERANCE:
        return stride_windows
    raise InvalidOptions(
        f"options: stride_seconds {stride_seconds:g} must be a whole multiple of {windows.stride_seconds:g}, "
        f"at most {windows.window_seconds:g}",
        remedy=f"Leave it out, or send {windows.stride_seconds:g} times 1 to {windows.hops}.",
    )


def _allowed_labels(options: RequestOptions, labels: Sequence[str], *, cleaned: bool) -> tuple[bool, ...]:
    """Which labels may be answered; ``cleaned`` ones are found however the request has spaced and composed them."""
    include = labels if options.include_labels is None else _written(options.include_labels, cleaned=cleaned)
    exclude = _written(options.exclude_labels or (), cleaned=cleaned)
    unknown = [label for label in (*include, *exclude) if label not in labels]
    if unknown:
        raise InvalidOptions(
            f"options: unknown label {unknown[0][:60]!r} (known labels: {_shown(labels)})",
            remedy="Use the labels as they are written there.",
        )
    allowed = tuple(label in include and label not in exclude for label in labels)
    if not any(allowed):
        raise InvalidOptions(
            f"options: include_labels and exclude_labels leave no label (known labels: {_shown(labels)})",
            remedy="Include at least one label that is not excluded.",
        )
    return allowed


def _written(labels: Sequence[str], *, cleaned: bool) -> tuple[str, ...]:
    try:
        return tuple(map(clean_label, labels)) if cleaned else tuple(labels)
    except ValueError:  # then none of the labels is meant, which the caller says
        return tuple(labels)


def _shown(labels: Sequence[str]) -> str:
    more = len(labels) - _LABELS_SHOWN
    return ", ".join(labels[:_LABELS_SHOWN]) + (f" and {more} more" if more > 0 else "")
