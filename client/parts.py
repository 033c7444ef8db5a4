"""The parts of a request, in the one form that REST and gRPC share."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

Options = Mapping[str, Any]
Content = bytes | str | Mapping[str, Any] | Sequence[Any]
"""What a part may hold: a file's bytes, text, or for tables a JSON value."""


def build_parts(
    video: bytes | None,
    audio: bytes | None,
    text: bytes | str | None,
    options: Options | None,
    others: Mapping[str, Content | None] | None = None,
) -> dict[str, bytes]:
    """Name the parts that are there; text and options become UTF-8 bytes, other values JSON.

    Args:
        video: a media file.
        audio: a media file.
        text: words.
        options: the request's options.
        others: further parts by name: ``image``, ``tabular``, ``depth``, and the model's sequences of vectors.

    Raises:
        ValueError: when there is no media at all, which the server would answer with an error.
    """
    named = {"video": video, "audio": audio, "text": text, **(others or {})}
    parts = {name: _as_bytes(content) for name, content in named.items() if content is not None}
    if not parts:
        raise ValueError("nothing to predict from: give at least one of video, audio, text, or another modality")
    if options:
        parts["options"] = json.dumps(options).encode("utf-8")
    return parts


def _as_bytes(content: Content) -> bytes:
    if isinstance(content, bytes | bytearray | memoryview):
        return bytes(content)
    return (content if isinstance(content, str) else json.dumps(content)).encode("utf-8")
