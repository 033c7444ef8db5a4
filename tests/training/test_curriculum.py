"""Stages, their criteria, the moving average and early stopping; each of them resumed bit for bit."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from models.settings import SettingsError
from tests.training.clips import TINY, decode_once
from training.curriculum import Curriculum, Plateau
from training.dataset import RunBatch
from training.history import read_history
from training.learner import Learner
from training.recipe import Recipe
from training.train import TrainingResult, Watch, train

TRAINING = {"clips_per_batch": 3, "hops_per_run": 5, "seed": 5}
STAGES = [
    {"name": "single ones", "epochs": 2, "modalities": "singles"},
    {"name": "pairs", "epochs": 3, "modalities": "pairs", "freeze": ["audio"], "until": {"at_least": 0.0}},
    {"name": "all", "epochs": 2, "freeze": ["video", "text"]},
]


def make_recipe(curriculum: list[dict[str, Any]] | None = None, **training: Any) -> Recipe:
    values = {
        "model": TINY.model_dump(mode="json"),
        "training": {**TRAINING, **training},
        "curriculum": STAGES if curriculum is None else curriculum,
    }
    return Recipe.read(values, source="r")


def run(recipe: Recipe, manifest: Path, output: Path, *, resume: bool = False) -> TrainingResult:
    return train(recipe, manifest, output, command="activity train r", resume=resume, decode=decode_once)


def weights_of(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")


def test_stages_follow_each_other_and_freeze_what_they_say(
    tiny_manifest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second stage ends after one of its three epochs, since its criterion is met at once."""
    seen: list[tuple[str, bool, dict[str, bool]]] = []
    snapshots: dict[str, dict[str, torch.Tensor]] = {}
    step = Learner.training_step

    def training_step(learner: Learner, batch: RunBatch, index: int) -> torch.Tensor:
        name = learner.stage.name
        snapshots.setdefault(name, {key: value.clone() for key, value in learner.model.state_dict().items()})
        modes = {key: encoder.training for key, encoder in learner.model.encoders.items()}
        seen.append((name, index == 0, modes))
        return step(learner, batch, index)

    monkeypatch.setattr(Learner, "training_step", training_step)
    run(make_recipe(), tiny_manifest, tmp_path)
    epochs = [name for name, first, _ in seen if first]
    assert epochs == ["single ones", "single ones", "pairs", "all", "all"]
    modes = {name: mode for name, _, mode in seen}
    assert modes["pairs"] == {"video": True, "audio": False, "text": True}
    assert modes["all"] == {"video": False, "audio": True, "text": False}
    rows = read_history(tmp_path)
    assert [(row["epoch"], row["stage"]) for row in rows] == list(enumerate(epochs, start=1))
    assert ["train_loss_single" in row for row in rows] == [False, False, True, True, True]
    after = {"pairs": snapshots["all"], "all": weights_of(tmp_path)}
    for stage, frozen in (("pairs", {"audio"}), ("all", {"video", "text"})):
        for key, value in after[stage].items():
            if key.startswith("encoders.") and value.is_floating_point():
                same = torch.equal(value, snapshots[stage][key])
                assert same == (key.split(".")[1] in frozen), (stage, key)


def test_each_stage_has_a_learning_rate_schedule_of_its_own(tiny_manifest: Path, tmp_path: Path) -> None:
    """Three steps an epoch: the rate of an epoch's last step, along each stage's cosine from its own beginning."""
    run(make_recipe(warmup_fraction=0.0, learning_rate=1e-3), tiny_manifest, tmp_path)
    rates = [row["learning_rate"] for row in read_history(tmp_path)]
    cosine = [(2, 6), (5, 6), (2, 9), (2, 6), (5, 6)]
    assert rates == pytest.approx([5e-4 * (1 + math.cos(math.pi * done / steps)) for done, steps in cosine])


def resumed_everywhere(recipe: Recipe, manifest: Path, folder: Path) -> None:
    """Stopped in the second epoch and in the last and gone on each time, against a training that was left alone."""
    whole, stopped = folder / "whole", folder / "stopped"
    run(recipe, manifest, whole)
    step = Learner.training_step
    for epoch in (1, len(read_history(whole)) - 1):
        with pytest.MonkeyPatch.context() as patch:

            def training_step(learner: Learner, batch: RunBatch, index: int, stop: int = epoch) -> torch.Tensor:
                if (learner.current_epoch, index) == (stop, 1):
                    raise KeyboardInterrupt
                return step(learner, batch, index)

            patch.setattr(Learner, "training_step", training_step)
            with pytest.raises(KeyboardInterrupt):
                run(recipe, manifest, stopped, resume=True)
    run(recipe, manifest, stopped, resume=True)
    one, other = weights_of(whole), weights_of(stopped)
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert (whole / "model.json").read_bytes() == (stopped / "model.json").read_bytes()
    histories = [[{**row, "seconds": 0} for row in read_history(path)] for path in (whole, stopped)]
    assert histories[0] == histories[1]
    run(recipe, manifest, stopped, resume=True)  # once more: nothing is left to do
    assert all(torch.equal(one[name], tensor) for name, tensor in weights_of(stopped).items())


