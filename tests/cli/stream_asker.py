"""Commands that ask a model of streams in this process, which keeps the rules and counts what it is asked."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest

from cli.asking import Place
from client.answer import Answer
from tests.client.fake_stream import FakeStreamModel


@dataclass
class StreamAsker:
    """Stands for a server."""

    model: FakeStreamModel = field(default_factory=FakeStreamModel)
    before: Callable[[int], None] = lambda _: None
    """Called with the number of each request before it is answered."""
    title: str = "Asking"
    asked: dict[str, Any] = field(default_factory=dict)
    modalities: tuple[str, ...] = ("video", "audio", "text")

    def watch(self, say: Callable[[str], None]) -> None:
        """Nothing is said."""

    def ask(self, parts: Mapping[str, bytes], options: Mapping[str, Any]) -> Answer:
        """Answer a chunk, or anything else as one request."""
        self.before(len(self.model.asked))
        if "chunk" not in options:
            self.model.asked.append({"options": options, **parts})
            return Answer(200, "application/json", b'{"single":true,"model":{"name":"activity","version":"1.0"}}')
        sent: dict[str, Any] = {name: body.decode() if name == "state" else body for name, body in parts.items()}
        if "audio" in sent:
            sent["video"] = sent.pop("audio")
        return self.model.predict(options=options, **sent)

    def install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Let every command ask it."""
        monkeypatch.setattr(Place, "find", lambda _self, **_: self)
