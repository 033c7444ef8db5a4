"""Decode children that segfault over one text: what a decoder's memory error does, in tests and measurements alone.

python -m benchmarks.segfaulting DESCRIPTORS      # in place of handler.cage.server, by :func:`segfaulting_servers`
"""

from __future__ import annotations

import ctypes
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

SEGFAULT_TEXT = "The decoder reads what is not its own."
"""A request with this text has its child read address 0 in the middle of its work."""
SERVER = "handler.cage.server"
_IN_ARCHIVE = "handler.segfaulting"
_MAIN = '\n\nif __name__ == "__main__":'


def plant() -> None:
    """Let the children of this fork server segfault."""
    from handler.cage import child  # noqa: PLC0415 - in the archive this module is another's part

    decode = child.decode_pieces  # type: ignore[attr-defined]

    def decode_or_die(request: Any, *arguments: Any, **keywords: Any) -> Any:
        opened = decode(request, *arguments, **keywords)
        text = request.text
        if text is not None and SEGFAULT_TEXT.encode() in (text.encode() if isinstance(text, str) else text):
            ctypes.string_at(0)
        return opened

    child.decode_pieces = decode_or_die  # type: ignore[attr-defined]


@contextmanager
def segfaulting_servers() -> Iterator[None]:
    """Fork servers that are started in this block have such children."""
    start = subprocess.Popen

    def popen(command: list[str], *arguments: Any, **keywords: Any) -> Any:
        return start([__name__ if word == SERVER else word for word in command], *arguments, **keywords)

    with mock.patch("handler.cage.cage.subprocess.Popen", popen):
        yield


def plant_in(archive: Path) -> None:
    """Let the decode children of an archive segfault."""
    from benchmarks.changed_archives import change_archive  # noqa: PLC0415 - an archive has none of it

    planted = f"\n\nfrom {_IN_ARCHIVE} import plant  # noqa\n\nplant(){_MAIN}"
    name = f"{_IN_ARCHIVE.replace('.', '/')}.py"
    change_archive(
        archive,
        {"handler/cage/server.py": lambda source: source.replace(_MAIN, planted, 1)},
        {name: Path(__file__).read_text(encoding="utf-8")},
    )


def main() -> None:
    """Be a fork server whose children segfault."""
    from handler.cage import server  # noqa: PLC0415 - as above

    plant()
    server.main(sys.argv[1:])


if __name__ == "__main__":
    main()
