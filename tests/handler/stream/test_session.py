"""A recording in chunks gives what it gives at once, wherever it is cut."""

from __future__ import annotations

import json
from functools import lru_cache
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from handler.inference import Scorer
from handler.pipeline import ActivityPipeline
from tests.handler.requests import tiny_pipeline
from tests.handler.streaming import Chunk, assert_same, send, stream, whole
from tests.media import Picture, Sound, render
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


STEPS_MS = tuple(int(step) for step in np.random.default_rng(5).integers(10, 130, 70))
UNEVEN = tuple(int(time) for time in np.cumsum((0, *STEPS_MS)))
SELDOM = (0, 30, 70, 100, 900, 930, 1400, 1700, 1900, 2300, 2330, 2800, 3200, 3600)


@pytest.mark.parametrize("sound", [None, Tones("libopus", seconds=4.0)], ids=["silent", "heard"])
def test_frames_of_a_browser_come_when_they_want(sound: Tones | None) -> None:
    picture = Picture("libvpx", num_frames=len(UNEVEN), width=32, height=32, options=VP8, pts_ms=UNEVEN)
    recording = record("webm", picture, sound, CLUSTERS)
    pieces = split(recording, fragment_starts(recording))
    assert len(pieces) > 5
    assert_same(stream(shared(), [({"video": piece}, {}) for piece in pieces], OPTIONS), expected(recording))


def test_a_picture_goes_on_where_its_sound_does_however_late_its_next_frame_is() -> None:
    picture = Picture("libvpx", num_frames=len(SELDOM), width=32, height=32, options=VP8, pts_ms=SELDOM)
    for sound, status in ((Tones("libopus", seconds=4.0), 200), (None, 422)):
        recording = record("webm", picture, sound, CLUSTERS)
        first, second = cut_files(recording, [0.85], "webm")  # the next frame is 0.8 s late, the others less than 0.1
        state = send(shared(), {"video": first}, {})["state"]
        assert send(shared(), {"video": second}, {}, None, state)["status"] == status


@pytest.mark.parametrize(("container", "codec"), [("mp4", "aac"), ("mp4", "libmp3lame"), ("webm", "libopus")])
def test_files_that_were_encoded_one_by_one_follow_each_other(container: str, codec: str) -> None:
    """Each begins with its own encoder's delay, which lies before the end of the last."""
    picture = Picture("libx264" if container == "mp4" else "libvpx", num_frames=25, width=32, height=32)
    recording = record(container, picture, Tones(codec, seconds=1.0))
    chunks: list[Chunk] = [({"video": recording}, {"offset_seconds": float(place)}) for place in range(5)]
    streamed = stream(shared(), chunks, OPTIONS)
    assert streamed.last["duration_seconds"] == pytest.approx(5.0, abs=0.05)
    assert not any("gap_seconds" in answer["stream"] for answer in streamed.answers)
    first = send(shared(), {"video": recording}, {})
    assert send(shared(), {"video": recording}, {}, None, first["state"])["code"] == "chunk_out_of_order"
    alone = record(
        "adts" if codec == "aac" else "ogg" if codec == "libopus" else "mp3", None, Tones(codec, seconds=1.0)
    )
    first = send(shared(), {"audio": alone}, {})
    assert send(shared(), {"audio": alone}, {}, None, first["state"])["code"] == "chunk_out_of_order"


def test_a_frame_that_lasts_long_ends_no_sound() -> None:
    picture = Picture(num_frames=4, width=32, height=32, options=SHORT_GOP, pts_ms=(0, 1300, 1400, 4400))
    recording = record("mp4", picture, Tones(seconds=5.0), FRAGMENTS)
    pieces = split(recording, fragment_starts(recording))
    assert_same(stream(shared(), [({"video": piece}, {}) for piece in pieces], OPTIONS), expected(recording))


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


# Words, single modalities, short streams


