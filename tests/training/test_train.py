"""Training from end to end on six tiny clips: the checkpoint, the same weights again, and going on after a stop."""

from __future__ import annotations

import json
import logging
import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from lightning import Trainer
from safetensors.torch import load_file

from handler.pipeline import ActivityPipeline
from handler.runtime import Runtime
from models.checkpoint import load_checkpoint, read_description
from models.settings import SettingsError
from tests.training.clips import TINY, decode_tiny
from training.calibrate import CANDIDATES
from training.dataset import RunBatch, RunDataset
from training.learner import Learner
from training.lock import sole_writer
from training.manifest import Split, read_manifest, write_manifest
from training.recipe import Recipe, TrainingConfig
from training.train import TrainingResult, train

EPOCHS = 4
RECIPE = Recipe(
    name="tiny",
    version="0.3",
    model=TINY,
    training=TrainingConfig(epochs=EPOCHS, clips_per_batch=3, hops_per_run=5, warmup_fraction=0.0, seed=5),
)


def run(manifest: Path, output: Path, *, recipe: Recipe = RECIPE, resume: bool = False) -> TrainingResult:
    return train(recipe, manifest, output, command="activity train tiny", resume=resume)


def changed(**settings: float) -> Recipe:
    """The recipe with other training settings."""
    return RECIPE.model_copy(update={"training": RECIPE.training.model_copy(update=settings)})


@pytest.fixture(scope="module")
def trained(tiny_manifest: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, TrainingResult]:
    """A training that was not disturbed."""
    output = tmp_path_factory.mktemp("trained")
    return output, run(tiny_manifest, output)


def test_the_checkpoint_is_whole(trained: tuple[Path, TrainingResult], tiny_manifest: Path) -> None:
    output, result = trained
    assert result.checkpoint == output
    assert sorted(file.name for file in output.iterdir()) == [
        "last.ckpt",
        "logs",
        "metrics.csv",
        "model.json",
        "model.safetensors",
        "tokenizer.json",
    ]
    description = read_description(output)
    assert (description.name, description.version, description.config) == ("tiny", "0.3", TINY)
    assert description.training == {
        "command": "activity train tiny",
        "settings": RECIPE.training.model_dump(mode="json"),
        "clips": 4,
    }
    assert description.metrics == {"val_accuracy": round(result.val_accuracy, 4)}
    assert result.decode_seconds > 0
    assert result.fit_seconds > 0

    pipeline = ActivityPipeline.from_checkpoint(output, runtime=Runtime(torch.device("cpu"), torch.float32, threads=1))
    assert pipeline.scorer.temperature == description.temperature
    assert description.temperature in CANDIDATES
    held = decode_tiny(tiny_manifest)[4:]
    right = total = 0
    for labelled in held:
        truth = RunDataset([labelled], pipeline.scorer.transforms, hops_per_run=5, seed=0).targets[0].numpy()
        best = pipeline.scorer.score(labelled.clip).scores.argmax(axis=1)
        right += int((best == truth.argmax(axis=1))[truth.any(axis=1)].sum())
        total += int(truth.any(axis=1).sum())
    assert result.val_accuracy == right / total
    assert total == 16


def test_the_vocabulary_is_of_words_not_of_timestamps(trained: tuple[Path, TrainingResult]) -> None:
    tokenizer = load_checkpoint(trained[0]).tokenizer
    assert tokenizer is not None
    entries = [entry for entry in tokenizer.get_vocab() if entry not in {"[PAD]", "[UNK]"}]
    assert len(entries) > 20
    assert not [entry for entry in entries if any(char.isdigit() for char in entry) or "->" in entry]


