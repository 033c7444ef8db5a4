"""A recording of several pieces is answered as one that is decoded and scored at once."""

from __future__ import annotations

import json
import sys
import tracemalloc
from collections.abc import Iterator
from dataclasses import replace
from functools import lru_cache
from typing import Any

import numpy as np
import pytest

from handler import pipeline as pipeline_module
from handler.clip import ModalityStatus
from handler.errors import ActivityError, UndecodableMedia
from handler.inference import EncodedClip, ScoredWindows
from handler.limits import Limits
from handler.measures import Outcome
from handler.pipeline import ActivityPipeline
from handler.recordings import pieces as pieces_module
from handler.recordings.pieces import ClipPiece, ModalityFailed, Pieces, decode_pieces
from handler.recordings.recording import EmbeddingSum, decode_anew, read_clip
from handler.response import Response
from handler.windows import Span, build_schedule
from models.config import Modality
from tests.handler.requests import decode_with, tiny_pipeline
from tests.handler.test_inference import make_clip, make_scorer, spied
from tests.media import X264, Picture, Sound, render
from tests.models.tiny import TINY

CUES = "WEBVTT\n\n00:00.000 --> 00:02.000\nstir the soup\n\n01:03.000 --> 01:06.000\nchop the onion\n"


@lru_cache(maxsize=1)
def shared() -> ActivityPipeline:
    return tiny_pipeline()


@lru_cache(maxsize=1)
def movie() -> bytes:
    """75 s, three pieces; the sound ends earlier."""
    picture = Picture(num_frames=375, rate=5, width=32, height=32, options=X264)
    return render("mp4", picture, Sound(seconds=61.3))


def ask(pipeline: ActivityPipeline | None = None, **options: Any) -> tuple[Response, Outcome]:
    raw = {"video": movie(), "text": CUES, "options": json.dumps(options)}
    ((response, outcome),) = (pipeline or shared()).respond_measured([raw], ["1"])
    assert response.status == 200, response.body
    return response, outcome


