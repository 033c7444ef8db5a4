"""Archives that are changed on purpose, for measurements that need a worker with a fault or with other settings."""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

from cli.archive_check import write_sum

CONFIG = "model-config.yaml"
"""What TorchServe does with the model."""


def change_archive(
    archive: Path, changes: Mapping[str, Callable[[str], str]], new: Mapping[str, str] | None = None
) -> None:
    """Write an archive anew, with its sum.

    Args:
        archive: it is replaced.
        changes: by the names of text files, what becomes of their text; each has to change it.
        new: further text files by name.

    Raises:
        ValueError: a change changes nothing, as its file is another than it was.
    """
    with zipfile.ZipFile(archive) as mar:
        files = {name: mar.read(name) for name in mar.namelist()}
    for name, change in changes.items():
        text = files[name].decode("utf-8")
        files[name] = change(text).encode("utf-8")
        if files[name].decode("utf-8") == text:
            raise ValueError(f"{name} is not as it was: nothing was changed")
    files |= {name: text.encode("utf-8") for name, text in (new or {}).items()}
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as mar:
        for name, content in files.items():
            mar.writestr(name, content)
    write_sum(archive, hashlib.sha256(archive.read_bytes()).hexdigest())
