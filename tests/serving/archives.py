"""Small archives, written by hand: what TorchServe needs of one is a manifest and a handler."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

from cli.archive_check import digest_of, write_sum

ECHO_HANDLER = Path(__file__).with_name("echo_handler.py")


def write_archive(path: Path, handler: str, extra: dict[str, str] | None = None) -> Path:
    """Write ``path`` with this source as its handler and further files by name."""
    model = {"modelName": "echo", "modelVersion": "1.0", "handler": "echo_handler.py", "configFile": "config.yaml"}
    with zipfile.ZipFile(path, "w") as mar:
        manifest = {"runtime": "python", "model": model, "archiverVersion": "0.12.0"}
        mar.writestr("MAR-INF/MANIFEST.json", json.dumps(manifest))
        mar.writestr("echo_handler.py", handler)
        mar.writestr("config.yaml", "minWorkers: 1\nmaxWorkers: 2\nbatchSize: 1\n")
        for name, text in (extra or {}).items():
            mar.writestr(name, text)
    write_sum(path, digest_of(path))
    return path
