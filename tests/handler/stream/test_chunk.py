"""What a chunk may not be, what holes it may leave, and what its state may weigh."""

from __future__ import annotations

import base64
import io
import json
import time
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from handler.limits import Limits
from handler.packing import pack, unpack
from handler.pipeline import ActivityPipeline
from handler.runtime import choose_runtime
from models.encoder_config import DepthConfig, VectorConfig
from tests.handler.requests import tiny_checkpoint
from tests.handler.streaming import Chunk, assert_same, send, stream, whole
from tests.media import Picture, Sound, render
from tests.models.tiny import TINY
from tests.stream_media import FRAGMENTS, LONG_GOP, SHORT_GOP, Tones, cut_files, fragment_starts, record, split

KEY = bytes(range(32))
PICTURE = Picture(num_frames=125, width=32, height=32, options=LONG_GOP)
OPTIONS = {"extras": ["windows"], "threshold": 0.0, "min_segment_seconds": 0.0}


def build(limits: Limits | None = None, key: bytes = KEY, **config: Any) -> ActivityPipeline:
    checkpoint = tiny_checkpoint(TINY.model_copy(update=config))
    return ActivityPipeline(checkpoint, runtime=choose_runtime(threads=1), limits=limits, stream_key=key)


@lru_cache(maxsize=1)
def shared() -> ActivityPipeline:
    return build()


@lru_cache(maxsize=1)
def pieces() -> tuple[bytes, ...]:
    """Four chunks of one recording."""
    recording = record("mp4", PICTURE, Tones(seconds=5.0), FRAGMENTS)
    starts = fragment_starts(recording)
    return tuple(split(recording, starts[3::4]))


@lru_cache(maxsize=1)
def states() -> tuple[str, ...]:
    """The state after each of the first three."""
    found: list[str] = []
    for piece in pieces()[:3]:
        answer = send(shared(), {"video": piece}, {}, None, found[-1] if found else None)
        found.append(answer["state"])
    return tuple(found)


def refused(state: str | None, piece: bytes | None = None, chunk: Any = None, **others: Any) -> tuple[int, str, str]:
    parts = {} if piece is None else {"video": piece}
    answer = send(others.get("pipeline") or shared(), parts, chunk or {}, others.get("options"), state)
    assert answer["status"] != 200, answer
    assert answer["remedy"]
    return answer["status"], answer["code"], answer["message"]


# Order


def test_a_chunk_that_comes_twice_says_where_it_lies_and_where_the_clock_stands() -> None:
    status, code, message = refused(states()[1], pieces()[1])
    assert (status, code) == (409, "chunk_out_of_order")
    assert "its video begins at 1.240 s" in message
    assert "the stream is known up to 2.480 s" in message


def test_a_chunk_of_a_single_frame_that_comes_twice_is_seen() -> None:
    recording = record("mp4", PICTURE, None, (("movflags", "frag_every_frame+delay_moov"),))
    first, second, *_ = split(recording, fragment_starts(recording)[3:6])
    state = send(shared(), {"video": first}, {})["state"]
    state = send(shared(), {"video": second}, {}, None, state)["state"]
    assert refused(state, second)[1] == "chunk_out_of_order"


@pytest.mark.parametrize("kind", ["sound", "start"])
def test_sound_and_starts_before_the_clock_are_out_of_order(kind: str) -> None:
    recording = record(
        "mp4", None, Tones(seconds=5.0), (("movflags", "frag_keyframe+delay_moov"), ("frag_duration", "500000"))
    )
    first, second = split(recording, fragment_starts(recording)[4:5])
    state = send(shared(), {"video": first}, {})["state"]
    chunk = {"start_seconds": 1.0} if kind == "start" else {"offset_seconds": -2.0}
    status, code, message = refused(state, second, chunk)
    assert (status, code) == (409, "chunk_out_of_order")
    assert ("start_seconds is 1.000 s" if kind == "start" else "its sound begins at") in message