def test_stages_average_mixup_and_balance_are_resumed_bit_for_bit(tiny_manifest: Path, tmp_path: Path) -> None:
    recipe = make_recipe(
        ema_decay=0.9, mixup_alpha=0.4, gradient_balance={"alpha": 0.3}, accumulate_batches=2, label_smoothing=0.1
    )
    resumed_everywhere(recipe, tiny_manifest, tmp_path)


def test_early_stopping_is_resumed_bit_for_bit_and_stays_at_its_end(tiny_manifest: Path, tmp_path: Path) -> None:
    """An improvement by 10 never comes: the first epoch is the best, and two more are waited for."""
    stopping = {"metric": "val_loss", "patience": 2, "min_delta": 10.0}
    resumed_everywhere(make_recipe([], epochs=9, early_stopping=stopping), tiny_manifest, tmp_path)
    assert len(read_history(tmp_path / "whole")) == 3


def test_early_stopping_gives_the_best_weights(tiny_manifest: Path, tmp_path: Path) -> None:
    one_epoch = weights_after_one_epoch(tiny_manifest, tmp_path / "one")
    stopping = {"patience": 1, "min_delta": 10.0}
    run(make_recipe([], epochs=9, early_stopping=stopping), tiny_manifest, tmp_path / "stopped")
    kept = weights_of(tmp_path / "stopped")
    assert all(torch.equal(one_epoch[name], kept[name]) for name in one_epoch)


def weights_after_one_epoch(manifest: Path, output: Path) -> dict[str, torch.Tensor]:
    """Of the training of nine epochs: its state after the first."""
    captured: dict[str, torch.Tensor] = {}

    def keep(curriculum: Curriculum, trainer: Any, module: Learner) -> None:
        if trainer.current_epoch == 0:
            captured.update({key: value.clone() for key, value in module.model.state_dict().items()})
        end(curriculum, trainer, module)

    end = Curriculum.on_train_epoch_end
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Curriculum, "on_train_epoch_end", keep)
        run(make_recipe([], epochs=9, early_stopping={"patience": 1, "min_delta": 10.0}), manifest, output)
    return captured


def test_the_average_is_that_of_all_steps(tiny_manifest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Against the average written out over the weights of every step, in float64."""
    steps: list[dict[str, torch.Tensor]] = []
    step = Learner.training_step

    def training_step(learner: Learner, batch: RunBatch, index: int) -> torch.Tensor:
        steps.append({name: tensor.clone() for name, tensor in learner.model.state_dict().items()})
        return step(learner, batch, index)

    monkeypatch.setattr(Learner, "training_step", training_step)
    plain, averaged = tmp_path / "plain", tmp_path / "averaged"
    run(make_recipe([], epochs=2), tiny_manifest, plain)
    begun, *later = [*steps, weights_of(plain)]
    run(make_recipe([], epochs=2, ema_decay=0.25), tiny_manifest, averaged)
    assert all(torch.equal(steps[6][name], tensor) for name, tensor in begun.items())  # both began alike
    for name, tensor in weights_of(averaged).items():
        if not tensor.is_floating_point():
            continue
        expected = begun[name].double()
        for number, weights in enumerate(later, start=1):
            decay = min(0.25, (1 + number) / (10 + number))
            expected = decay * expected + (1 - decay) * weights[name].double()
        torch.testing.assert_close(tensor.double(), expected, rtol=1e-4, atol=1e-6)
    history = [read_history(folder) for folder in (plain, averaged)]
    assert [row["train_loss"] for row in history[0]] == [row["train_loss"] for row in history[1]]
    assert [row["val_loss"] for row in history[0]] != [row["val_loss"] for row in history[1]]  # the average's


def test_a_plateau() -> None:
    plateau = Plateau("val_loss", 2, min_delta=0.1)
    assert [plateau.improved(value) for value in (1.0, 0.95, 0.8, float("nan"), 0.75)] == [
        True,
        False,
        True,
        False,
        False,
    ]
    assert (plateau.best, plateau.over) == (0.8, True)
    rising = Plateau("val_accuracy", 1)
    assert [rising.improved(value) for value in (0.5, 0.6, 0.6)] == [True, True, False]
    assert rising.over


@pytest.mark.parametrize(
    ("curriculum", "message"),
    [
        ([{"name": "a", "epochs": 1, "freeze": ["imu"]}], r"curriculum\.0\.freeze has imu, the model has video, audio"),
        ([{"name": "a", "epochs": 1}, {"name": "a", "epochs": 1}], "need different names"),
        ([{"name": "a", "epochs": 1, "until": {}}], "give at_least, at_most or patience"),
        ([{"name": "a", "epochs": 1, "modalities": "triples"}], r"curriculum\.0\.modalities"),
    ],
)
def test_a_curriculum_that_cannot_be_led(curriculum: list[dict[str, Any]], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        make_recipe(curriculum)


def test_what_is_never_trained_is_not_frozen(tiny_manifest: Path, tmp_path: Path) -> None:
    recipe = make_recipe([{"name": "a", "epochs": 1, "freeze": ["text", "video"]}])
    with pytest.raises(SettingsError, match=r"freezes text, video in every stage, .* train with --init"):
        train(recipe, tiny_manifest, tmp_path, command="c", watch=Watch(), decode=decode_once)
