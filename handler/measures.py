"""What a request cost and how it ended, for whoever watches the service; the server's entry hands it on.

Stages may lie within each other: each has its own seconds alone, so the stages of a request add up to its work.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Literal, get_args

from handler.clip import Clip
from handler.errors import error_codes

Stage = Literal["receive", "decode", "transform", "encode", "fuse", "explain", "describe", "postprocess"]
"""``receive`` parses the body; ``transform`` makes an encoder's inputs of what was decoded; ``postprocess`` smooths,
cuts segments and renders."""
Item = Literal["hop", "window"]
"""What a micro-batch is made of."""

ChildEnd = Literal["ok", "crashed", "memory", "timeout"]
"""How a decode child ended: killed when it had answered; by itself; killed when it wanted more memory than allowed, or
more time."""
USED = "used"
_DECIMALS = 6


@dataclass
class Measures:
    """What one request, or one instance of a body, cost. Belongs to one thread at a time."""

    seconds: dict[Stage, float] = field(default_factory=dict)
    """By stage; what several threads do at a time counts once."""
    bytes_by_part: dict[str, int] = field(default_factory=dict)
    """Of the parts that arrived as bytes or text; none where the request could not be read."""
    windows: int = 0
    """Windows that were scored."""
    computed: Counter[Item] = field(default_factory=Counter)
    """Hops that went through an encoder, once for each, and windows through the fusion, padding included."""
    padding: Counter[Item] = field(default_factory=Counter)
    """How many of those nobody asked for: they fill up a micro-batch."""
    clip_seconds: float = 0.0
    """Length of what was decoded."""
    modalities: Counter[tuple[str, str]] = field(default_factory=Counter)
    """How many decoded clips had a modality, by its name and its outcome: ``used``, or why not."""
    children: Counter[ChildEnd] = field(default_factory=Counter)
    """Decode children, by how they ended."""

    def add(self, other: Measures) -> None:
        """Add what another instance of the same body cost."""
        for stage, seconds in other.seconds.items():
            self.seconds[stage] = self.seconds.get(stage, 0.0) + seconds
        for part, size in other.bytes_by_part.items():
            self.bytes_by_part[part] = self.bytes_by_part.get(part, 0) + size
        self.windows += other.windows
        self.computed.update(other.computed)
        self.padding.update(other.padding)
        self.clip_seconds += other.clip_seconds
        self.modalities.update(other.modalities)
        self.children.update(other.children)


@dataclass(frozen=True)
class Outcome:
    """How one request ended."""

    request_id: str
    model_name: str
    model_version: str
    code: str
    """``ok``, or the code of its error (:mod:`handler.errors`)."""
    status: int
    measures: Measures

    @property
    def real_time_factor(self) -> float | None:
        """Seconds of work for a second of clip; None where nothing was decoded or the clip has no length."""
        clip_seconds = self.measures.clip_seconds
        return self.seconds / clip_seconds if clip_seconds > 0 else None

    @property
    def seconds(self) -> float:
        """Seconds of work, in all stages."""
        return sum(self.measures.seconds.values())

    def log_line(self) -> str:
        """One line of JSON in ASCII. Of what the client sent it has sizes alone."""
        measures = self.measures
        values = {
            "request_id": self.request_id,
            "model": self.model_name,
            "version": self.model_version,
            "code": self.code,
            "status": self.status,
            "seconds": {stage: round(seconds, _DECIMALS) for stage, seconds in measures.seconds.items()},
            "bytes": measures.bytes_by_part,
            "windows": measures.windows,
            "computed": measures.computed,
            "padding": measures.padding,
            "clip_seconds": round(measures.clip_seconds, _DECIMALS),
        }
        return json.dumps(values, separators=(",", ":"))


@dataclass(frozen=True)
class Sample:
    """A value for a series that ``config/metrics.yaml`` declares."""

    name: str
    kind: Literal["counter", "histogram"]
    value: float
    labels: tuple[str, ...]
    """In the order of the declaration."""


_current: ContextVar[Measures | None] = ContextVar("measures", default=None)


@contextmanager
def measuring(measures: Measures | None) -> Iterator[None]:
    """Let this thread's :func:`stage` count for ``measures``; for nobody where it is None."""
    token = _current.set(measures)
    try:
        yield
    finally:
        _current.reset(token)


