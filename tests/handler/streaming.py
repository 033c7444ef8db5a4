"""A client of streams for tests: chunks in, what became final out."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from handler.pipeline import ActivityPipeline

SAMPLE_SECONDS = 1e-4
"""The end of a sound is known to a sample of its own rate in chunks, and to one of the model's at once."""

Chunk = tuple[Mapping[str, Any], Mapping[str, Any]]
"""A request's parts, and its option ``chunk``."""


@dataclass
class Streamed:
    """What a stream came to."""

    answers: list[dict[str, Any]] = field(default_factory=list)

    @property
    def last(self) -> dict[str, Any]:
        return self.answers[-1]

    def final(self, key: str) -> list[dict[str, Any]]:
        """The segments or windows that became final, in the order of time."""
        found = [item for answer in self.answers for item in answer[key] if item["final"]]
        return sorted(found, key=lambda item: (item["start_seconds"], item["stop_seconds"]))


def send(
    pipeline: ActivityPipeline,
    parts: Mapping[str, Any],
    chunk: Mapping[str, Any],
    options: Mapping[str, Any] | None = None,
    state: str | None = None,
) -> dict[str, Any]:
    """Send one chunk; its answer, or the error's body."""
    raw = {**parts, "options": json.dumps({**(options or {}), "chunk": dict(chunk)})}
    (response,) = pipeline.respond([raw if state is None else {**raw, "state": state}], ["chunk"])
    answer: dict[str, Any] = json.loads(response.body)
    assert answer["status"] == response.status
    return answer


def stream(pipeline: ActivityPipeline, chunks: Sequence[Chunk], options: Mapping[str, Any] | None = None) -> Streamed:
    """Send chunks one after the other, the last one as such."""
    found, state = Streamed(), None
    for place, (parts, chunk) in enumerate(chunks):
        last = {"last": True} if place == len(chunks) - 1 else {}
        answer = send(pipeline, parts, {**chunk, **last}, options, state)
        assert answer["status"] == 200, answer
        found.answers.append(answer)
        state = answer.get("state")
    assert state is None
    return found


def whole(
    pipeline: ActivityPipeline, parts: Mapping[str, Any], options: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """The answer to a recording that is sent at once."""
    (response,) = pipeline.respond([{**parts, "options": json.dumps(options or {})}], ["whole"])
    answer: dict[str, Any] = json.loads(response.body)
    assert response.status == 200, answer
    return answer


def assert_same(streamed: Streamed, expected: Mapping[str, Any], tolerance: float = 1e-5) -> None:
    """What became final over all chunks is what the recording gives at once."""
    windows, segments = streamed.final("windows"), streamed.final("segments")
    assert_items(windows, expected["windows"], tolerance)
    assert_items(segments, expected["segments"], tolerance)
    last = streamed.last
    for key in ("start_seconds", "duration_seconds"):
        assert last[key] == pytest.approx(expected[key], abs=1e-3)
    assert_items(last["activities"], expected["activities"], tolerance)
    assert {name: it["used"] for name, it in last["modalities"].items()} == {
        name: it["used"] for name, it in expected["modalities"].items()
    }


def assert_items(found: Sequence[Any], expected: Sequence[Any], tolerance: float) -> None:
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        for key, value in other.items():
            near = SAMPLE_SECONDS if key.endswith("_seconds") else tolerance
            assert one[key] == (value if isinstance(value, str) else pytest.approx(value, abs=near)), (key, one)
