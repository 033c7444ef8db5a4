"""A chunk whose parts cannot be used: the faults are those of a clip that is sent at once."""

from __future__ import annotations

import json
from functools import lru_cache

import pytest

from handler.pipeline import ActivityPipeline
from handler.runtime import choose_runtime
from tests.handler.requests import tiny_checkpoint
from tests.handler.streaming import send
from tests.media import Picture, Sound, render

NO_MEDIA = b"no such media"


@lru_cache(maxsize=1)
def shared() -> ActivityPipeline:
    return ActivityPipeline(tiny_checkpoint(), runtime=choose_runtime(threads=1), stream_key=bytes(range(32)))


@pytest.mark.parametrize(("step", "unused"), [("continue_sound", "audio"), ("continue_picture", "video")])
def test_what_needs_too_much_memory_is_not_used(step: str, unused: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def need_too_much(*_: object, **__: object) -> None:
        raise MemoryError

    clip = render("mp4", Picture(num_frames=40, width=32, height=32), Sound(seconds=1.6))
    monkeypatch.setattr(f"handler.stream.arrival.{step}", need_too_much)
    answer = send(shared(), {"video": clip}, {"last": True})
    assert answer["status"] == 200, answer
    modalities = answer["modalities"]
    assert [name for name in ("video", "audio") if not modalities[name]["used"]] == [unused]
    assert modalities[unused]["code"] == "limit_memory"
    assert modalities[unused]["reason"] == "decoding needs more memory than is allowed"


@pytest.mark.parametrize(
    "parts",
    [{"video": NO_MEDIA}, {"video": NO_MEDIA, "audio": NO_MEDIA, "text": " "}, {"video": NO_MEDIA, "text": " "}],
    ids=["one", "three", "two"],
)
def test_a_chunk_with_nothing_usable_is_the_error_of_a_clip(parts: dict[str, bytes | str]) -> None:
    answer = send(shared(), parts, {})
    (response,) = shared().respond([dict(parts)], ["at once"])
    assert answer == json.loads(response.body)
    assert answer["code"] == ("undecodable_media" if len(parts) == 1 else "no_usable_modality")
