"""One hostile or odd request, and what must come of it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Literal

OK = "ok"
"""Stands for a code where a request is answered."""

Path = Literal["predictions", "v1", "v2"]


@dataclass(frozen=True)
class Item:
    """A request, and the status and the code that it gets by every way."""

    name: str
    parts: tuple[tuple[str, bytes], ...] = field(repr=False)
    """Names and contents in the order in which they are sent; a body without parts is named "body"."""
    status: int
    code: str
    """Of the error, or :data:`OK`."""
    content_type: str = "application/octet-stream"
    """Of a body without parts."""
    path: Path = "predictions"
    """Which protocol's path of REST it is sent to."""

    only_rest: bool = False
    """What it is depends on the content type, which gRPC has not."""

    @property
    def raw(self) -> dict[str, bytes]:
        """The parts as a map has them, and a server that was sent one twice: the last one counts."""
        return dict(self.parts)

    @property
    def is_body(self) -> bool:
        """Whether it has no parts."""
        return [name for name, _ in self.parts] == ["body"]


def parts(name: str, status: int, code: str, contents: Mapping[str, bytes]) -> Item:
    """A request of named parts."""
    return Item(name, tuple(contents.items()), status, code)


def body(
    name: str,
    status: int,
    code: str,
    content: bytes,
    content_type: str = "application/octet-stream",
    path: Path = "predictions",
) -> Item:
    """A request of one body."""
    return Item(name, (("body", content),), status, code, content_type, path)


def text_body(name: str, status: int, code: str, content: bytes) -> Item:
    """A request of one body, which is text because its content type says so."""
    return Item(name, (("body", content),), status, code, "text/plain; charset=utf-8", only_rest=True)


def as_received(item: Item) -> dict[str, Any]:
    """The request as a server hands it to the handler."""
    raw: dict[str, Any] = {name: bytearray(content) for name, content in item.parts}
    if item.is_body and item.only_rest:
        is_text = item.content_type.startswith("text/")
        with suppress(UnicodeDecodeError):
            return {"body": raw["body"].decode("utf-8") if is_text else json.loads(raw["body"])}
    return raw
