"""The files that an index is of: media below a folder, each with the words that stand beside it."""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from handler.options import RequestOptions
from handler.request import ActivityRequest
from models.config import MODALITIES, Modality

CONTAINERS = frozenset(
    {".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".ts", ".mts", ".flv", ".wmv", ".3gp", ".ogv"}
)
SOUNDS = frozenset({".wav", ".mp3", ".m4a", ".aac", ".flac", ".ogg", ".oga", ".opus", ".aif", ".aiff", ".wma", ".mka"})
PICTURES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff"})
WORDS = (".vtt", ".srt", ".txt")
"""Suffixes of the words beside a file of the same name, the first that is there."""


@dataclass(frozen=True)
class Source:
    """What is embedded together: the files of one request."""

    name: str
    """The path of the first file, relative to the index's folder, with ``/``: what a moment is said to be of."""
    files: Mapping[str, Path]
    """By part of a request, or by the name of a sequence of vectors; at least one."""

    def stamp(self) -> str:
        """Size and time of change of each file: another one means that it has to be embedded anew.

        Raises:
            OSError: a file cannot be looked at.
        """
        found = {part: path.stat() for part, path in self.files.items()}
        return json.dumps({part: [str(self.files[part]), it.st_size, it.st_mtime_ns] for part, it in found.items()})

    def read(self) -> ActivityRequest:
        """The request that the files stand for.

        Raises:
            OSError: a file cannot be read.
        """
        contents: dict[str, Any] = {part: path.read_bytes() for part, path in self.files.items()}
        vectors = {part: contents.pop(part) for part in self.files if part not in MODALITIES}
        known: dict[str, Any] = {part: contents.get(part) for part in MODALITIES}
        return ActivityRequest(**known, vectors=vectors, options=RequestOptions())


def find_sources(folder: Path, modalities: Collection[Modality]) -> list[Source]:
    """The media below a folder that a model with these modalities can embed, in the order of their names.

    Hidden files and folders are passed over, and links to folders are not followed.
    """
    return [_build_source(path, folder, modalities) for path in _media_below(folder, modalities)]


def build_single_source(path: Path, modalities: Collection[Modality]) -> Source:
    """One file as a source, whatever its suffix, with the words beside it."""
    return _build_source(path, path.parent, modalities)


def _media_below(folder: Path, modalities: Collection[Modality]) -> Iterator[Path]:
    wanted = set(CONTAINERS if {"video", "audio"} & set(modalities) else ())
    wanted |= SOUNDS if "audio" in modalities else set()
    wanted |= PICTURES if "image" in modalities else set()
    for place, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            path = Path(place, name)
            if name.startswith(".") or path.suffix.lower() not in wanted:
                continue
            if path.is_file() or not path.exists():  # not a pipe, which would be waited for; a link to nothing is said
                yield path


def _build_source(path: Path, folder: Path, modalities: Collection[Modality]) -> Source:
    part = "image" if path.suffix.lower() in PICTURES and "image" in modalities else "video"
    files = {part: path}
    if "text" in modalities:
        beside = (path.with_suffix(suffix) for suffix in WORDS)
        words = next((file for file in beside if file != path and os.path.isfile(file)), None)  # noqa: PTH113 - as below
        if words is not None:
            files["text"] = words
    return Source(path.relative_to(folder).as_posix(), files)
