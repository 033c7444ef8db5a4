"""A recording in chunks gives what it gives at once, wherever it is cut."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from handler.pipeline import ActivityPipeline
from tests.handler.requests import tiny_pipeline
from tests.handler.streaming import Chunk, assert_same, stream, whole
from tests.media import Picture
from tests.stream_media import (
    CLUSTERS,
    FRAGMENTS,
    LONG_GOP,
    SHORT_GOP,
    VP8,
    Tones,
    cut_files,
    cut_from_zero,
    cut_with_lead_in,
    fragment_starts,
    record,
    split,
)

OPTIONS = {"extras": ["windows"], "threshold": 0.0, "min_segment_seconds": 0.5, "smoothing_windows": 3}
SECONDS = 5.0
WORDS = "WEBVTT\n\n00:00.200 --> 00:01.700\nstir the soup\n\n00:02.300 --> 00:04.900\nchop the onion\n"

PICTURE = Picture(num_frames=125, width=32, height=32, options=LONG_GOP)
SOUND = Tones(seconds=SECONDS)
FEW = settings(max_examples=4, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True)


@lru_cache(maxsize=1)
def shared() -> ActivityPipeline:
    return tiny_pipeline()


@lru_cache(maxsize=16)
def expected(recording: bytes, **parts: Any) -> dict[str, Any]:
    return whole(shared(), {"video": recording, **parts}, OPTIONS)


def check(recording: bytes, chunks: list[Chunk], **parts: Any) -> None:
    assert_same(stream(shared(), chunks, OPTIONS), expected(recording, **parts))


# Fragments of one recording


def fragmented(kind: str) -> bytes:
    if kind == "mp4":
        return record("mp4", PICTURE, SOUND, FRAGMENTS)
    if kind == "webm":
        picture = Picture(codec="libvpx", num_frames=125, width=32, height=32, options=VP8)
        return record("webm", picture, Tones(codec="libopus", seconds=SECONDS), CLUSTERS)
    if kind == "mp4 by frame":
        return record("mp4", PICTURE, None, (("movflags", "frag_every_frame+delay_moov"),))
    return record("mp4", None, SOUND, (("movflags", "frag_keyframe+delay_moov"), ("frag_duration", "200000")))


@pytest.mark.parametrize("kind", ["mp4", "webm", "mp4 by frame", "mp4 of sound"])
@FEW
@given(data=st.data())
def test_fragments_of_one_recording_cut_anywhere(kind: str, data: st.DataObject) -> None:
    recording = fragmented(kind)
    starts = fragment_starts(recording)
    chosen = data.draw(st.sets(st.sampled_from(starts), min_size=1, max_size=5))
    check(recording, [({"video": piece}, {}) for piece in split(recording, sorted(chosen))])


@pytest.mark.parametrize("kind", ["mp4", "webm"])
def test_every_fragment_by_itself(kind: str) -> None:
    recording = fragmented(kind)
    pieces = split(recording, fragment_starts(recording))
    assert len(pieces) > 10
    check(recording, [({"video": piece}, {}) for piece in pieces])


def test_a_header_before_every_fragment_is_fine_too() -> None:
    recording = fragmented("webm")
    first, *others = split(recording, fragment_starts(recording)[1::3])
    header = first[: first.index(b"\x1f\x43\xb6\x75")]
    check(recording, [({"video": piece}, {}) for piece in (first, *(header + other for other in others))])


# Files of their own


@FEW
@given(cuts=st.sets(st.integers(2, 48), min_size=1, max_size=4))
def test_files_that_are_cut_inside_a_group_of_pictures(cuts: set[int]) -> None:
    recording = record("mp4", PICTURE, SOUND)
    pieces = cut_files(recording, [cut / 10 + 0.03 for cut in sorted(cuts)])
    check(recording, [({"video": piece}, {}) for piece in pieces])


@pytest.mark.parametrize("container", ["mp4", "matroska"])
def test_files_that_are_cut_at_key_frames_and_begin_at_zero(container: str) -> None:
    recording = record(container, Picture(num_frames=120, width=32, height=32, options=SHORT_GOP), None)
    pieces = cut_from_zero(recording, [1.6, 3.2], container)
    assert [chunk["offset_seconds"] for _, chunk in pieces] == [0.0, 1.6, 3.2]
    check(recording, [({"video": piece}, chunk) for piece, chunk in pieces])


@FEW
@given(cuts=st.sets(st.integers(2, 48), min_size=1, max_size=4))
def test_files_with_what_lets_their_decoders_begin(cuts: set[int]) -> None:
    picture = Picture(num_frames=125, width=32, height=32, options=(*LONG_GOP[:-1], ("g", "40")))
    recording = record("mp4", picture, SOUND)
    pieces = cut_with_lead_in(recording, [cut / 10 + 0.03 for cut in sorted(cuts)])
    check(recording, [({"video": piece}, chunk) for piece, chunk in pieces])