def test_it_learns(tiny_manifest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The loss on what is learned begins at chance, ln 8 for each of its two parts, and falls well below."""
    losses: list[float] = []
    step = Learner.training_step

    def training_step(learner: Learner, batch: RunBatch, index: int) -> torch.Tensor:
        loss = step(learner, batch, index)
        losses.append(loss.item())
        return loss

    monkeypatch.setattr(Learner, "training_step", training_step)
    run(tiny_manifest, tmp_path, recipe=changed(epochs=40, learning_rate=3e-3))
    assert len(losses) == 40 * 3
    assert losses[0] == pytest.approx(2 * np.log(8), rel=0.25)
    assert np.mean(losses[-6:]) < 0.85 * 2 * np.log(8)  # other seeds: 0.62 to 0.72


def test_the_same_seed_gives_the_same_weights(
    trained: tuple[Path, TrainingResult], tiny_manifest: Path, tmp_path: Path
) -> None:
    torch.manual_seed(99)  # what happened before does not matter
    run(tiny_manifest, tmp_path)
    for name in ("model.safetensors", "tokenizer.json", "model.json"):
        assert (tmp_path / name).read_bytes() == (trained[0] / name).read_bytes()


def test_another_seed_gives_other_weights(
    trained: tuple[Path, TrainingResult], tiny_manifest: Path, tmp_path: Path
) -> None:
    run(tiny_manifest, tmp_path, recipe=changed(seed=6, epochs=1))
    one, two = load_file(trained[0] / "model.safetensors"), load_file(tmp_path / "model.safetensors")
    assert not any(torch.equal(one[name], two[name]) for name in one if one[name].ndim > 1)


def stop_at(patch: pytest.MonkeyPatch, epoch: int, batch_index: int) -> None:
    """Press Ctrl-C in the middle of an epoch."""
    step = Learner.training_step

    def training_step(learner: Learner, batch: RunBatch, index: int) -> torch.Tensor:
        if (learner.current_epoch, index) == (epoch, batch_index):
            raise KeyboardInterrupt
        return step(learner, batch, index)

    patch.setattr(Learner, "training_step", training_step)


def test_a_stopped_training_goes_on_as_if_nothing_had_been(
    trained: tuple[Path, TrainingResult], tiny_manifest: Path, tmp_path: Path
) -> None:
    """Bit for bit: stopped in the third of four epochs, it begins that epoch anew."""
    handler = signal.getsignal(signal.SIGINT)
    with pytest.MonkeyPatch.context() as patch:
        stop_at(patch, epoch=2, batch_index=1)
        with pytest.raises(KeyboardInterrupt):
            run(tiny_manifest, tmp_path)
    assert signal.getsignal(signal.SIGINT) is handler
    assert sorted(file.name for file in tmp_path.iterdir()) == ["last.ckpt", "logs", "metrics.csv"]

    steps: list[tuple[int, int]] = []
    epochs: list[int] = []
    step, draw = Learner.training_step, RunDataset.set_epoch

    def training_step(learner: Learner, batch: RunBatch, index: int) -> torch.Tensor:
        steps.append((learner.current_epoch, index))
        return step(learner, batch, index)

    def set_epoch(dataset: RunDataset, epoch: int) -> None:
        epochs.append(epoch)
        draw(dataset, epoch)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Learner, "training_step", training_step)
        patch.setattr(RunDataset, "set_epoch", set_epoch)
        result = run(tiny_manifest, tmp_path, resume=True)
    assert steps == [(epoch, index) for epoch in (2, 3) for index in range(3)]
    assert epochs == [0, 0, 2, 3]  # both splits' when they are made, then those that are trained
    assert (tmp_path / "model.safetensors").read_bytes() == (trained[0] / "model.safetensors").read_bytes()
    assert (tmp_path / "model.json").read_bytes() == (trained[0] / "model.json").read_bytes()
    assert result.val_accuracy == trained[1].val_accuracy


def test_a_process_killed_while_it_writes_its_state_keeps_the_last_whole_one(
    trained: tuple[Path, TrainingResult], tiny_manifest: Path, tmp_path: Path
) -> None:
    save = Trainer.save_checkpoint

    def save_checkpoint(trainer: Trainer, path: Path) -> None:
        if trainer.current_epoch == 2:
            path.write_bytes(b"the first bytes")
            raise KeyboardInterrupt
        save(trainer, path)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Trainer, "save_checkpoint", save_checkpoint)
        with pytest.raises(KeyboardInterrupt):
            run(tiny_manifest, tmp_path)
    run(tiny_manifest, tmp_path, resume=True)
    assert (tmp_path / "model.safetensors").read_bytes() == (trained[0] / "model.safetensors").read_bytes()


def test_two_trainings_do_not_share_a_folder(tiny_manifest: Path, tmp_path: Path) -> None:
    with sole_writer(tmp_path), pytest.raises(SettingsError, match="another training writes"):
        run(tiny_manifest, tmp_path)


def test_a_finished_training_may_be_resumed_in_another_folder(
    trained: tuple[Path, TrainingResult], tiny_manifest: Path, tmp_path: Path
) -> None:
    (tmp_path / "last.ckpt").write_bytes((trained[0] / "last.ckpt").read_bytes())
    result = run(tiny_manifest, tmp_path, resume=True)
    assert result.val_accuracy == trained[1].val_accuracy
    assert (tmp_path / "model.safetensors").read_bytes() == (trained[0] / "model.safetensors").read_bytes()


def test_a_new_training_replaces_the_state_of_an_old_one(
    trained: tuple[Path, TrainingResult], tiny_manifest: Path, tmp_path: Path
) -> None:
    """One file under one name: were there two, a later resume could go on from the old one."""
    (tmp_path / "last.ckpt").write_bytes((trained[0] / "last.ckpt").read_bytes())
    run(tiny_manifest, tmp_path, recipe=changed(epochs=1))
    assert [file.name for file in tmp_path.glob("*.ckpt")] == ["last.ckpt"]
    state = torch.load(tmp_path / "last.ckpt", weights_only=True)
    assert (state["epoch"], state["global_step"]) == (0, 3)


def test_a_state_of_another_recipe_is_refused(
    trained: tuple[Path, TrainingResult], tiny_manifest: Path, tmp_path: Path
) -> None:
    (tmp_path / "last.ckpt").write_bytes((trained[0] / "last.ckpt").read_bytes())
    other = RECIPE.model_copy(update={"model": TINY.model_copy(update={"width": 32})})
    with pytest.raises(SettingsError, match=r"last\.ckpt is the state of a training with another recipe\. Give that"):
        run(tiny_manifest, tmp_path, recipe=other, resume=True)
    (tmp_path / "last.ckpt").write_bytes(b"no state")
    with pytest.raises(SettingsError, match=r"last\.ckpt is no state of a training: .* without --resume"):
        run(tiny_manifest, tmp_path, resume=True)


def test_a_state_of_other_clips_is_refused(
    trained: tuple[Path, TrainingResult], tiny_manifest: Path, tmp_path: Path
) -> None:
    """Their statistics have other sizes; the recipe is the same."""
    state = torch.load(trained[0] / "last.ckpt", weights_only=True)
    name = next(name for name in state["state_dict"] if "text" in name and "embedding" in name)
    state["state_dict"][name] = state["state_dict"][name][:-1]
    torch.save(state, tmp_path / "last.ckpt")
    with pytest.raises(SettingsError, match=r"last\.ckpt is the state of a training with other clips"):
        run(tiny_manifest, tmp_path, resume=True)


def test_lightning_keeps_quiet_and_its_loggers_are_left_as_they_were(
    tiny_manifest: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    levels = {name: logging.getLogger(name).level for name in ("lightning", "lightning.pytorch", "lightning.fabric")}
    assert logging.INFO in levels.values()  # else there would be nothing to keep quiet
    with caplog.at_level(logging.INFO):
        run(tiny_manifest, tmp_path, recipe=changed(epochs=1))
    assert [record for record in caplog.records if record.name.startswith("lightning")] == []
    assert capfd.readouterr() == ("", "")
    assert {name: logging.getLogger(name).level for name in levels} == levels


@pytest.mark.parametrize(("split", "message"), [("train", "6 entries to learn from and 0"), ("val", "0 .* and 6 of")])
def test_both_splits_are_needed(tiny_manifest: Path, tmp_path: Path, split: str, message: str) -> None:
    entries = [replace(entry, split="val" if split == "val" else None) for entry in read_manifest(tiny_manifest)]
    manifest = tiny_manifest.with_name(f"{split}-only.jsonl")
    write_manifest(manifest, entries)
    with pytest.raises(SettingsError, match=f"{message}.*Render with `activity synth --val-fraction 0.1`"):
        run(manifest, tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("held", ["val", "test"])
def test_a_group_is_not_learned_from_and_held_out(tiny_manifest: Path, tmp_path: Path, held: Split) -> None:
    first, second, third, *_ = read_manifest(tiny_manifest)
    torn = [
        replace(first, split="train", group="monday"),
        replace(second, split="val", group=None),
        replace(third, split=held, group="monday"),
    ]
    with pytest.raises(SettingsError, match="the group 'monday' is learned from and held out"):
        train(RECIPE, torn, tmp_path / "run", command="activity train tiny")


def test_a_label_that_the_model_does_not_have(tiny_manifest: Path, tmp_path: Path) -> None:
    few = RECIPE.model_copy(update={"model": TINY.model_copy(update={"labels": TINY.labels[:7]})})
    with pytest.raises(SettingsError, match=r"not have: bounce_fall_leave\. Known labels: wave_rise_greet, "):
        run(tiny_manifest, tmp_path, recipe=few)


@pytest.mark.parametrize(("split", "which"), [("train", "4 clips to learn from"), ("val", "2 clips of split 'val'")])
def test_a_split_without_a_labelled_window(tiny_manifest: Path, tmp_path: Path, split: str, which: str) -> None:
    """Segments that end before any window's centre; silently, accuracy and temperature would be of nothing."""
    lines = [json.loads(line) for line in tiny_manifest.read_text(encoding="utf-8").splitlines()]
    for line in lines:
        if line["split"] == split:
            line["segments"] = [{**line["segments"][0], "stop_seconds": line["segments"][0]["start_seconds"] + 0.01}]
    manifest = tiny_manifest.with_name(f"no-{split}-label.jsonl")
    manifest.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    with pytest.raises(SettingsError, match=f"^no window of the {which} has a label at its centre: give segments"):
        run(manifest, tmp_path)


def test_a_multi_label_model_is_trained_on_overlapping_activities(tiny_manifest: Path, tmp_path: Path) -> None:
    """Without text and sound as well: a model of one modality."""
    head = TINY.head.model_copy(update={"task": "multi_label"})
    model = TINY.model_copy(update={"head": head, "audio": None, "text": None})
    recipe = Recipe(model=model, training=changed(epochs=1).training)
    entries = []
    for entry in read_manifest(tiny_manifest):
        one, other = entry.segments
        entries.append(replace(entry, segments=(one, replace(other, start_seconds=one.stop_seconds - 1.0))))
    manifest = tiny_manifest.with_name("overlapping.jsonl")
    write_manifest(manifest, entries)
    result = run(manifest, tmp_path, recipe=recipe)
    assert 0.0 <= result.val_accuracy <= 1.0
    assert not (tmp_path / "tokenizer.json").exists()
    assert load_checkpoint(tmp_path).description.config == model
    with pytest.raises(SettingsError, match="at once"):
        run(manifest, tmp_path)
