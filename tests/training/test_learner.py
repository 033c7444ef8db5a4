"""The training step: what it masks, what it counts, what it changes, and that it sees what the server sees."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from handler.inference import Scorer
from handler.runtime import Runtime
from handler.transform import Transforms
from models.config import Modality, ModelConfig
from models.model import build_model
from models.tokenizer import train_tokenizer
from tests.training.clips import TINY
from training.dataset import LabelledClip, RunBatch, RunDataset, stack_runs
from training.learner import Learner
from training.masks import drop_modalities
from training.recipe import Recipe, TrainingConfig

MULTI = TINY.model_copy(update={"head": TINY.head.model_copy(update={"task": "multi_label"})})
SINGLE_THREAD = Runtime(torch.device("cpu"), torch.float32, threads=1)


def make_learner(config: ModelConfig = TINY, *, steps: int = 100, training: TrainingConfig | None = None) -> Learner:
    torch.manual_seed(0)
    transforms = Transforms(config, train_tokenizer(["hello there my friend", "good bye all"] * 2, 96))
    recipe = Recipe(model=config, training=(training or TrainingConfig()).model_copy(update={"epochs": 1}))
    return Learner(build_model(config), transforms, recipe, steps_per_epoch=steps)


def make_batch(learner: Learner, clips: list[LabelledClip], hops_per_run: int = 6) -> RunBatch:
    dataset = RunDataset(clips, learner.transforms, hops_per_run=hops_per_run, seed=0)
    return stack_runs([dataset[index] for index in range(len(clips))])


# --- training and serving ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("kept", [("video", "audio", "text"), ("video",), ("audio",), ("text",), ("video", "text")])
def test_training_and_serving_give_the_same_logits(tiny_clips: list[LabelledClip], kept: tuple[Modality, ...]) -> None:
    """The one run that is the whole clip, against the served path, which scores hop by hop in micro-batches."""
    learner = make_learner().eval()
    lengths = learner.transforms.text(tiny_clips[0].clip.texts or ())[1].sum(dim=1)
    assert lengths.min() < lengths.max() < 64  # padding is seen, and cut off
    for labelled in (tiny_clips[0], tiny_clips[1]):
        clip = replace(
            labelled.clip,
            frames=labelled.clip.frames if "video" in kept else None,
            samples=labelled.clip.samples if "audio" in kept else None,
            texts=labelled.clip.texts if "text" in kept else None,
            masks={name: mask for name, mask in labelled.clip.masks.items() if name in kept},
        )
        batch = make_batch(learner, [replace(labelled, clip=clip)], clip.schedule.num_hops)
        with torch.no_grad():
            (logits,) = learner(batch, [batch.masks])
        served = Scorer(learner.model, learner.transforms, SINGLE_THREAD).score(clip).scores
        assert served.shape == (clip.schedule.num_windows, 8)
        np.testing.assert_allclose(logits[0].double().log_softmax(dim=-1), np.log(served), rtol=0, atol=1e-5)
        assert np.ptp(served, axis=0).max() > 1e-3  # windows differ, or agreement would say nothing


def test_a_run_is_scored_as_these_windows_of_the_whole_clip(tiny_clips: list[LabelledClip]) -> None:
    """Cut-out runs of several clips in one batch, each with its own place in its clip."""
    learner = make_learner(MULTI).eval()
    dataset = RunDataset(tiny_clips, learner.transforms, hops_per_run=6, seed=2)
    scorer = Scorer(learner.model, learner.transforms, SINGLE_THREAD)
    batch = stack_runs([dataset[index] for index in range(4)])
    with torch.no_grad():
        (logits,) = learner(batch, [batch.masks])
    for row, (clip_index, first) in enumerate(dataset.runs[:4]):
        served = scorer.score(tiny_clips[clip_index].clip).scores[first : first + 3]
        np.testing.assert_allclose(logits[row], np.log(served / (1.0 - served)), rtol=0, atol=1e-5)
    assert len({first for _, first in dataset.runs[:4]}) > 1


def test_a_clip_shorter_than_a_window_is_scored_as_it_is_served(tiny_clips: list[LabelledClip]) -> None:
    learner = make_learner().eval()
    labelled = tiny_clips[0]
    clip = labelled.clip
    assert clip.frames is not None
    assert clip.samples is not None
    assert clip.texts is not None
    short = replace(
        clip,
        schedule=replace(clip.schedule, num_hops=2),
        frames=clip.frames[:2],
        samples=clip.samples[:2],
        texts=clip.texts[:2],
        masks={name: mask[:2] for name, mask in clip.masks.items()},
    )
    batch = make_batch(learner, [replace(labelled, clip=short)])
    with torch.no_grad():
        (logits,) = learner(batch, [batch.masks])
    served = Scorer(learner.model, learner.transforms, SINGLE_THREAD).score(short).scores
    np.testing.assert_allclose(logits[0, :1].double().log_softmax(dim=-1), np.log(served), rtol=0, atol=1e-5)


# --- modality dropout -------------------------------------------------------------------------------------------


def test_no_modality_is_invented_and_one_always_stays() -> None:
    torch.manual_seed(1)
    masks = torch.rand(4000, 3, 5) < 0.3  # runs in which some modalities are nowhere, or only here and there
    for probability in (0.0, 0.3, 0.9, 1.0):
        kept = drop_modalities(masks, probability)
        assert not (kept & ~masks).any()
        assert torch.equal(kept.flatten(1).any(dim=1), masks.flatten(1).any(dim=1))
        # A modality goes from the whole run or not at all.
        whole = (kept == masks).all(dim=2)
        gone = ~kept.any(dim=2)
        assert (whole | gone).all()
    assert torch.equal(drop_modalities(masks, 0.0), masks)


def test_how_often_modalities_are_dropped() -> None:
    """Of three: all with 0.027, and then one of them comes back; so 0.3 less a third of that are gone."""
    torch.manual_seed(2)
    runs, probability = 60_000, 0.3
    kept = drop_modalities(torch.ones(runs, 3, 1, dtype=torch.bool), probability)[..., 0]
    expected = probability - probability**3 / 3
    error = math.sqrt(expected * (1 - expected) / runs)
    assert (~kept).float().mean(dim=0).tolist() == pytest.approx([expected] * 3, abs=4 * error)
    counts = kept.sum(dim=1).bincount(minlength=4) / runs
    ways = [0.0, 3 * 0.7 * 0.09 + 0.027, 3 * 0.49 * 0.3, 0.343]
    assert counts.tolist() == pytest.approx(ways, abs=4 * math.sqrt(0.25 / runs))


def test_with_certain_dropout_one_modality_is_left_each_with_the_same_chance() -> None:
    torch.manual_seed(3)
    runs = 60_000
    masks = torch.ones(runs, 3, 1, dtype=torch.bool)
    masks[runs // 2 :, 1] = False  # in the second half there are but two
    kept = drop_modalities(masks, 1.0)[..., 0]
    assert kept.sum(dim=1).unique().tolist() == [1]
    error = 4 * math.sqrt(0.25 / (runs / 2))
    assert kept[: runs // 2].float().mean(dim=0).tolist() == pytest.approx([1 / 3] * 3, abs=error)
    assert kept[runs // 2 :].float().mean(dim=0).tolist() == pytest.approx([0.5, 0.0, 0.5], abs=error)


def test_a_lone_modality_is_never_dropped() -> None:
    masks = torch.ones(100, 1, 4, dtype=torch.bool)
    assert torch.equal(drop_modalities(masks, 1.0), masks)


# --- loss -------------------------------------------------------------------------------------------------------


def batch_of(targets: Tensor, inside: Tensor) -> RunBatch:
    """A batch of which only the truth matters."""
    return RunBatch({}, torch.zeros(0), targets, inside, torch.zeros(0))


def test_windows_without_a_label_do_not_count() -> None:
    learner = make_learner()
    logits = torch.randn(2, 3, 8)
    targets = torch.zeros(2, 3, 8)
    targets[0, 1, 5] = targets[1, 2, 0] = 1.0
    inside = torch.ones(2, 3, dtype=torch.bool)
    expected = -(logits[0, 1].log_softmax(dim=0)[5] + logits[1, 2].log_softmax(dim=0)[0]) / 2
    torch.testing.assert_close(learner._loss(logits, batch_of(targets, inside)), expected)


def test_label_smoothing_spreads_its_share_over_all_labels() -> None:
    learner = make_learner(training=TrainingConfig(label_smoothing=0.2))
    logits = torch.randn(1, 1, 8)
    targets = torch.zeros(1, 1, 8)
    targets[0, 0, 3] = 1.0
    loss = learner._loss(logits, batch_of(targets, torch.ones(1, 1, dtype=torch.bool)))
    log_scores = logits[0, 0].log_softmax(dim=0)
    torch.testing.assert_close(loss, -0.8 * log_scores[3] - 0.2 * log_scores.mean())


@pytest.mark.parametrize("config", [TINY, MULTI], ids=["single_label", "multi_label"])
def test_a_batch_in_which_nothing_counts_leaves_the_weights_alone(config: ModelConfig) -> None:
    """A mean over nothing would be NaN, and after one such step so would every weight."""
    learner = make_learner(config)
    logits = torch.randn(2, 3, 8, requires_grad=True)
    loss = learner._loss(logits, batch_of(torch.zeros(2, 3, 8), torch.zeros(2, 3, dtype=torch.bool)))
    assert loss.item() == 0.0
    loss.backward()
    assert logits.grad is not None
    assert not logits.grad.any()


def test_with_many_labels_each_is_told_on_its_own_and_none_is_a_truth_too() -> None:
    learner = make_learner(MULTI)
    logits = torch.zeros(1, 3, 8)
    logits[0, 0, 2], logits[0, 0, 4], logits[0, 1, 1], logits[0, 2, 0] = 3.0, -1.0, 2.0, 50.0
    targets = torch.zeros(1, 3, 8)
    targets[0, 0, 2] = targets[0, 0, 4] = 1.0
    inside = torch.tensor([[True, True, False]])  # the third window is none of the clip's
    losses = [math.log1p(math.exp(-3.0)), math.log1p(math.exp(1.0)), math.log1p(math.exp(2.0)), *[math.log(2.0)] * 13]
    loss = learner._loss(logits, batch_of(targets, inside))
    assert loss.item() == pytest.approx(sum(losses) / 16, rel=1e-6)
    # In the first window the label 4 is missed, in the second the label 1 is wrong; a logit of 0 is a no.
    assert learner._accuracy(logits, batch_of(targets, inside)).item() == pytest.approx(14 / 16)


def test_accuracy_counts_labelled_windows() -> None:
    learner = make_learner()
    logits = torch.nn.functional.one_hot(torch.tensor([[1, 2, 3]]), 8).float()
    targets = torch.nn.functional.one_hot(torch.tensor([[1, 0, 0]]), 8).float()
    targets[0, 2] = 0.0
    inside = torch.ones(1, 3, dtype=torch.bool)
    assert learner._accuracy(logits, batch_of(targets, inside)).item() == 0.5


# --- step -------------------------------------------------------------------------------------------------------


def test_the_loss_is_that_of_all_and_of_one_alone(
    tiny_clips: list[LabelledClip], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without dropout: the loss with everything, and the weighted one of each run's lone modality."""
    training = TrainingConfig(modality_dropout=0.0, unimodal_weight=0.25)
    learner = make_learner(TINY.model_copy(update={"dropout": 0.0}), training=training)
    monkeypatch.setattr(learner, "log", lambda *_, **__: None)
    batch = make_batch(learner, tiny_clips)
    torch.manual_seed(5)
    drop_modalities(batch.masks, 0.0)  # the first draw
    lone = drop_modalities(batch.masks, 1.0)
    both, alone = learner(batch, [batch.masks, lone])
    torch.manual_seed(5)
    loss = learner.training_step(batch, 0)
    torch.testing.assert_close(loss, learner._loss(both, batch) + 0.25 * learner._loss(alone, batch))
    assert abs(learner._loss(alone, batch).item() - learner._loss(both, batch).item()) > 1e-4


