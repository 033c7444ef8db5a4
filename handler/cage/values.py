"""What a worker and a decode child give each other, as values that :mod:`handler.cage.wire` carries, and back."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from handler.clip import Clip, Cue, ModalityStatus, Waveform, Words
from handler.errors import ActivityError, error_of_values
from handler.options import RequestOptions
from handler.request import ActivityRequest
from handler.stream.chunk import DecodedChunk
from handler.stream.state import StreamState
from handler.windows import Schedule, Span
from models.config import MODALITIES, Modality

Values = dict[str, Any]

_ARRAYS = ("frames", "samples", "image", "depth")


def request_values(request: ActivityRequest) -> Values:
    """What of a request is decoded."""
    parts = {name: getattr(request, name) for name in MODALITIES}
    return {"parts": {name: _plain(it) for name, it in parts.items()}, "vectors": _plain_all(request.vectors)}


def request_of(values: Values) -> ActivityRequest:
    """What :func:`request_values` gave; its options are the default ones."""
    return ActivityRequest(**values["parts"], vectors=values["vectors"], options=RequestOptions())


def _plain(content: Any) -> Any:
    if isinstance(content, Mapping | list):
        return _as_text(content)
    return bytes(content) if isinstance(content, bytearray | memoryview) else content


def _as_text(table: Any) -> bytes:
    """A table that the server has parsed, as text again.

    The child bounds it before it parses it, and refuses what is no table for what it is.
    """
    try:
        return json.dumps(table, separators=(",", ":")).encode("ascii")
    except RecursionError:
        return b"[" * 10_000  # nested as deeply as that is


def _plain_all(contents: Mapping[Modality, Any]) -> Values:
    return {name: _plain(content) for name, content in contents.items()}


def errors_values(errors: Mapping[Modality, ActivityError]) -> Values:
    """Errors by modality."""
    return {name: error.values for name, error in errors.items()}


def errors_of(values: Values) -> dict[Modality, ActivityError]:
    """What :func:`errors_values` gave."""
    return {name: error_of_values(each) for name, each in values.items()}


def schedule_values(schedule: Schedule) -> Values:
    """A schedule."""
    return asdict(schedule)


def schedule_of(values: Values) -> Schedule:
    """What :func:`schedule_values` gave."""
    return Schedule(**{**values, "span": Span(**values["span"])})


def statuses_values(statuses: Mapping[Modality, ModalityStatus]) -> Values:
    """Statuses by modality."""
    return {name: asdict(status) for name, status in statuses.items()}


def statuses_of(values: Values) -> dict[Modality, ModalityStatus]:
    """What :func:`statuses_values` gave."""
    return {name: ModalityStatus(**status) for name, status in values.items()}


def cues_values(cues: tuple[Cue, ...] | None) -> list[list[Any]] | None:
    """Cues, where there are any."""
    return None if cues is None else [[cue.start_seconds, cue.stop_seconds, cue.text] for cue in cues]


def cues_of(values: list[list[Any]] | None) -> tuple[Cue, ...] | None:
    """What :func:`cues_values` gave."""
    return None if values is None else tuple(Cue(*each) for each in values)


def clip_values(clip: Clip) -> Values:
    """A clip."""
    return {
        "schedule": schedule_values(clip.schedule),
        "modalities": statuses_values(clip.modalities),
        "texts": None if clip.texts is None else _texts_values(clip.texts),
        "row": None if clip.row is None else dict(clip.row),
        "vectors": dict(clip.vectors),
        "masks": dict(clip.masks),
        "transcript": cues_values(clip.transcript),
        **{name: getattr(clip, name) for name in _ARRAYS},
    }


def _texts_values(texts: Sequence[str]) -> Values:
    """The words of each hop, each text once: without times the same long one stands on all of them."""
    places = {text: place for place, text in enumerate(dict.fromkeys(texts))}
    return {"different": list(places), "places": [places[text] for text in texts]}


def clip_of(values: Values) -> Clip:
    """What :func:`clip_values` gave."""
    texts = values["texts"]
    return Clip(
        **{
            **values,
            "schedule": schedule_of(values["schedule"]),
            "modalities": statuses_of(values["modalities"]),
            "texts": None if texts is None else tuple(texts["different"][place] for place in texts["places"]),
            "transcript": cues_of(values["transcript"]),
        }
    )


def chunk_values(decoded: DecodedChunk) -> Values:
    """What a stream's chunk came to."""
    return {
        "clip": None if decoded.clip is None else clip_values(decoded.clip),
        "state": decoded.state.values(),
        "gap_seconds": decoded.gap_seconds,
    }


def chunk_of(values: Values) -> DecodedChunk:
    """What :func:`chunk_values` gave."""
    clip = values["clip"]
    state = StreamState.of_values(values["state"])
    return DecodedChunk(None if clip is None else clip_of(clip), state, values["gap_seconds"])


def waveform_values(waveform: Waveform) -> Values:
    """A sound."""
    return {
        "samples": waveform.samples,
        "sample_rate": waveform.sample_rate,
        "start_seconds": waveform.start_seconds,
    }


def waveform_of(values: Values) -> Waveform:
    """What :func:`waveform_values` gave."""
    return Waveform(np.asarray(values["samples"]), values["sample_rate"], values["start_seconds"])


def words_values(words: Words) -> Values:
    """Words."""
    heard_in = None if words.heard_in is None else asdict(words.heard_in)
    return {"cues": cues_values(words.cues), "untimed": words.untimed, "heard_in": heard_in}


def words_of(values: Values) -> Words:
    """What :func:`words_values` gave."""
    heard_in = values["heard_in"]
    return Words(cues_of(values["cues"]) or (), values["untimed"], None if heard_in is None else Span(**heard_in))