def halves() -> tuple[bytes, bytes, bytes]:
    recording = fragmented("mp4")
    starts = fragment_starts(recording)
    first, second = split(recording, [starts[len(starts) // 2]])
    return recording, first, second


def test_cues_wait_for_their_time() -> None:
    recording, first, second = halves()
    chunks: list[Chunk] = [({"video": first, "text": WORDS}, {}), ({"video": second}, {})]
    check(recording, chunks, text=WORDS)


def test_cues_that_come_with_their_chunk_lie_on_its_clock() -> None:
    recording, first, second = halves()
    soup, onion = (f"WEBVTT\n\n{cue}" for cue in WORDS.split("\n\n")[1:])
    check(recording, [({"video": first, "text": soup}, {}), ({"video": second, "text": onion}, {})], text=WORDS)
    assert expected(recording, text=WORDS)["windows"] != expected(recording)["windows"]


def test_words_without_times_hold_for_the_hops_that_their_chunk_completes() -> None:
    recording, first, second = halves()
    words = {"text": "pour the milk"}
    check(recording, [({"video": first, **words}, {}), ({"video": second, **words}, {})], **words)


def test_picture_and_sound_may_come_as_parts_of_their_own() -> None:
    picture, sound = record("mp4", PICTURE, None, FRAGMENTS), fragmented("mp4 of sound")
    pictures = split(picture, fragment_starts(picture)[4:5])
    sounds = split(sound, fragment_starts(sound)[7:8])
    parts: list[Chunk] = [({"video": one, "audio": other}, {}) for one, other in zip(pictures, sounds, strict=True)]
    assert_same(stream(shared(), parts, OPTIONS), whole(shared(), {"video": picture, "audio": sound}, OPTIONS))


@pytest.mark.parametrize("seconds", [0.2, 0.9, 1.7])
def test_a_stream_that_is_shorter_than_a_window(seconds: float) -> None:
    picture = Picture(num_frames=round(seconds * 25), width=32, height=32, options=SHORT_GOP)
    recording = record("mp4", picture, Tones(seconds=seconds), (*FRAGMENTS[:1], ("frag_duration", "100000")))
    pieces = split(recording, fragment_starts(recording))
    check(recording, [({"video": piece}, {}) for piece in pieces])


@pytest.mark.parametrize("options", [{"smoothing_windows": 1}, {"lookahead_windows": 0}, {"stride_seconds": 1.0}])
def test_with_other_smoothing_and_strides(options: dict[str, Any]) -> None:
    recording = fragmented("mp4")
    pieces: list[Chunk] = [({"video": piece}, {}) for piece in split(recording, fragment_starts(recording)[2::3])]
    chosen = {**OPTIONS, **options}
    assert_same(stream(shared(), pieces, chosen), whole(shared(), {"video": recording}, chosen))


def test_an_end_without_media_ends_the_stream() -> None:
    recording, first, second = halves()
    check(recording, [({"video": first}, {}), ({"video": second}, {}), ({}, {})])


# What it costs


def test_each_hop_is_encoded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    recording = fragmented("mp4")
    encoded: dict[str, int] = {}
    encode = Scorer._encode

    def counted(self: Scorer, modality: str, clip: Any) -> Any:
        encoded[modality] = encoded.get(modality, 0) + clip.schedule.num_hops
        return encode(self, modality, clip)

    monkeypatch.setattr(Scorer, "_encode", counted)
    stream(shared(), [({"video": piece}, {}) for piece in split(recording, fragment_starts(recording))], OPTIONS)
    assert encoded == {"video": 10, "audio": 10}


def test_noise_that_the_decoder_makes_up_differs_by_little() -> None:
    """AAC's PNS draws its noise anew in each decoder."""
    recording = render("mp4", Sound(rate=48_000, seconds=SECONDS))
    pieces = cut_files(recording, [2.03])
    assert_same(
        stream(shared(), [({"video": piece}, {}) for piece in pieces], OPTIONS),
        whole(shared(), {"video": recording}, OPTIONS),
        tolerance=5e-3,
    )


# Parts of an answer


def test_each_window_is_final_once_and_what_is_final_does_not_change() -> None:
    recording = fragmented("mp4")
    streamed = stream(
        shared(), [({"video": piece}, {}) for piece in split(recording, fragment_starts(recording))], OPTIONS
    )
    assert [window["start_seconds"] for window in streamed.final("windows")] == [0.5 * place for place in range(7)]
    until = [answer["stream"]["final_until_seconds"] for answer in streamed.answers]
    assert until == sorted(until)
    for answer, seconds in zip(streamed.answers, until, strict=True):
        assert all(it["start_seconds"] >= seconds - 1e-6 for it in answer["segments"] if not it["final"])
        assert list(answer)[-1] == ("stream" if answer is streamed.last else "state")
    clocks = [answer["stream"]["clock_seconds"] for answer in streamed.answers]
    assert clocks == sorted(clocks)
    assert clocks[-1] == pytest.approx(5.0133, abs=1e-4)


def test_the_same_chunk_with_the_same_state_is_answered_alike() -> None:
    _, first, second = halves()
    begun = send(shared(), {"video": first}, {}, OPTIONS)
    once, twice = (send(shared(), {"video": second}, {}, OPTIONS, begun["state"]) for _ in range(2))
    tokens = [shared().streams.seal.unseal(answer.pop("state")) for answer in (once, twice)]
    assert once == twice
    assert tokens[0] == tokens[1]


def test_a_chunk_in_ndjson_has_its_state_in_the_header() -> None:
    _, first, _ = halves()
    raw = {"video": first, "options": json.dumps({"chunk": {}, "format": "ndjson", "extras": ["windows", "timing"]})}
    (response,) = shared().respond([raw], ["one"])
    header, *lines = map(json.loads, response.body.decode().splitlines())
    assert header["type"] == "header"
    assert header["state"]
    assert header["stream"]["clock_seconds"] > 2
    assert header["timing"].keys() == {"decode_seconds", "model_seconds"}
    assert {line["type"] for line in lines} <= {"window", "segment"}
    assert not lines[-1]["final"]


def test_chunks_and_other_requests_share_a_batch() -> None:
    recording, first, _ = halves()
    chunk = {"video": first, "options": json.dumps({"chunk": {}})}
    broken = {"video": first[100:], "options": json.dumps({"chunk": {}})}
    good = {"video": recording}
    alone = [shared().respond([raw], ["alone"])[0] for raw in (good, broken)]
    found = shared().respond([good, chunk, broken], ["a", "b", "c"])
    assert found[0].body == alone[0].body
    assert found[1].status == 200
    assert (found[2].status, found[2].body) == (422, alone[1].body)
