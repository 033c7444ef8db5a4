"""The scales of cosines: against a fine grid, on clips whose rivals are those of other clips."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.handler.requests import tiny_checkpoint
from tests.handler.test_embedding import TOWERS
from tests.handler.test_inference import make_clip
from tests.models.tiny import TINY
from training.dataset import LabelledClip
from training.embedded import EmbeddedWindows
from training.manifest import ManifestEntry
from training.scales import contrastive_loss, fit_scale, fit_scales_into


def make_windows(noise: float, num_clips: int = 20) -> EmbeddedWindows:
    """Two windows a clip; sound is the picture with noise; the last clip is silent."""
    rng = np.random.default_rng(0)
    clips = np.repeat(np.arange(num_clips), 2)

    def unit(rows: NDArray[np.float64]) -> NDArray[np.float32]:
        return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), dtype=np.float32)

    video = rng.normal(size=(len(clips), 8))
    audio = video + noise * rng.normal(size=video.shape)
    return EmbeddedWindows(
        vectors={"video": unit(video), "audio": unit(audio)},
        present={"video": np.ones(len(clips), dtype=np.bool_), "audio": clips < num_clips - 1},
        texts=(None,) * len(clips),
        groups=tuple(str(clip) for clip in clips),
        clips=clips,
    )


def loss(windows: EmbeddedWindows, scale: float) -> float:
    """By loops over the windows that have both."""
    rows = [n for n in range(len(windows.clips)) if windows.present["audio"][n]]
    losses = []
    for one, other in (("video", "audio"), ("audio", "video")):
        for n in rows:
            logits = {
                k: scale * float(windows.vectors[one][n].astype(float) @ windows.vectors[other][k].astype(float))
                for k in rows
                if k == n or windows.clips[k] != windows.clips[n]
            }
            losses.append(math.log(sum(math.exp(it) for it in logits.values())) - logits[n])
    return sum(losses) / len(losses)


@pytest.mark.parametrize("noise", [0.5, 1.0, 3.0])
def test_the_scale_is_the_best_of_a_grid(noise: float) -> None:
    windows = make_windows(noise)
    scale = fit_scale(windows, "video", "audio")
    assert scale is not None
    assert scale == fit_scale(windows, "audio", "video")
    best = loss(windows, scale)
    assert all(best <= loss(windows, scale * factor) for factor in (0.5, 0.9, 0.99, 1.01, 1.1, 2.0))


def test_towers_that_tell_less_have_a_smaller_scale() -> None:
    scales = [fit_scale(make_windows(noise), "video", "audio") or 0.0 for noise in (0.7, 1.5, 3.0)]
    assert scales == sorted(scales, reverse=True)


def test_the_loss_is_that_of_loops() -> None:
    windows = make_windows(1.0)
    rows = windows.present["audio"]
    cosines = windows.vectors["video"][rows].astype(float) @ windows.vectors["audio"][rows].astype(float).T
    clips = windows.clips[rows]
    rivals = (clips[:, None] != clips[None]) | np.eye(len(clips), dtype=np.bool_)
    assert contrastive_loss(cosines, rivals, 7.0) == pytest.approx(loss(windows, 7.0), abs=1e-9)


def test_one_clip_alone_has_no_scale() -> None:
    assert fit_scale(make_windows(1.0, num_clips=2), "video", "audio") is None
    assert fit_scale(make_windows(1.0), "video", "text") is None


def test_a_model_with_towers_gets_the_scale_of_each_pair() -> None:
    checkpoint = tiny_checkpoint(TOWERS)
    clips = [
        LabelledClip(ManifestEntry(None, None, Path("a.wav"), (), label="stir"), make_clip(9, seed=seed))
        for seed in range(3)
    ]
    config = fit_scales_into(TOWERS, checkpoint.model, checkpoint.tokenizer, clips)
    assert config.embedding is not None
    assert set(config.embedding.scales) == {"audio+text", "audio+video", "text+video"}
    assert config.model_copy(update={"embedding": TOWERS.embedding}) == TOWERS
    assert fit_scales_into(TINY, checkpoint.model, checkpoint.tokenizer, clips) is TINY
