"""Streams of models of other kinds: labels of the request's choice, encoders that see whole windows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from handler.limits import Limits
from handler.pipeline import ActivityPipeline
from handler.runtime import choose_runtime
from models.checkpoint import Checkpoint, CheckpointDescription
from models.pretrained.weights import quiet_transformers
from tests.handler.streaming import Chunk, assert_same, send, stream, whole
from tests.media import Picture
from tests.pretrained_factory import tiny_clap, tiny_clip
from tests.stream_media import FRAGMENTS, LONG_GOP, Tones, fragment_starts, record, split
from tests.whole_windows import whole_window_model
from tests.zero_shot import LABELS, assembled, pipeline_of, recipe_values

OPTIONS: dict[str, Any] = {"extras": ["windows"], "threshold": 0.0, "min_segment_seconds": 0.5}


def recording() -> bytes:
    picture = Picture(num_frames=150, width=32, height=32, options=LONG_GOP)
    return record("mp4", picture, Tones(seconds=6.0), FRAGMENTS)


def chunks() -> list[Chunk]:
    pieces = split(recording(), fragment_starts(recording())[2::4])
    return [({"video": piece}, {}) for piece in pieces]


def test_labels_of_the_request_s_choice(tmp_path: Path) -> None:
    with quiet_transformers():
        folders = {"video": tiny_clip(tmp_path / "clip"), "audio": tiny_clap(tmp_path / "clap")}
    pipeline = pipeline_of(assembled(tmp_path / "checkpoint", recipe_values(**folders, labels=LABELS)))
    options = {**OPTIONS, "labels": ["stir", "chop", "pour"], "weights": {"video": 1, "audio": 0.5}}
    assert_same(stream(pipeline, chunks(), options), whole(pipeline, {"video": recording()}, options))
    state = send(pipeline, *chunks()[0], options)["state"]
    others = {**options, "labels": ["stir", "chop"]}
    assert send(pipeline, *chunks()[1], others, state)["code"] == "state_foreign"


def test_encoders_that_see_whole_windows(tmp_path: Path) -> None:
    model, config = whole_window_model(tmp_path)
    description = CheckpointDescription(name="tiny", version="0.1", config=config)
    checkpoint = Checkpoint(description=description, model=model, tokenizer=None)
    limits = Limits(max_state_bytes=1_000_000)
    pipeline = ActivityPipeline(checkpoint, runtime=choose_runtime(threads=1), limits=limits)
    assert set(config.window_spanned) == {"video", "audio"}
    assert_same(stream(pipeline, chunks(), OPTIONS), whole(pipeline, {"video": recording()}, OPTIONS))
    # What such encoders go on from are raw frames and samples: a state that is too large for them is said to be.
    small = ActivityPipeline(checkpoint, runtime=choose_runtime(threads=1), limits=Limits(max_state_bytes=20_000))
    assert send(small, *chunks()[0], OPTIONS)["code"] == "limit_state"
