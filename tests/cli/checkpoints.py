"""A checkpoint folder that is made in a moment: the tiny model, untrained."""

from __future__ import annotations

from pathlib import Path

from models.checkpoint import CheckpointDescription, save_checkpoint
from tests.models.tiny import TINY, tiny_model, tiny_tokenizer


def write_tiny_checkpoint(folder: Path) -> Path:
    """Write it and return the folder."""
    description = CheckpointDescription(name="tiny", version="0.1", config=TINY)
    save_checkpoint(folder, description, tiny_model(), tiny_tokenizer())
    return folder
