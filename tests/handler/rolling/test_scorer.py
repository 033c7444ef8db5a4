"""Hops that come piece by piece are scored as those of the whole recording."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from handler.clip import Clip
from handler.inference import HOPS_PER_BATCH, ScoredWindows, Scorer
from handler.label_choice import default_choice
from handler.rolling.scorer import RollingScorer, RollingState
from handler.runtime import Runtime, choose_runtime
from handler.transform import Transforms
from handler.windows import Schedule, Span
from handler.zero_shot import ZeroShotScorer
from models.config import Modality
from models.encoder_config import ImageConfig, TabularConfig
from models.pretrained.weights import quiet_transformers
from models.spaces import spaces_of
from tests.handler.test_inference import make_clip, make_scorer, same, spied
from tests.models.tiny import TINY
from tests.pretrained_factory import tiny_clap, tiny_clip
from tests.whole_windows import whole_window_model
from tests.zero_shot import LABELS, assembled, pipeline_of, recipe_values

CPU = Runtime(torch.device("cpu"), torch.float32, threads=1)
SCORER = make_scorer()


def cut_clip(clip: Clip, first: int, stop: int) -> Clip:
    """Hops ``first .. stop - 1`` of a clip."""

    def cut(hops: NDArray[Any] | None) -> NDArray[Any] | None:
        return None if hops is None else hops[first:stop]

    schedule, stride = clip.schedule, clip.schedule.stride_seconds
    span = Span(schedule.hop_span(first).start_seconds, schedule.span.start_seconds + stop * stride)
    return replace(
        clip,
        schedule=Schedule(span, stride, schedule.window_hops, stop - first),
        frames=cut(clip.frames),
        samples=cut(clip.samples),
        texts=None if clip.texts is None else clip.texts[first:stop],
        depth=cut(clip.depth),
        vectors={name: hops[first:stop] for name, hops in clip.vectors.items()},
        masks={name: mask[first:stop] for name, mask in clip.masks.items()},
    )


def cut_every(clip: Clip, num_hops: int) -> Iterator[Clip]:
    total = clip.schedule.num_hops
    return (cut_clip(clip, first, min(total, first + num_hops)) for first in range(0, total, num_hops))


def roll(rolling: RollingScorer, pieces: Iterable[Clip]) -> ScoredWindows:
    return joined([*map(rolling.push, pieces), rolling.finish()])


def joined(parts: list[ScoredWindows]) -> ScoredWindows:
    return ScoredWindows(
        np.concatenate([part.scores for part in parts]), np.concatenate([part.embeddings for part in parts])
    )


def whole_batches(scorer: Scorer = SCORER, **settings: Any) -> RollingScorer:
    hops = scorer.transforms.config.windows.hops
    return RollingScorer(scorer, window_hops=hops, whole_batches=True, **settings)


def begins_late_and_ends_early(num_hops: int) -> Clip:
    """A clip whose picture is there in its middle alone; its words come and go."""
    clip, hops = make_clip(num_hops), np.arange(num_hops)
    return replace(clip, masks={**clip.masks, "video": (hops > num_hops // 3) & (hops < num_hops // 2)})


@pytest.mark.parametrize("num_hops_a_piece", [8, 16, 64])
@pytest.mark.parametrize("num_hops", [1, 3, 4, 8, 67, 131])
def test_pieces_score_as_the_whole_to_the_last_bit(num_hops: int, num_hops_a_piece: int) -> None:
    for clip in (make_clip(num_hops), begins_late_and_ends_early(num_hops), make_clip(num_hops, ("audio",))):
        assert same(roll(whole_batches(), cut_every(clip, num_hops_a_piece)), SCORER.score(clip))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_pieces_score_as_the_whole_on_several_threads(dtype: torch.dtype) -> None:
    clip = make_clip(150)
    scorer = make_scorer(replace(choose_runtime(threads=3), dtype=dtype))
    assert same(roll(whole_batches(scorer), cut_every(clip, 64)), scorer.score(clip))


@given(cuts=st.sets(st.integers(1, 39), max_size=8), exported=st.booleans())
@settings(max_examples=25, deadline=None)
def test_a_stream_cut_anywhere_scores_each_window_as_soon_as_it_is_complete(cuts: set[int], exported: bool) -> None:
    clip = begins_late_and_ends_early(40)
    rolling = RollingScorer(SCORER, window_hops=4)
    parts: list[ScoredWindows] = []
    bounds = [0, *sorted(cuts), 40]
    for first, stop in pairwise(bounds):
        if exported:  # by another worker
            rolling = RollingScorer(SCORER, window_hops=4, state=RollingState(**vars(rolling.state)))
        parts.append(rolling.push(cut_clip(clip, first, stop)))
        assert sum(len(part.scores) for part in parts) == max(0, stop - 3)
        assert rolling.state.next_hop == stop
        assert rolling.state.next_window == max(0, stop - 3)
        assert {len(hops) for hops in rolling.state.hops.values()} == {min(3, stop)}
    assert len(rolling.finish().scores) == 0
    np.testing.assert_allclose(joined(parts).scores, SCORER.score(clip).scores, atol=1e-6)


def test_a_stream_that_is_shorter_than_a_window_has_one_and_goes_on() -> None:
    clip = make_clip(9)
    rolling = RollingScorer(SCORER, window_hops=4)
    assert len(rolling.push(cut_clip(clip, 0, 2)).scores) == 0
    np.testing.assert_allclose(rolling.finish().scores, SCORER.score(cut_clip(clip, 0, 2)).scores, atol=1e-6)
    rest = joined([rolling.push(cut_clip(clip, 2, 9)), rolling.finish()])
    np.testing.assert_allclose(rest.scores, SCORER.score(clip).scores, atol=1e-6)
    assert len(RollingScorer(SCORER, window_hops=4).finish().scores) == 0  # nothing came


def test_a_modality_that_single_pieces_have_is_absent_in_the_others() -> None:
    clip = make_clip(48)
    heard = np.arange(48) // 8 % 2 == 0  # pieces 0, 2 and 4 have sound
    expected = SCORER.score(replace(clip, masks={**clip.masks, "audio": heard})).scores
    pieces = [
        piece if index % 2 == 0 else replace(piece, samples=None, masks={k: piece.masks[k] for k in ("video", "text")})
        for index, piece in enumerate(cut_every(clip, 8))
    ]
    rolling = RollingScorer(SCORER, window_hops=4)
    np.testing.assert_allclose(roll(rolling, pieces).scores, expected, atol=1e-6)
    silent = RollingScorer(SCORER, window_hops=4, state=rolling.state)
    for _ in range(2):
        silent.push(pieces[1])
    assert sorted(silent.state.hops) == ["text", "video"]  # what no kept hop has is not kept


@pytest.mark.parametrize("num_hops_a_piece", [8, 64])
def test_each_hop_is_encoded_once(num_hops_a_piece: int) -> None:
    scorer = make_scorer()
    seen = spied(scorer)
    roll(whole_batches(scorer), cut_every(make_clip(200), num_hops_a_piece))
    for name in ("video", "audio"):
        assert [len(batch) for batch in seen[name]] == [HOPS_PER_BATCH] * 25
    assert len(seen["fusion"]) == 13  # 197 windows in 16s


def test_the_cost_of_a_piece_is_that_of_its_own_hops() -> None:
    scorer = make_scorer()
    rolling = RollingScorer(scorer, window_hops=4)
    seen = spied(scorer)
    for piece in cut_every(make_clip(160), 16):
        before = {name: len(batches) for name, batches in seen.items()}
        rolling.push(piece)
        assert {name: len(seen[name]) - before[name] for name in ("video", "audio", "fusion")} == {
            "video": 2,
            "audio": 2,
            "fusion": 1,
        }


def test_words_and_pictures_that_stand_on_every_hop_are_encoded_once() -> None:
    config = TINY.model_copy(
        update={
            "image": ImageConfig(size=16, patch_size=8, depth=1, heads=2),
            "tabular": TabularConfig(numeric={"a": {}}),
        }
    )
    scorer = make_scorer(config=config)
    clip, everywhere = make_clip(96), np.ones(96, dtype=np.bool_)
    clip = replace(
        clip,
        texts=("stir the soup",) * 96,
        image=np.random.default_rng(0).integers(0, 256, (3, 16, 16), dtype=np.uint8),
        row={"a": 2.0},
        masks={**clip.masks, "text": everywhere, "image": everywhere, "tabular": everywhere},
    )
    expected, seen = scorer.score(clip), spied(scorer)
    assert same(roll(whole_batches(scorer), cut_every(clip, 16)), expected)
    assert [len(seen[name]) for name in ("text", "image", "tabular", "video")] == [1, 1, 1, 12]
    changed = replace(cut_clip(clip, 0, 16), row={"a": 3.0})
    rolling = RollingScorer(scorer, window_hops=4)
    rolling.push(cut_clip(clip, 0, 16))
    assert rolling.push(changed).scores[-1].tobytes() != expected.scores[12].tobytes()  # another row is encoded anew


@pytest.mark.parametrize("num_hops", [2, 4, 41])
def test_encoders_that_see_whole_windows_see_the_same_ones(num_hops: int, tmp_path: Path) -> None:
    model, config = whole_window_model(tmp_path)
    scorer = Scorer(model, Transforms(config, None), CPU)
    rng = np.random.default_rng(0)
    assert config.video is not None
    assert config.audio is not None
    frames = (num_hops, config.video.frames_per_hop, 3, config.video.size, config.video.size)
    hops = np.arange(num_hops)
    clip = replace(
        make_clip(num_hops, ("video", "audio")),
        frames=rng.integers(0, 256, frames, dtype=np.uint8),
        samples=rng.normal(0, 0.1, (num_hops, config.hop_samples + config.audio.context_samples)).astype(np.float32),
        masks={"video": (hops < 9) | (hops > 20), "audio": hops > 6},
    )
    expected = scorer.score(clip)
    seen = spied(scorer)
    assert same(roll(whole_batches(scorer), cut_every(clip, 8)), expected)
    forwards = -(-clip.schedule.num_windows // scorer.hops_per_batch("video"))
    assert len(seen["video"]) == forwards  # each window is encoded once
    assert same(roll(whole_batches(scorer), cut_every(clip, 64)), expected)
    stream = RollingScorer(scorer, window_hops=4)
    np.testing.assert_allclose(roll(stream, cut_every(clip, 5)).scores, expected.scores, atol=1e-6)


@pytest.mark.parametrize("chosen", [True, False])
def test_labels_of_the_request_s_choice_are_scored_alike(chosen: bool, tmp_path: Path) -> None:
    with quiet_transformers():
        folders = {"video": tiny_clip(tmp_path / "clip"), "audio": tiny_clap(tmp_path / "clap")}
    none = {"sight": {"none_threshold": 0.2}, "sound": {"none_threshold": 0.1}}
    values = recipe_values(**folders, labels=LABELS, none_label="nothing", spaces=none)
    scorer = pipeline_of(assembled(tmp_path / "checkpoint", values)).scorer
    assert isinstance(scorer, ZeroShotScorer)
    config, rng = scorer.transforms.config, np.random.default_rng(0)
    assert config.zero_shot is not None
    assert spaces_of(config)
    choice = default_choice(["stir", "chop"], config.zero_shot) if chosen else None
    hops = np.arange(40)
    assert config.video is not None
    frames = rng.integers(0, 256, (40, config.video.frames_per_hop, 3, config.video.size, config.video.size))
    masks: dict[Modality, NDArray[np.bool_]] = {"video": hops > 5, "audio": hops < 30}
    clip = Clip(
        schedule=Schedule(Span(0.0, 40.0), 1.0, config.windows.hops, 40),
        modalities={},
        frames=frames.astype(np.uint8),
        samples=rng.normal(0, 0.1, (40, config.hop_samples)).astype(np.float32),
        masks=masks,
    )
    expected = scorer.score(clip) if choice is None else scorer.score_labels(clip, choice)
    rolled = roll(whole_batches(scorer, choice=choice), cut_every(clip, 8))
    assert rolled.scores.shape == expected.scores.shape == (39, 3)
    assert rolled.embeddings.tobytes() == expected.embeddings.tobytes()
    np.testing.assert_allclose(rolled.scores, expected.scores, atol=1e-12)  # a product of matrices of other shapes


def test_a_state_whose_parts_do_not_fit_is_a_defect() -> None:
    with pytest.raises(ValueError, match=r"a state of 2 hops cannot have arrays of \[3\]"):
        RollingState(5, {"audio": np.zeros((3, 1, 4), np.float32)}, {"audio": np.ones(3, np.bool_)}, 2)
    with pytest.raises(ValueError, match="of 1 hops 2 cannot be left"):
        RollingState(1, {}, {}, 2)
