"""What tells one checkpoint from another: vectors of different weights cannot be compared."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from models.checkpoint import read_description

PIECE_BYTES = 1 << 20


def digest_checkpoint(folder: Path) -> str:
    """SHA-256 of what a checkpoint's vectors depend on: its configuration, weights and tokenizers.

    Raises:
        SettingsError: the folder is no checkpoint.
    """
    config = read_description(folder).config.model_dump(mode="json", exclude_defaults=True)
    digest = hashlib.sha256(json.dumps(config, sort_keys=True).encode())
    for path in sorted([*folder.glob("*.safetensors"), *folder.glob("tokenizer*.json")]):
        digest.update(f"\n{path.name} {path.stat().st_size}\n".encode())
        with path.open("rb") as file:
            while piece := file.read(PIECE_BYTES):
                digest.update(piece)
    return digest.hexdigest()