def test_one_step_changes_every_parameter(tiny_clips: list[LabelledClip], monkeypatch: pytest.MonkeyPatch) -> None:
    """Attention between modalities by the loss with all, the embeddings of what is absent by that of one alone."""
    learner = make_learner(training=TrainingConfig(modality_dropout=0.0, weight_decay=0.0)).train()
    monkeypatch.setattr(learner, "log", lambda *_, **__: None)
    optimizer = learner.configure_optimizers()["optimizer"]
    for group in optimizer.param_groups:
        group["lr"] = 1e-3  # the schedule begins at zero
    before = {name: parameter.detach().clone() for name, parameter in learner.named_parameters()}
    torch.manual_seed(0)
    learner.training_step(make_batch(learner, tiny_clips), 0).backward()
    optimizer.step()
    unchanged = [name for name, parameter in learner.named_parameters() if torch.equal(parameter, before[name])]
    assert unchanged == []
    assert all(parameter.isfinite().all() for parameter in learner.parameters())


def test_matrices_decay_and_vectors_do_not() -> None:
    learner = make_learner(training=TrainingConfig(weight_decay=0.07))
    decayed, plain = learner.configure_optimizers()["optimizer"].param_groups
    assert (decayed["weight_decay"], plain["weight_decay"]) == (0.07, 0.0)
    assert {parameter.ndim for parameter in plain["params"]} == {1}
    assert min(parameter.ndim for parameter in decayed["params"]) == 2
    assert len(decayed["params"]) + len(plain["params"]) == len(list(learner.parameters()))


def test_the_learning_rate_rises_then_falls_along_a_cosine() -> None:
    learner = make_learner(steps=40, training=TrainingConfig(learning_rate=2e-3, warmup_fraction=0.1))
    configured = learner.configure_optimizers()
    optimizer, entry = configured["optimizer"], configured["lr_scheduler"]
    assert isinstance(entry, dict)
    assert entry["interval"] == "step"
    rates = []
    for _ in range(41):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        entry["scheduler"].step()
    expected = [2e-3 * step / 4 for step in range(4)]
    expected += [1e-3 * (1 + math.cos(math.pi * (step - 4) / 36)) for step in range(4, 41)]
    assert rates == pytest.approx(expected, abs=1e-12)
    assert rates[4] == 2e-3
    assert rates[40] == pytest.approx(0.0, abs=1e-12)
