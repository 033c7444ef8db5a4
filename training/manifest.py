"""The list of a dataset: JSON lines, one clip a line, paths relative to the file.

::

    {"clip": "clips/000000.mp4", "text": "clips/000000.vtt", "split": "train",
     "segments": [{"start_seconds": 0.0, "stop_seconds": 5.2, "label": "wave_rise_greet"}]}
    {"audio": "audio/1-100032-A-0.wav", "label": "dog", "group": "100032", "fold": 1}
    {"image": "0.png", "tabular": "0.csv", "vectors": {"imu": "0.imu.csv"}, "depth": "0.mkv", "label": "concert"}

At least one file is named; the truth is ``segments``, or ``label`` for the whole clip. ``split`` (``train`` where it is
left out), ``group`` (what must not be torn apart: a speaker, a recording) and ``fold`` (a published one) may be left
out. A ``dataset.json`` beside it (:class:`DatasetRecord`) may say what is known of the dataset as a whole.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from models.config import Modality
from models.settings import Fraction, Settings, SettingsError

RECORD_NAME = "dataset.json"

FILE_KEYS = ("clip", "text", "audio", "image", "tabular", "depth")
"""The keys of a line that name one file; ``vectors`` names several."""

Split = Literal["train", "val", "test"]
Seconds = Annotated[float, Field(strict=True, allow_inf_nan=False)]
Name = Annotated[str, Field(min_length=1)]


class ManifestError(ValueError):
    """A manifest that cannot be used; the message names the file, the line and the key."""


@dataclass(frozen=True)
class LabelledSegment:
    """A true activity: ``[start_seconds, stop_seconds)`` on the clip's own timeline."""

    start_seconds: float
    stop_seconds: float
    label: str


