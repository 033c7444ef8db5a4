"""Temperature scaling: a known temperature is found again, and the likelihood never gets worse."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from handler.inference import Scorer
from handler.runtime import Runtime
from handler.segments import Task
from handler.transform import Transforms
from models.config import ModelConfig
from models.model import build_model
from models.tokenizer import train_tokenizer
from tests.training.clips import TINY
from training.calibrate import CANDIDATES, HeldOutWindows, fit_temperature, score_held_out
from training.dataset import LabelledClip, window_targets

MULTI = TINY.model_copy(update={"head": TINY.head.model_copy(update={"task": "multi_label"})})


def draw_windows(task: Task, temperature: float, *, num_windows: int = 40_000, seed: int = 0) -> HeldOutWindows:
    """Labels drawn from scores, whose logits are then too large by ``temperature``."""
    rng = np.random.default_rng(seed)
    logits: NDArray[np.float64] = rng.normal(0.0, 1.5, size=(num_windows, 5))
    if task == "multi_label":
        targets = rng.uniform(size=logits.shape) < 1.0 / (1.0 + np.exp(-logits))
    else:
        best = (logits + rng.gumbel(size=logits.shape)).argmax(axis=1)  # a draw from the softmax
        targets = np.eye(5, dtype=np.bool_)[best]
    return HeldOutWindows(logits * temperature, targets.astype(np.float32), task)


@pytest.mark.parametrize("task", ["single_label", "multi_label"])
@pytest.mark.parametrize("temperature", [0.5, 1.0, 1.7, 4.0])
def test_a_known_temperature_is_recovered(task: Task, temperature: float) -> None:
    # With 40,000 windows the estimate's own error is about 0.7 %: two steps of 1.7 % leave room for it.
    fitted = fit_temperature(draw_windows(task, temperature))
    assert fitted == pytest.approx(temperature, rel=0.035)


def test_unlabelled_windows_do_not_count_where_there_is_one_label() -> None:
    windows = draw_windows("single_label", 2.0, num_windows=5_000)
    rng = np.random.default_rng(1)
    noise, nothing = rng.normal(0, 50, size=(5_000, 5)), np.zeros((5_000, 5), dtype=np.float32)
    mixed = HeldOutWindows(
        np.concatenate([windows.logits, noise]), np.concatenate([windows.targets, nothing]), "single_label"
    )
    assert fit_temperature(mixed) == fit_temperature(windows)
    assert mixed.num_labelled == 5_000
    assert mixed.accuracy == windows.accuracy


@pytest.mark.parametrize("task", ["single_label", "multi_label"])
def test_the_likelihood_never_gets_worse(task: Task) -> None:
    assert 1.0 in CANDIDATES
    assert (np.diff(CANDIDATES) > 0).all()
    assert np.max(CANDIDATES[1:] / CANDIDATES[:-1]) < 1.018
    for seed in range(30):
        rng = np.random.default_rng(seed)
        targets = np.eye(4, dtype=np.float32)[rng.integers(0, 4, size=12)]
        windows = HeldOutWindows(rng.normal(0, rng.uniform(0.1, 20), size=(12, 4)), targets, task)
        fitted = windows.negative_log_likelihood(fit_temperature(windows))
        assert fitted <= windows.negative_log_likelihood(1.0)


def test_literal_likelihoods() -> None:
    logits, targets = np.array([[2.0, 0.0], [0.0, 2.0]]), np.array([[1, 0], [1, 0]], dtype=np.float32)
    single, multi = HeldOutWindows(logits, targets, "single_label"), HeldOutWindows(logits, targets, "multi_label")
    assert single.negative_log_likelihood(1.0) == pytest.approx((0.1269280110 + 2.1269280110) / 2)
    assert single.negative_log_likelihood(2.0) == pytest.approx((0.3132616875 + 1.3132616875) / 2)
    # Sigmoid: yes at 2, no at 0, yes at 0, no at 2.
    assert multi.negative_log_likelihood(1.0) == pytest.approx((0.1269280110 + 2 * 0.6931471806 + 2.1269280110) / 4)
    assert single.accuracy == 0.5
    assert multi.accuracy == 0.5  # yes at 2 and no at 0 are right, no at 0 and yes at 2 are not


def test_huge_logits_stay_finite() -> None:
    windows = HeldOutWindows(np.array([[1e4, 0.0], [0.0, 1e4]]), np.eye(2, dtype=np.float32), "single_label")
    assert windows.negative_log_likelihood(0.25) == 0.0
    assert np.isfinite(fit_temperature(windows))


def test_without_a_label_there_is_nothing_to_fit() -> None:
    with pytest.raises(ValueError, match="at least one window with a label"):
        fit_temperature(HeldOutWindows(np.zeros((3, 2)), np.zeros((3, 2), dtype=np.float32), "single_label"))


@pytest.mark.parametrize("config", [TINY, MULTI], ids=["single_label", "multi_label"])
def test_clips_are_scored_as_they_are_served(tiny_clips: list[LabelledClip], config: ModelConfig) -> None:
    """Scores give the logits back, whatever the temperature they were served with."""
    torch.manual_seed(0)
    transforms = Transforms(config, train_tokenizer(["hello", "good bye"] * 2, 96))
    model = build_model(config)
    runtime = Runtime(torch.device("cpu"), torch.float32, threads=1)
    plain, warm = (score_held_out(Scorer(model, transforms, runtime, temperature=t), tiny_clips[:2]) for t in (1, 2.5))
    scores = np.concatenate([Scorer(model, transforms, runtime).score(c.clip).scores for c in tiny_clips[:2]])
    if config.head.task == "multi_label":
        np.testing.assert_allclose(1 / (1 + np.exp(-plain.logits)), scores, atol=1e-12)
    else:
        np.testing.assert_allclose(np.exp(plain.logits), scores, atol=1e-12)
    gaps = [windows.logits - windows.logits[:, :1] for windows in (plain, warm)]
    np.testing.assert_allclose(gaps[0], gaps[1], atol=1e-9)
    assert np.abs(gaps[0]).max() > 1e-2
    truth = [window_targets(c.entry.segments, c.clip.schedule, config.labels) for c in tiny_clips[:2]]
    np.testing.assert_array_equal(plain.targets, np.concatenate(truth))
    assert plain.task == config.head.task