@contextmanager
def stage(name: Stage) -> Iterator[None]:
    """Count the time of a block, without that of the stages within it, also where it raises."""
    measures = _current.get()
    if measures is None:
        yield
        return
    started, before = time.perf_counter(), sum(measures.seconds.values())
    try:
        yield
    finally:
        within = sum(measures.seconds.values()) - before
        own = max(0.0, time.perf_counter() - started - within)
        measures.seconds[name] = measures.seconds.get(name, 0.0) + own


def note_parts(parts: Mapping[str, object]) -> None:
    """Note the sizes of a request's parts, by modality."""
    measures = _current.get()
    if measures is None:
        return
    for name, content in parts.items():
        if isinstance(content, str):
            measures.bytes_by_part[name] = len(content.encode("utf-8", "replace"))
        elif isinstance(content, bytes | bytearray):
            measures.bytes_by_part[name] = len(content)


def note_clip(clip: Clip) -> None:
    """Note what was decoded."""
    measures = _current.get()
    if measures is not None:
        measures.clip_seconds += clip.schedule.span.duration_seconds
        measures.modalities.update((name, status.code or USED) for name, status in clip.modalities.items())


def note_child(end: ChildEnd) -> None:
    """Note how a decode child ended."""
    measures = _current.get()
    if measures is not None:
        measures.children[end] += 1


def note_micro_batches(item: Item, *, asked: int, computed: int) -> None:
    """Note how many items a call's micro-batches were asked for, and how many they had with their padding."""
    measures = _current.get()
    if measures is not None:
        measures.computed[item] += computed
        measures.padding[item] += computed - asked


def note_seconds(name: Stage, seconds: float) -> None:
    """Count a part of the running stage's time for another one instead."""
    measures = _current.get()
    if measures is not None:
        measures.seconds[name] = measures.seconds.get(name, 0.0) + seconds


def note_windows(count: int) -> None:
    """Note how many windows were scored."""
    measures = _current.get()
    if measures is not None:
        measures.windows += count


def starting_samples(model_name: str, model_version: str) -> list[Sample]:
    """A zero for each outcome: Prometheus sees a counter rise only from a value that it has seen before."""
    model = (model_name, model_version)
    return [
        *(Sample("activity_requests_total", "counter", 0, (*model, code)) for code in ("ok", *error_codes())),
        *(Sample("activity_decode_children_total", "counter", 0, (*model, end)) for end in get_args(ChildEnd)),
    ]


def samples(outcomes: Sequence[Outcome], batch_fill: float | None) -> list[Sample]:
    """What requests add to the series.

    Args:
        outcomes: theirs, of one model.
        batch_fill: how full the batch was that they came in, above 0; None where this has been told.
    """
    if not outcomes:
        return []
    model = (outcomes[0].model_name, outcomes[0].model_version)
    total = Measures()
    for outcome in outcomes:
        total.add(outcome.measures)
    found = [
        *(
            Sample("activity_requests_total", "counter", count, (*model, code))
            for code, count in Counter(outcome.code for outcome in outcomes).items()
        ),
        *(
            Sample("activity_modalities_total", "counter", count, (*model, *labels))
            for labels, count in total.modalities.items()
        ),
        *(
            Sample("activity_computed_total", "counter", count, (*model, item))
            for item, count in total.computed.items()
        ),
        *(Sample("activity_padding_total", "counter", count, (*model, item)) for item, count in total.padding.items()),
        *(
            Sample("activity_decode_children_total", "counter", count, (*model, end))
            for end, count in total.children.items()
        ),
    ]
    if batch_fill is not None:
        found.append(Sample("activity_batch_fill_ratio", "histogram", min(1.0, batch_fill), model))
    if total.windows:
        found.append(Sample("activity_windows_total", "counter", total.windows, model))
    for outcome in outcomes:
        found += [
            Sample("activity_stage_seconds", "histogram", round(seconds, _DECIMALS), (*model, name))
            for name, seconds in outcome.measures.seconds.items()
        ]
        found.append(Sample("activity_request_seconds", "histogram", round(outcome.seconds, _DECIMALS), model))
        if outcome.real_time_factor is not None:
            value = round(outcome.real_time_factor, _DECIMALS)
            found.append(Sample("activity_real_time_factor", "histogram", value, model))
    return found
