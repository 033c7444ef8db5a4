"""What a prediction request comes back with."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Answer:
    """The model's answer, be it a prediction or an error.

    >>> Answer(200, "application/json", b'{"status":200,"segments":[]}').json()["segments"]
    []
    """

    status: int
    """200, or the status of the error that the body describes."""
    content_type: str
    """``application/json``, ``application/x-ndjson``, ``text/vtt`` or ``application/x-subrip``; may name a charset."""
    body: bytes
    """The bytes as the server sent them."""

    @property
    def ok(self) -> bool:
        """Whether the body is a prediction."""
        return self.status == 200

    def json(self) -> dict[str, Any]:
        """The body as JSON.

        Raises:
            ValueError: when the body is no JSON object, such as the VTT or SRT that was asked for.
        """
        value = json.loads(self.body)
        if not isinstance(value, dict):
            raise ValueError(f"expected a JSON object, got {type(value).__name__}")
        return value

    def __repr__(self) -> str:
        return f"Answer({self.status}, {self.content_type}, {len(self.body)} bytes)"
