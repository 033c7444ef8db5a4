"""A tiny checkpoint with towers, and small files to index."""

from __future__ import annotations

from pathlib import Path

from models.checkpoint import CheckpointDescription, save_checkpoint
from models.embedding_config import EmbeddingConfig
from tests.media import X264, Picture, Sound, render
from tests.models.tiny import TINY, tiny_model, tiny_tokenizer

TOWERS = TINY.model_copy(update={"embedding": EmbeddingConfig(width=12)})


def write_towers(folder: Path, seed: int = 0) -> Path:
    """Write the checkpoint and return its folder."""
    description = CheckpointDescription(name="tiny", version="0.1", config=TOWERS)
    save_checkpoint(folder, description, tiny_model(TOWERS, seed), tiny_tokenizer())
    return folder


def write_sound(path: Path, *, hertz: float = 440.0, seconds: float = 3.0) -> Path:
    """A WAV of a tone."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(render("wav", Sound(codec="pcm_s16le", seconds=seconds, hertz=hertz)))
    return path


def write_video(path: Path, *, num_frames: int = 60, hertz: float = 440.0) -> Path:
    """An mp4 with picture and sound."""
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = Picture(num_frames=num_frames, options=X264)
    path.write_bytes(render("mp4", picture, Sound(seconds=num_frames / 25, hertz=hertz)))
    return path
