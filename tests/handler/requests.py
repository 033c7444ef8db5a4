"""Requests and pipelines for tests."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from handler.decoder import LocalDecoder
from handler.limits import Limits
from handler.options import RequestOptions
from handler.pipeline import ActivityPipeline
from handler.recordings.pieces import Pieces
from handler.request import ActivityRequest
from handler.runtime import choose_runtime
from models.checkpoint import Checkpoint, CheckpointDescription
from models.config import ModelConfig
from tests.models.tiny import TINY, tiny_model, tiny_tokenizer


def make_request(
    video: bytes | None = None, audio: bytes | None = None, text: bytes | str | None = None
) -> ActivityRequest:
    return ActivityRequest(video=video, audio=audio, text=text, options=RequestOptions())


def tiny_checkpoint(config: ModelConfig = TINY, seed: int = 0) -> Checkpoint:
    description = CheckpointDescription(name="tiny", version="0.1", config=config)
    tokenizer = None if config.text is None else tiny_tokenizer()
    return Checkpoint(description=description, model=tiny_model(config, seed), tokenizer=tokenizer)


def tiny_pipeline(config: ModelConfig = TINY, *, threads: int = 1) -> ActivityPipeline:
    return ActivityPipeline(tiny_checkpoint(config), runtime=choose_runtime(threads=threads))


def decode_with(monkeypatch: pytest.MonkeyPatch, decode: Callable[..., Pieces]) -> None:
    """Let pipelines decode with a function that takes what :func:`handler.recordings.pieces.decode_pieces` takes."""

    def pieces(decoder: LocalDecoder, request: ActivityRequest, limits: Limits, **settings: Any) -> Pieces:
        return decode(request, decoder.config, limits, **settings)

    monkeypatch.setattr(LocalDecoder, "pieces", pieces)