@dataclass(frozen=True)
class ManifestEntry:
    """One clip of a dataset: at least one file, and its truth.

    The truth is either ``segments``, in the order of their starts, those of one label without overlap, or ``label``.
    """

    clip: Path | None
    """A container with picture, sound or both."""
    text: Path | None
    audio: Path | None
    """Sound, which stands in for that of ``clip``."""
    segments: tuple[LabelledSegment, ...]
    split: Split | None = None
    """None is ``train``."""
    image: Path | None = None
    tabular: Path | None = None
    depth: Path | None = None
    vectors: dict[str, Path] = field(default_factory=dict)
    """The file of each timed sequence of vectors."""
    label: str | None = None
    """The label of the whole clip, instead of segments."""
    group: str | None = None
    """What splits and folds must not tear apart; a clip without one is a group of its own."""
    fold: int | None = None
    """The published fold that the clip belongs to."""

    @property
    def files(self) -> dict[str, Path]:
        """The files that are there, by key; those of ``vectors`` by their own names."""
        named = {key: getattr(self, key) for key in FILE_KEYS}
        return {**{key: path for key, path in named.items() if path is not None}, **self.vectors}

    @property
    def name(self) -> str:
        """What messages call the clip: the name of its first file."""
        return next(iter(self.files.values())).name

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels of its truth, in order, each once."""
        given = [segment.label for segment in self.segments] if self.label is None else [self.label]
        return tuple(dict.fromkeys(given))


class DatasetRecord(Settings):
    """``dataset.json``: who made a dataset, and what can be reached on it at most.

    ``ceilings`` gives the highest accuracy that is possible with some modalities, whose names are joined by ``+``.
    """

    generator: Name
    seed: Annotated[int, Field(ge=0)]
    clips: Annotated[int, Field(ge=1)]
    ceilings: dict[str, Fraction] = Field(default_factory=dict)


class _SegmentRecord(Settings):
    start_seconds: Seconds
    stop_seconds: Seconds
    label: Name

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.stop_seconds <= self.start_seconds:
            raise ValueError(f"stop_seconds {self.stop_seconds} must be above start_seconds {self.start_seconds}")
        return self


class _ClipRecord(Settings):
    clip: Name | None = None
    text: Name | None = None
    audio: Name | None = None
    image: Name | None = None
    tabular: Name | None = None
    depth: Name | None = None
    vectors: dict[Name, Name] = Field(default_factory=dict)
    segments: Annotated[tuple[_SegmentRecord, ...], Field(min_length=1)] | None = None
    label: Name | None = None
    split: Split | None = None
    group: Name | None = None
    fold: Annotated[int, Field(strict=True)] | None = None

    @model_validator(mode="after")
    def _has_content_and_truth(self) -> Self:
        if not self.vectors and all(getattr(self, key) is None for key in FILE_KEYS):
            raise ValueError(f"no file is named: give at least one of {', '.join(FILE_KEYS)} or vectors")
        taken = self.vectors.keys() & set(FILE_KEYS)
        if taken:
            raise ValueError(f"vectors cannot be named {', '.join(sorted(taken))}: the name is taken")
        if (self.segments is None) == (self.label is None):
            raise ValueError("give either 'segments' or, for the whole clip, 'label'")
        return self

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        latest: dict[str, int] = {}
        segments = self.segments or ()
        for number, segment in enumerate(segments):
            start = f"segments.{number} starts at {segment.start_seconds}"
            if number and segment.start_seconds < segments[number - 1].start_seconds:
                raise ValueError(f"{start}, segments.{number - 1} later: list them in the order of their starts")
            same = latest.get(segment.label)
            if same is not None and segment.start_seconds < segments[same].stop_seconds:
                stop = segments[same].stop_seconds
                raise ValueError(f"{start}, before segments.{same} of the same label stops at {stop}")
            latest[segment.label] = number
        return self


def read_manifest(path: Path) -> list[ManifestEntry]:
    """Read a manifest and check that its files are there.

    Returns:
        One entry a line; its paths can be opened from the current folder.

    Raises:
        ManifestError: with the line and the key of what is wrong.
        FileNotFoundError: when there is no file at ``path``.
    """
    lines = path.read_text(encoding="utf-8").split("\n")
    entries = [
        _read_line(line, path.parent, f"{path.name} line {number}")
        for number, line in enumerate(lines, start=1)
        if line.strip()
    ]
    if not entries:
        raise ManifestError(f"{path.name}: no clip is listed")
    return entries


def _read_line(line: str, folder: Path, source: str) -> ManifestEntry:
    try:
        values: Any = json.loads(line)
    except json.JSONDecodeError as exc:
        raise ManifestError(f"{source}: not JSON: {exc.msg} at character {exc.pos}") from exc
    except RecursionError as exc:
        raise ManifestError(f"{source}: not JSON: nested too deeply") from exc
    except ValueError as exc:  # Python refuses to convert integers of more than 4300 digits
        raise ManifestError(f"{source}: not JSON: a number has too many digits") from exc
    if not isinstance(values, dict):
        raise ManifestError(f"{source}: expected an object with the files' keys, got {type(values).__name__}")
    try:
        record = _ClipRecord.read(values, source=source)
    except SettingsError as exc:
        raise ManifestError(str(exc)) from exc
    named = {key: getattr(record, key) for key in FILE_KEYS}
    paths = {key: _resolve(folder, name, f"{source}: '{key}'") for key, name in named.items() if name is not None}
    vectors = {key: _resolve(folder, name, f"{source}: 'vectors.{key}'") for key, name in record.vectors.items()}
    segments = tuple(LabelledSegment(**segment.model_dump()) for segment in record.segments or ())
    return ManifestEntry(
        **{key: paths.get(key) for key in FILE_KEYS},
        vectors=vectors,
        segments=segments,
        label=record.label,
        split=record.split,
        group=record.group,
        fold=record.fold,
    )


def _resolve(folder: Path, name: str, source: str) -> Path:
    path = folder / name
    if not os.path.isfile(path):  # noqa: PTH113 - Path.is_file raises OSError for a name that is too long
        raise ManifestError(f"{source} is {name!r}, and there is no such file beside the manifest")
    return path


def write_manifest(path: Path, entries: Sequence[ManifestEntry]) -> None:
    """Write entries, their paths made relative to the manifest's folder.

    Raises:
        ValueError: when an entry's file is not below that folder.
    """
    lines = [json.dumps(_record(entry, path.parent), ensure_ascii=False) for entry in entries]
    partial = path.with_name(path.name + ".partial")
    partial.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    partial.replace(path)


def _record(entry: ManifestEntry, folder: Path) -> dict[str, Any]:
    """The line of an entry; what is None or empty is left out."""
    paths = {key: getattr(entry, key) for key in FILE_KEYS}
    values: dict[str, Any] = {key: path.relative_to(folder).as_posix() for key, path in paths.items() if path}
    values["vectors"] = {key: path.relative_to(folder).as_posix() for key, path in entry.vectors.items()}
    values["segments"] = [vars(segment) for segment in entry.segments]
    plain = {"label": entry.label, "split": entry.split, "group": entry.group, "fold": entry.fold}
    return {key: value for key, value in {**values, **plain}.items() if value not in (None, [], {})}


def write_dataset_record(manifest: Path, record: DatasetRecord) -> None:
    """Write a manifest's ``dataset.json``."""
    text = json.dumps(record.model_dump(mode="json"), indent=2, ensure_ascii=False)
    manifest.with_name(RECORD_NAME).write_text(text + "\n", encoding="utf-8")


def read_ceilings(manifest: Path) -> Callable[[Sequence[Modality]], float | None] | None:
    """What the ``dataset.json`` beside a manifest says can be reached at most.

    Returns:
        A function that gives for some modalities, in any order, the highest accuracy that is possible with them, None
        where the record does not say; None when there is no record.

    Raises:
        ManifestError: when the record cannot be used.
    """
    try:
        values: Any = json.loads(manifest.with_name(RECORD_NAME).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except json.JSONDecodeError as exc:
        raise ManifestError(f"{RECORD_NAME}: not JSON: {exc.msg} at character {exc.pos}") from exc
    if not isinstance(values, dict):
        raise ManifestError(f"{RECORD_NAME}: expected an object with the key 'generator', got {type(values).__name__}")
    try:
        record = DatasetRecord.read(values, source=RECORD_NAME)
    except SettingsError as exc:
        raise ManifestError(str(exc)) from exc

    ceilings = {frozenset(names.split("+")): value for names, value in record.ceilings.items()}

    def ceiling(modalities: Sequence[Modality]) -> float | None:
        return ceilings.get(frozenset(modalities))

    return ceiling
