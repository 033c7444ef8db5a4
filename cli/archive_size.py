"""What an archive will weigh, by part, before it is written; and whether the disk has room for it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from cli.errors import CommandError

CODE = ("activity_handler.py", "handler/", "models/")
ROOM = 1.02
"""Of the archive's own bytes: what its directory and the disk's blocks take on top."""


@dataclass(frozen=True)
class ArchiveSizes:
    """Bytes of what goes into an archive."""

    weights: Mapping[str, int]
    """By part: an encoder such as ``encoders.video``, ``fusion``, ``head``, a side model's folder."""
    code: int
    rest: int
    """Configuration, tokenizers, settings, canary."""

    @property
    def total(self) -> int:
        """All of it."""
        return sum(self.weights.values()) + self.code + self.rest

    def __str__(self) -> str:
        parts = [f"{name} {_shown(size)}" for name, size in self.weights.items()]
        return (
            f"{_shown(self.total)} to write: weights {_shown(sum(self.weights.values()))} ({', '.join(parts)}), "
            f"code {_shown(self.code)}, rest {_shown(self.rest)}"
        )


def measure_archive(sizes: Mapping[str, int], weights: Mapping[str, Path]) -> ArchiveSizes:
    """Sum an archive's entries by part.

    Args:
        sizes: the bytes of each entry, by its name in the archive.
        weights: of these the safetensors, each with the file that it is copied from.
    """
    parts: dict[str, int] = {}
    for name, path in weights.items():
        folder = name.partition("/")[0]
        found = {folder: sizes[name]} if folder != name else _tensor_bytes(path)
        for part, size in found.items():
            parts[part] = parts.get(part, 0) + size
    others = {name: size for name, size in sizes.items() if name not in weights}
    code = sum(size for name, size in others.items() if name.startswith(CODE))
    return ArchiveSizes(parts, code, sum(others.values()) - code)


def check_room(folder: Path, num_bytes: int) -> None:
    """Refuse to begin what the disk cannot hold.

    Raises:
        CommandError: ``folder`` has not so many bytes free.
    """
    free = shutil.disk_usage(folder).free
    if free < num_bytes * ROOM:
        raise CommandError(
            f"{folder} has {_shown(free)} free, the archive needs {_shown(num_bytes)}",
            remedy="Make room there, or write it to another disk with -o.",
        )


def _tensor_bytes(path: Path) -> dict[str, int]:
    """The bytes of a safetensors file's tensors, by the part of the model; its header counts with the first."""
    with path.open("rb") as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
    parts: dict[str, int] = {}
    for name, tensor in sorted(header.items()):
        if name != "__metadata__":
            first, *others = name.split(".")
            part = f"{first}.{others[0]}" if first == "encoders" and others else first
            start, stop = tensor["data_offsets"]
            parts[part] = parts.get(part, 0) + stop - start
    if parts:
        parts[next(iter(parts))] += path.stat().st_size - sum(parts.values())
    return parts


def _shown(num_bytes: int) -> str:
    return f"{num_bytes / 1e9:.2f} GB" if num_bytes >= 1e9 else f"{num_bytes / 1e6:.1f} MB"
