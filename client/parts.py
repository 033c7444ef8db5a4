"""The parts of a request, in the one form that REST and gRPC share."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

Options = Mapping[str, Any]


def build_parts(
    video: bytes | None, audio: bytes | None, text: bytes | str | None, options: Options | None
) -> dict[str, bytes]:
    """Name the parts that are there; text and options become UTF-8 bytes.

    Raises:
        ValueError: when there is no media at all, which the server would answer with an error.
    """
    parts: dict[str, bytes] = {}
    if video is not None:
        parts["video"] = video
    if audio is not None:
        parts["audio"] = audio
    if text is not None:
        parts["text"] = text.encode("utf-8") if isinstance(text, str) else text
    if not parts:
        raise ValueError("nothing to predict from: give at least one of video, audio, text")
    if options:
        parts["options"] = json.dumps(options).encode("utf-8")
    return parts