@pytest.mark.parametrize(
    "options",
    [
        {"extras": ["windows", "embedding"]},
        {"extras": ["windows"], "stride_seconds": 1.5, "format": "ndjson"},
        {"format": "vtt", "smoothing_windows": 9, "min_segment_seconds": 0.0},
    ],
)
def test_pieces_are_answered_as_the_whole_to_the_last_byte(
    options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    lengths: list[int] = []

    def counted(*args: Any, hops_per_piece: int, **kwargs: Any) -> Pieces:
        pieces = decode_pieces(*args, hops_per_piece=hops_per_piece, **kwargs)

        def each() -> Iterator[ClipPiece]:
            for piece in pieces.pieces:
                lengths.append(piece.clip.schedule.num_hops)
                yield piece

        return Pieces(pieces.schedule, pieces.modalities, pieces.transcript, each())

    decode_with(monkeypatch, counted)
    in_pieces = ask(**options)[0]
    monkeypatch.setattr(pipeline_module, "HOPS_PER_PIECE", sys.maxsize)
    assert ask(**options)[0].body == in_pieces.body
    assert lengths == [64, 64, 22, 150]


def test_each_hop_of_a_recording_is_encoded_once_and_its_cost_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    pipeline = tiny_pipeline()
    seen = spied(pipeline.scorer)
    fuse, fused = pipeline.scorer.fuse, []

    def counted(encoded: EncodedClip) -> ScoredWindows:
        fused.append(encoded.clip.schedule.num_windows)
        return fuse(encoded)

    monkeypatch.setattr(pipeline.scorer, "fuse", counted)
    _, outcome = ask(pipeline)
    assert fused == [48, 64, 32, 3]  # in the sixteens of the whole
    assert len(seen["video"]) == len(seen["audio"]) == 19  # 150 hops in eights
    assert outcome.measures.windows == 147
    assert outcome.measures.clip_seconds == pytest.approx(75.0)
    assert outcome.measures.computed["hop"] >= 300
    assert {"decode", "encode", "fuse"} <= outcome.measures.seconds.keys()
    timing = json.loads(ask(extras=["timing"])[0].body)["timing"]
    assert all(seconds > 0 for seconds in timing.values())


def test_a_recording_is_answered_within_a_batch() -> None:
    long = {"video": movie(), "text": CUES}
    short = {"text": "stir the soup"}
    together = shared().respond([short, long, {"video": b"broken"}, long], list("abcd"))
    assert [response.status for response in together] == [200, 200, 422, 200]
    assert together[1] == together[3] == shared().respond([long], ["e"])[0]
    assert together[0] == shared().respond([short], ["f"])[0]


def test_a_modality_that_fails_midway_is_left_out_from_the_beginning(monkeypatch: pytest.MonkeyPatch) -> None:
    error = UndecodableMedia("broken in its midst", remedy="Send it anew.")
    opened: list[list[Modality]] = []

    def failing(request: Any, *args: Any, failed: dict[Modality, ActivityError], **kwargs: Any) -> Pieces:
        opened.append(list(failed))
        whole = decode_pieces(request, *args, failed={}, **kwargs)
        if "video" in failed:
            sound = replace(request, video=None, audio=request.video)
            pieces = decode_pieces(sound, *args, failed={}, **kwargs)
            broken = ModalityStatus(used=False, code=error.code, reason=error.message)
            return Pieces(pieces.schedule, {**pieces.modalities, "video": broken}, None, pieces.pieces)

        def some() -> Iterator[ClipPiece]:
            yield next(whole.pieces)
            raise ModalityFailed("video", error)

        return Pieces(whole.schedule, whole.modalities, None, some())

    ((sound,),) = [shared().respond([{"audio": movie(), "text": CUES}], ["1"])]
    decode_with(monkeypatch, failing)
    answer, expected = json.loads(ask()[0].body), json.loads(sound.body)
    assert opened == [[], ["video"]]
    assert answer["modalities"].pop("video") == {"used": False, "code": error.code, "reason": error.message}
    del expected["modalities"]["video"]
    assert answer == expected


def test_a_modality_that_fails_although_it_is_left_out_ends_the_attempts() -> None:
    error = UndecodableMedia("broken", remedy="Send it anew.")

    def use(_pieces: Pieces) -> None:
        raise ModalityFailed("audio", error)

    with pytest.raises(UndecodableMedia, match="broken"):
        decode_anew(lambda _failed: Pieces(build_schedule(Span(0.0, 1.0), TINY.windows), {}, None, iter(())), use)


def test_explanations_are_refused_before_a_long_recording_is_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    decoded: list[Any] = []
    monkeypatch.setattr(pieces_module, "decode_sources", decoded.append)
    monkeypatch.setattr(pieces_module, "decode_cropped_pieces", decoded.append)
    pipeline = tiny_pipeline()
    pipeline.limits = Limits(max_explained_seconds=60.0)
    raw = {"video": movie(), "options": '{"extras": ["explanation"]}'}
    (response,) = pipeline.respond([raw], ["1"])
    assert json.loads(response.body)["code"] == "limit_explained_seconds"
    assert decoded == []
    monkeypatch.undo()
    explained = tiny_pipeline().respond([raw], ["1"])[0]  # of several pieces, and short enough
    assert len(json.loads(explained.body)["explanation"]["windows"]) == 147


def pieces_of(num_pieces: int) -> Pieces:
    schedule = build_schedule(Span(0.0, num_pieces * 32.0), TINY.windows)
    pieces = (ClipPiece(64 * index, make_clip(64, seed=index)) for index in range(num_pieces))
    return Pieces(schedule, {}, None, pieces)


def test_memory_does_not_grow_with_the_length() -> None:
    scorer = make_scorer()
    peaks = []
    for num_pieces in (3, 3, 15):
        tracemalloc.start()
        read = read_clip(pieces_of(num_pieces), scorer, None)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert read.scored is not None
        assert read.scored.scores.shape == (64 * num_pieces - 3, 3)
    one_piece = 64 * 8240 * 4
    assert peaks[2] - peaks[1] < one_piece / 4


def test_the_mean_of_embeddings_is_the_whole_s_to_the_last_bit() -> None:
    rng = np.random.default_rng(0)
    embeddings = rng.normal(0, 1, (500, 48)).astype(np.float32)
    for cuts in ([], [1], [0, 64, 64, 128, 300], list(range(500))):
        total = EmbeddingSum()
        for part in np.split(embeddings, cuts):
            total.add(part)
        assert total.mean().tobytes() == embeddings.mean(axis=0).tobytes()
    with pytest.raises(ValueError, match="no window was added"):
        EmbeddingSum().mean()
