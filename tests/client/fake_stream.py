"""A model that answers a stream's chunks with a segment a second, and keeps the rules of the state."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from client.answer import Answer

LOOKAHEAD_SECONDS = 1.0


@dataclass
class FakeStreamModel:
    """Answers like a server: a hop lasts a second, its label is the second's number, the last one is provisional."""

    version: str = "1.0"
    asked: list[dict[str, Any]] = field(default_factory=list)
    """Options and state of each request, and the length of its media."""
    failures: list[Exception | Answer] = field(default_factory=list)
    """What the next requests meet in place of an answer."""

    def predict(self, video: bytes | None = None, *, options: Any = None, **others: Any) -> Answer:
        """Answer a request."""
        self.asked.append({"options": options, "size": len(video or b""), **others})
        if self.failures:
            failure = self.failures.pop(0)
            if isinstance(failure, Exception):
                raise failure
            return failure
        return self._answer(options["chunk"], others.get("state"), "windows" in options.get("extras", ()))

    def _answer(self, chunk: Mapping[str, Any], state: str | None, windows: bool) -> Answer:
        began, clock, version = (None, None, self.version) if state is None else json.loads(state)
        if version != self.version:
            return error(409, "state_foreign")
        start = chunk.get("start_seconds", 0.0)
        stop = chunk.get("stop_seconds", (clock or 0.0) + 1.0)
        began, clock = (start, start) if began is None or clock is None else (began, clock)
        if start < clock - 1e-6:
            return error(409, "chunk_out_of_order")
        final = stop if chunk.get("last") else max(clock, stop - LOOKAHEAD_SECONDS)
        first = max(began, clock - LOOKAHEAD_SECONDS) if state is not None else began
        spans = [(first, final, True), (final, stop, False)]
        segments = [
            {"start_seconds": a, "stop_seconds": b, "label": "walk", "score": 0.9, "final": is_final}
            for a, b, is_final in spans
            if a < b
        ]
        values: dict[str, Any] = {
            "status": 200,
            "model": {"name": "activity", "version": self.version},
            "start_seconds": began,
            "duration_seconds": round(stop - began, 6),
            "modalities": {"video": {"used": True}},
            "activities": [{"label": "walk", "score": 0.9}, {"label": "run", "score": 0.1}],
            "segments": segments,
        }
        if windows:
            scores = {"walk": 0.9, "run": 0.1}
            values["windows"] = [
                {"start_seconds": a, "stop_seconds": b, "scores": scores, "smoothed": scores, "final": is_final}
                for a, b, is_final in spans
                if a < b
            ]
        values["stream"] = {"clock_seconds": stop, "final_until_seconds": final}
        if start > clock + 0.02:
            values["stream"]["gap_seconds"] = start - clock
        if not chunk.get("last"):
            values["state"] = json.dumps([began, stop, self.version])
        return Answer(200, "application/json", json.dumps(values).encode())


def error(status: int, code: str) -> Answer:
    """The model's error."""
    body = {"status": status, "code": code, "message": f"because of {code}", "remedy": "Begin anew."}
    return Answer(status, "application/json", json.dumps(body).encode())