def test_a_lost_chunk_inside_a_group_of_pictures_is_not_guessed_at() -> None:
    status, code, message = refused(states()[0], pieces()[2])
    assert (status, code) == (422, "chunk_undecodable_start")
    assert "begins at 2.520 s inside a group of pictures" in message


def test_a_lead_that_is_too_large_is_not_kept() -> None:
    pipeline = build(Limits(max_lead_bytes=100))
    state = send(pipeline, {"video": pieces()[0]}, {})["state"]
    assert refused(state, pieces()[1], pipeline=pipeline)[:2] == (422, "chunk_undecodable_start")


def test_without_a_lead_chunks_are_cut_at_key_frames() -> None:
    pipeline = build(Limits(max_lead_bytes=1))
    picture = Picture(num_frames=100, width=32, height=32, options=SHORT_GOP)
    recording = record("mp4", picture, Tones(seconds=4.0))
    chunks: list[Chunk] = [({"video": piece}, {}) for piece in cut_files(recording, [0.8, 1.6, 3.2])]
    assert_same(stream(pipeline, chunks, OPTIONS), whole(pipeline, {"video": recording}, OPTIONS))


def test_a_fragment_without_its_recordings_header_is_refused() -> None:
    status, code, message = refused(None, pieces()[1])
    assert (status, code) == (422, "undecodable_media")
    assert "header" in message


# Gaps


def test_a_gap_leaves_hops_without_any_modality() -> None:
    pipeline = shared()
    picture = Picture(num_frames=50, width=32, height=32, options=SHORT_GOP)
    recording = record("mp4", picture, Tones(seconds=2.0))
    begun = send(pipeline, {"video": recording}, {}, OPTIONS)
    assert "gap_seconds" not in begun["stream"]
    went_on = send(pipeline, {"video": recording}, {"offset_seconds": 6.0, "last": True}, OPTIONS, begun["state"])
    assert went_on["stream"]["gap_seconds"] == pytest.approx(4.0, abs=0.03)
    assert went_on["duration_seconds"] == pytest.approx(8.0, abs=0.02)
    windows = [*(window for window in begun["windows"] if window["final"]), *went_on["windows"]]
    assert [window["start_seconds"] for window in windows] == [0.5 * place for place in range(13)]
    # Windows 2.0 .. 6.0 see nothing: what such a window gives depends on nothing.
    unseen = [json.dumps(window["scores"]) for window in windows if 2.0 <= window["start_seconds"] <= 4.0]
    assert len(set(unseen)) == 1


def test_a_chunk_far_beyond_the_end_is_refused() -> None:
    picture = Picture(num_frames=50, width=32, height=32, options=SHORT_GOP)
    recording = record("mp4", picture, None)
    state = send(shared(), {"video": recording}, {})["state"]
    assert refused(state, recording, {"offset_seconds": 1e6})[:2] == (413, "limit_seconds")
    apart = {"video": recording, "audio": late()}
    assert send(shared(), apart, {})["code"] == "limit_seconds"
    answer = send(shared(), apart, {"stop_seconds": 3.0}, None, state)
    assert answer["code"] == "limit_seconds"


def test_a_start_beyond_what_was_sent_is_refused() -> None:
    for state, piece, stop in ((None, pieces()[0], "1.3"), (states()[0], pieces()[1], "2.")):
        for start in (5.0, 1e9):
            status, code, message = refused(state, piece, {"start_seconds": start})
            assert (status, code) == (400, "invalid_options")
            assert f"chunk.start_seconds is {start:.3f} s, and what was sent ends at {stop}" in message


def test_a_picture_that_ends_before_the_start_stays_as_long_as_it_was() -> None:
    picture = Picture(num_frames=25, width=32, height=32, options=SHORT_GOP)
    parts = {"video": record("mp4", picture, None), "audio": record("mp4", None, Tones(seconds=60.0))}
    answer = send(shared(), parts, {"start_seconds": 50.0, "last": True}, OPTIONS)
    assert answer["status"] == 200
    assert answer["start_seconds"] == 1.0  # where the picture ends


def late() -> bytes:
    """A sound of one second that begins after 700 seconds."""
    return render("matroska", Sound(codec="pcm_s16le", seconds=1.0, pts_ms=tuple(range(700_000, 701_000, 100))))


def test_a_sound_that_comes_back_after_long_is_not_filled_up() -> None:
    sound = record("mp4", None, Tones(seconds=2.0))
    begun = send(shared(), {"audio": sound}, {}, OPTIONS)
    ended = send(shared(), {"audio": sound}, {"offset_seconds": 500.0, "last": True}, OPTIONS, begun["state"])
    assert ended["stream"]["gap_seconds"] == pytest.approx(498.0, abs=0.03)
    assert ended["duration_seconds"] == pytest.approx(502.0, abs=0.03)
    alone = whole(shared(), {"audio": sound}, OPTIONS)
    (only,) = alone["windows"]
    assert ended["windows"][-1]["scores"] == pytest.approx(only["scores"], abs=1e-5)


def test_a_sound_that_ends_early_holds_up_nobody() -> None:
    picture = Picture(num_frames=100, width=32, height=32, options=SHORT_GOP)
    recording = record("mp4", picture, Tones(seconds=1.3), FRAGMENTS)
    starts = fragment_starts(recording)
    for cuts in (starts, starts[len(starts) * 3 // 4 :][:1]):
        chunks: list[Chunk] = [({"video": piece}, {}) for piece in split(recording, cuts)]
        streamed = stream(shared(), chunks, OPTIONS)
        clocks = [answer["stream"]["clock_seconds"] for answer in streamed.answers]
        assert max(after - before for before, after in pairwise(clocks)) < 1.5
        assert_same(streamed, whole(shared(), {"video": recording}, OPTIONS))


# States


def test_a_changed_state_is_invalid() -> None:
    token = states()[0]
    changed = token[:200] + ("A" if token[200] != "A" else "B") + token[201:]
    assert refused(changed, pieces()[1])[:2] == (400, "state_invalid")
    assert refused("", pieces()[1])[:2] == (400, "state_invalid")
    assert refused(base64.urlsafe_b64encode(bytes(200)).decode(), pieces()[1])[:2] == (400, "state_invalid")
    assert refused(token, pieces()[1], pipeline=build(key=KEY[::-1]))[:2] == (400, "state_invalid")


def test_a_signed_state_that_is_none_is_invalid() -> None:
    for payload in (b"", b"not packed", bytes(100)):
        assert refused(shared().streams.seal.seal(payload), pieces()[1])[:2] == (400, "state_invalid")


@pytest.mark.parametrize(
    ("place", "value"),
    [(("stream", "pictures"), []), (("stream", "times"), [0.0]), (("rolling",), 1), (("decision",), {"more": 1})],
    ids=str,
)
def test_a_signed_state_of_another_shape_is_invalid(place: tuple[str, ...], value: Any) -> None:
    seal = shared().streams.seal
    values = unpack(seal.unseal(states()[0]), 10_000_000)
    *ways, last = place
    inner = values
    for way in ways:
        inner = inner[way]
    inner[last] = value
    assert refused(seal.seal(pack(values)), pieces()[1])[:2] == (400, "state_invalid")


def test_a_state_of_another_model_or_other_options_is_foreign() -> None:
    other = build(labels=("stir", "chop", "fry"))
    assert refused(states()[0], pieces()[1], pipeline=other)[:2] == (409, "state_foreign")
    for options in (
        {"threshold": 0.9},
        {"smoothing_windows": 1},
        {"stride_seconds": 1.0},
        {"exclude_labels": ["stir"]},
    ):
        assert refused(states()[0], pieces()[1], options=options)[:2] == (409, "state_foreign")
    assert send(shared(), {"video": pieces()[1]}, {}, {"extras": ["timing"], "top_k": 1}, states()[0])["status"] == 200


def test_an_old_state_is_expired(monkeypatch: pytest.MonkeyPatch) -> None:
    now = time.time()
    token = states()[0]
    monkeypatch.setattr("time.time", lambda: now + 3_700)
    assert refused(token, pieces()[1])[:2] == (410, "state_expired")


def test_any_worker_with_the_key_goes_on() -> None:
    answer = send(build(), {"video": pieces()[1]}, {}, None, states()[0])
    assert {**answer, "state": ""} == {**send(shared(), {"video": pieces()[1]}, {}, None, states()[0]), "state": ""}


def test_a_state_without_a_chunk_is_refused() -> None:
    (response,) = shared().respond([{"video": pieces()[0], "state": states()[0]}], ["one"])
    assert (response.status, response.code) == (400, "invalid_options")


@pytest.mark.parametrize(
    "options",
    [
        {"extras": ["embedding"]},
        {"extras": ["explanation"]},
        {"extras": ["transcript"]},
        {"format": "vtt"},
        {"stream": True},
        {"chunk": {"start_seconds": 2.0, "stop_seconds": 1.0}},
        {"chunk": {"offset_seconds": 1e12}},
        {"chunk": {"end": True}},
    ],
    ids=str,
)
def test_what_a_chunk_cannot_be_answered_with(options: dict[str, Any]) -> None:
    raw = {"video": pieces()[0], "options": json.dumps({"chunk": {}, **options})}
    (response,) = shared().respond([raw], ["one"])
    assert (response.status, response.code) == (400, "invalid_options")


def test_explanations_of_chunks_are_refused() -> None:
    raw = {"video": pieces()[0], "options": json.dumps({"chunk": {}})}
    (response,) = shared().respond([raw], ["one"], explained=[0])
    assert (response.status, response.code) == (400, "invalid_options")


def test_a_stream_begins_with_what_has_times() -> None:
    answer = send(shared(), {"text": "stir the soup"}, {})
    assert (answer["status"], answer["code"]) == (400, "invalid_request")
    assert send(shared(), {"text": "stir"}, {}, None, states()[0])["status"] == 200
    assert send(shared(), {}, {"last": True})["code"] == "invalid_request"
    assert send(shared(), {}, {}, None, states()[0])["code"] == "invalid_request"


def test_a_kserve_body_of_one_chunk_is_answered_and_of_two_refused() -> None:
    encoded = base64.b64encode(pieces()[0]).decode()
    instance = {"video": encoded, "options": {"chunk": {}}}
    (one,) = shared().respond([{"body": {"instances": [instance]}}], ["one"])
    (answer,) = json.loads(one.body)["predictions"]
    second = {"video": base64.b64encode(pieces()[1]).decode(), "options": {"chunk": {}}, "state": answer["state"]}
    (two,) = shared().respond([{"body": {"instances": [second]}}], ["two"])
    assert json.loads(two.body)["predictions"][0]["stream"]["clock_seconds"] > 2
    (both,) = shared().respond([{"body": {"instances": [instance, instance]}}], ["both"])
    assert {each["code"] for each in json.loads(both.body)["predictions"]} == {"invalid_options"}


# Sizes


def test_a_state_that_could_not_be_unpacked_is_not_given() -> None:
    pipeline = build(Limits(max_state_bytes=9_000), vectors={"imu": VectorConfig(channels=50, rate_hz=10.0)})
    rows = {"seconds": [place / 10_000 for place in range(2_000)], "values": [[0.0] * 50] * 2_000}
    answer = send(pipeline, {"imu": json.dumps(rows)}, {})
    assert (answer["status"], answer["code"]) == (413, "limit_state")
    assert "at most 576000 are allowed" in answer["message"]


def test_the_frame_that_is_held_is_kept_once() -> None:
    picture = Picture(num_frames=4, width=32, height=32, options=SHORT_GOP, pts_ms=(0, 40, 80, 200_000))
    recording = record("mp4", picture, Tones(seconds=1.0), FRAGMENTS)
    pipeline = build()
    answer = send(pipeline, {"video": split(recording, fragment_starts(recording)[-1:])[0]}, {})
    assert answer["stream"]["clock_seconds"] < 1.1
    state = unpack(pipeline.streams.seal.unseal(answer["state"]), 1_000_000)
    assert len(state["stream"]["pictures"]["video"]["frames"]) == 0


def test_states_of_the_demo_model_on_a_busy_picture_are_bounded() -> None:
    demo = Path(__file__).resolve().parents[3] / "model-store" / "demo"
    pipeline = ActivityPipeline.from_checkpoint(demo, runtime=choose_runtime(threads=1))
    sizes, state = [], None
    for piece in busy():
        answer = send(pipeline, {"video": piece, "text": "hello there"}, {}, None, state)
        assert answer["status"] == 200, answer
        state = answer["state"]
        sizes.append(len(state))
    assert max(sizes) <= Limits().max_state_bytes == 262_144
    assert max(sizes) > 60_000  # busy it is


@lru_cache(maxsize=1)
def busy() -> tuple[bytes, ...]:
    """Chunks of noise at 720p, each of one group of pictures of 0.2 s."""
    rng = np.random.default_rng(0)
    file = io.BytesIO()
    with av.open(file, "w", format="mp4", options={"movflags": "frag_keyframe+delay_moov+default_base_moof"}) as output:
        options = {"preset": "ultrafast", "g": "5", "bf": "0", "crf": "51"}
        video = output.add_stream("libx264", rate=25, options=options)
        video.width, video.height, video.pix_fmt = 1280, 720, "yuv420p"
        audio = output.add_stream("aac", rate=48_000)
        for place in range(70):
            blocks = rng.integers(0, 255, (45, 80, 3)).repeat(16, axis=0).repeat(16, axis=1).astype(np.uint8)
            frame = av.VideoFrame.from_ndarray(blocks, format="rgb24")
            frame.pts = place
            output.mux(video.encode(frame))
            noise = rng.normal(0, 0.2, (1, 1920)).astype(np.float32)
            sound = av.AudioFrame.from_ndarray(noise, format="fltp", layout="mono")
            sound.sample_rate, sound.pts = 48_000, place * 1920
            output.mux(audio.encode(sound))
        output.mux(video.encode(None))
        output.mux(audio.encode(None))
    recording = file.getvalue()
    return tuple(split(recording, fragment_starts(recording)))


# Depth and vectors


def test_depth_and_vectors_go_on_as_well() -> None:
    config: dict[str, Any] = {
        "depth": DepthConfig(frames_per_hop=2, size=16, tubelet_frames=1, patch_size=8, depth=1, heads=2),
        "vectors": {"imu": VectorConfig(channels=2, rate_hz=10.0)},
    }
    pipeline = build(**config)
    picture, depth = record("mp4", PICTURE, None, FRAGMENTS), record("matroska", PICTURE, None)
    rows = np.random.default_rng(0).normal(size=(50, 2)).round(3)
    seconds = [place / 10 for place in range(50)]
    starts = fragment_starts(picture)[6:7]
    depths = cut_files(depth, [2.03], "matroska")
    tables = [
        {"seconds": seconds[: part.stop][part], "values": rows[part].tolist()} for part in (slice(0, 23), slice(23, 50))
    ]
    chunks: list[Chunk] = [
        ({"video": one, "depth": two, "imu": json.dumps(table)}, {})
        for one, two, table in zip(split(picture, starts), depths, tables, strict=True)
    ]
    parts = {"video": picture, "depth": depth, "imu": json.dumps({"seconds": seconds, "values": rows.tolist()})}
    streamed = stream(pipeline, chunks, OPTIONS)
    assert_same(streamed, whole(pipeline, parts, OPTIONS))
    assert streamed.last["modalities"]["imu"] == {"used": True}
