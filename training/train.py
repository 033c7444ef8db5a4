"""Training from a recipe and a manifest to a checkpoint folder."""

from __future__ import annotations

import json
import pickle
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path

import torch
from tokenizers import Tokenizer

from handler.inference import Scorer
from handler.runtime import choose_runtime
from handler.transform import Transforms
from models.checkpoint import Checkpoint, CheckpointDescription, check_place, load_checkpoint, save_checkpoint
from models.config import ModelConfig
from models.model import ActivityModel, build_model
from models.pretrained.adapt import inject_adapters, merge_adapters
from models.pretrained.resolve import load_pretrained, pretrained_of, resolve_pretrained
from models.pretrained.words import load_source_tokenizer
from models.settings import SettingsError
from models.side_models import copy_side_models
from models.tokenizer import train_tokenizer
from training.assemble import check_trainable
from training.calibrate import fit_temperature, score_held_out
from training.dataset import (
    Contents,
    Decode,
    LabelledClip,
    RunDataset,
    check_truth,
    decode_entries,
    gather_contents,
    unusable_parts,
)
from training.encoding import Cached
from training.initial import TakenWeights, adopt_statistics, adopt_tokenizer, check_frozen, take_weights
from training.learner import Learner
from training.lock import sole_writer
from training.loop import RESUME_FILE, STATE_KEY, Loop, Ranks, count_steps
from training.manifest import ManifestEntry, read_manifest
from training.recipe import Recipe
from training.scales import fit_scales_into
from training.statistics import fit_statistics
from training.tokens import cached_backbones, encode_contents, extract_features, may_cache


@dataclass(frozen=True)
class TrainingResult:
    """What a training gave."""

    checkpoint: Path
    """The checkpoint's folder."""
    decode_seconds: float
    fit_seconds: float
    val_accuracy: float
    """Window accuracy on the validation split, all modalities, as it is served, in [0, 1]."""


@dataclass(frozen=True)
class Initial:
    """The checkpoint that a training begins with."""

    folder: Path
    encoders_only: bool = False
    """Leave fusion and head random."""


@dataclass(frozen=True)
class Watch:
    """How a training is followed; nothing is shown unless it is asked for."""

    decoded: Callable[[int, int], None] | None = None
    """Called with clips decoded and clips in all."""
    encoded: Callable[[int, int], None] | None = None
    """Called with clips encoded before the first epoch, each once a modality, and all of them."""
    on_epoch: Callable[[int, int, float], None] | None = None
    """Called after each epoch with its number, from 1, the epochs in all, and the window accuracy on runs of the
    validation split."""
    say: Callable[[str], None] | None = None
    """Called with what the user ought to know."""
    show_progress: bool = False
    """Show Lightning's progress bar."""

    def note(self, message: str) -> None:
        """Say something."""
        if self.say is not None:
            self.say(message)


@dataclass
class _Parts:
    """What a training is made of."""

    recipe: Recipe
    config: ModelConfig
    """The recipe's model with what was learned of the training split."""
    learned: list[LabelledClip]
    held: list[LabelledClip]
    initial: Checkpoint | None
    tokenizer: Tokenizer | None = None
    taken: TakenWeights | None = None
    device: torch.device = field(default_factory=lambda: torch.device("cuda" if torch.cuda.is_available() else "cpu"))


def train(
    recipe: Recipe,
    data: Path | Sequence[ManifestEntry],
    output: Path,
    *,
    command: str,
    resume: bool = False,
    initial: Initial | None = None,
    watch: Watch | None = None,
    decode: Decode = decode_entries,
) -> TrainingResult:
    """Train a model and write its checkpoint.

    Started by ``torchrun``, each process learns from its part of the runs, and only the first one writes.

    Args:
        recipe: model and training settings.
        data: the manifest or its entries: those of split ``train`` or of none are learned from, those of ``val``
            calibrate the result, those of ``test`` are not read.
        output: the checkpoint's folder. ``last.ckpt`` in it, written after each epoch, is what ``resume`` goes on
            from; ``metrics.csv`` and ``logs`` are the history (:mod:`training.history`).
        command: what was typed, for the checkpoint's record.
        resume: go on from ``last.ckpt``, where there is one.
        initial: begin with the weights of this checkpoint, as far as they fit, and with its tokenizer.
        watch: how it is followed.
        decode: how the clips are decoded.

    Raises:
        SettingsError: when a split is empty or has no labelled window, the model cannot learn what the manifest says
            (:func:`training.dataset.check_truth`), ``last.ckpt`` is not of this recipe, ``initial`` does not fit, or
            another training writes to ``output``.
        ManifestError: when the manifest cannot be read, or a clip does not decode.
        KeyboardInterrupt: when it was stopped; ``last.ckpt`` is that of the last whole epoch.
    """
    with sole_writer(output) if Ranks.of_environment().rank == 0 else nullcontext():
        return _train(recipe, data, output, command, resume, initial, watch or Watch(), decode)


def _train(
    recipe: Recipe,
    data: Path | Sequence[ManifestEntry],
    output: Path,
    command: str,
    resume: bool,
    initial: Initial | None,
    watch: Watch,
    decode: Decode,
) -> TrainingResult:
    entries = read_manifest(data) if isinstance(data, Path) else list(data)
    check_trainable(recipe.model)
    check_place(output)
    check_truth(entries, recipe.model)
    learned, held = _splits(entries)
    key = _state_key(recipe, initial)
    state = _find_state(output, key) if resume else None
    checkpoint = None if initial is None else load_checkpoint(initial.folder)
    known = None if checkpoint is None else checkpoint.description.config
    recipe = recipe.model_copy(update={"model": resolve_pretrained(recipe.model, known=known)})
    ranks = Ranks.of_environment()
    if ranks.rank == 0:
        copy_side_models(recipe.model, output)
    threads = max(1, choose_runtime().threads // ranks.local_world)

    started = time.perf_counter()
    clips = decode([*learned, *held], recipe.model, jobs=threads, progress=watch.decoded)
    decode_seconds = time.perf_counter() - started
    for message in unusable_parts(clips):
        watch.note(message)
    torch.set_num_threads(threads)
    parts = _Parts(recipe, recipe.model, clips[: len(learned)], clips[len(learned) :], checkpoint)
    _fit_to_data(parts)
    started = time.perf_counter()
    learner, dataset, validation = _build(parts, initial, watch, ranks)
    loop = Loop(recipe, output, key, watch.show_progress, watch.on_epoch)
    loop.fit(learner, dataset, validation, state=state)
    fit_seconds = time.perf_counter() - started
    if ranks.rank > 0:
        return TrainingResult(output, decode_seconds, fit_seconds, float("nan"))
    accuracy = _save(parts, learner, output, command, initial)
    return TrainingResult(output, decode_seconds, fit_seconds, accuracy)


def _fit_to_data(parts: _Parts) -> None:
    """Learn tokenizer and statistics of the training split, or take them from a checkpoint or the pretrained source."""
    parts.config = fit_statistics(parts.config, [clip.clip for clip in parts.learned])
    if parts.initial is not None:
        parts.config = adopt_statistics(parts.config, parts.initial.description.config)
        parts.tokenizer = adopt_tokenizer(parts.config, parts.initial)
    text = parts.config.text
    if text is not None and parts.tokenizer is None:
        parts.tokenizer = (
            train_tokenizer(_texts(parts.learned), text.vocab_size)
            if text.pretrained is None
            else load_source_tokenizer(text.pretrained, text.max_tokens)
        )


def _build(
    parts: _Parts, initial: Initial | None, watch: Watch, ranks: Ranks
) -> tuple[Learner, RunDataset, RunDataset]:
    """The learner and the runs of both splits; with tokens instead of contents where these never change."""
    recipe = parts.recipe
    transforms = Transforms(parts.config, parts.tokenizer)
    torch.manual_seed(recipe.training.seed)
    model = build_model(parts.config)
    if parts.initial is not None and initial is not None:
        parts.taken = take_weights(model, parts.initial.model, encoders_only=initial.encoders_only)
        watch.note(f"taken from {initial.folder}: {parts.taken}")
    taken = parts.taken
    had = [] if taken is None else [name for name in pretrained_of(parts.config) if taken.has_backbone(name)]
    load_pretrained(model, parts.config, but=had)
    check_frozen(recipe, parts.taken)
    inject_adapters(model)
    contents, cached = _compute_beforehand(parts, model, transforms, watch)
    splits = (parts.learned, "to learn from", contents[0]), (parts.held, "of split 'val'", contents[1])
    dataset, validation = (
        RunDataset(
            clips,
            transforms,
            hops_per_run=recipe.training.hops_per_run,
            seed=recipe.training.seed,
            contents=held,
        )
        for clips, _, held in splits
    )
    for runs, (_, which, _) in zip((dataset, validation), splits, strict=True):
        _check_labelled(runs, which)
    steps = count_steps(dataset, recipe, ranks)
    return Learner(model, transforms, recipe, steps_per_epoch=steps, cached=cached), dataset, validation


def _compute_beforehand(
    parts: _Parts, model: ActivityModel, transforms: Transforms, watch: Watch
) -> tuple[list[list[Contents]], Cached]:
    """What the hops of both splits' clips hold, with tokens or features in its place where these never change."""
    contents = [gather_contents(clips, transforms) for clips in (parts.learned, parts.held)]
    together, learned = [*contents[0], *contents[1]], len(contents[0])
    if may_cache(parts.recipe):
        watch.note("every encoder is frozen: the clips' tokens were computed once and stay in memory")
        together = encode_contents(model, transforms, together, parts.device, watch.encoded)
        return [together[:learned], together[learned:]], Cached(tokens=True)
    names = cached_backbones(parts.recipe, model)
    if names:
        together = extract_features(model, transforms, together, parts.device, names, watch.encoded)
        contents = [together[:learned], together[learned:]]
        watch.note(f"frozen backbones: the clips' features of {', '.join(sorted(names))} were computed once")
    return contents, Cached(features=names)


def _save(parts: _Parts, learner: Learner, output: Path, command: str, initial: Initial | None) -> float:
    """Calibrate on the validation split and write the checkpoint; the accuracy on that split."""
    recipe = parts.recipe
    merge_adapters(learner.model)
    windows = score_held_out(Scorer(learner.model, learner.transforms, choose_runtime()), parts.held)
    sections = recipe.model_dump(
        mode="json", include={"objectives", "curriculum", "augmentation"}, exclude_defaults=True
    )
    made: dict[str, object] = {"command": command, "settings": recipe.training.model_dump(mode="json"), **sections}
    if initial is not None:
        made["initial"] = {"checkpoint": str(initial.folder), "taken": str(parts.taken)}
    description = CheckpointDescription(
        name=recipe.name,
        version=recipe.version,
        config=fit_scales_into(parts.config, learner.model, parts.tokenizer, parts.held),
        temperature=fit_temperature(windows),
        training={**made, "clips": len(parts.learned)},
        metrics={"val_accuracy": round(windows.accuracy, 4)},
    )
    save_checkpoint(output, description, learner.model, parts.tokenizer)
    return windows.accuracy


def _splits(entries: Sequence[ManifestEntry]) -> tuple[list[ManifestEntry], list[ManifestEntry]]:
    learned = [entry for entry in entries if entry.split in (None, "train")]
    held = [entry for entry in entries if entry.split == "val"]
    torn = {entry.group for entry in learned} & {entry.group for entry in entries if entry.split in ("val", "test")}
    if torn - {None}:
        raise SettingsError(
            f"the group {min(group for group in torn if group is not None)!r} is learned from and held out: what is "
            "measured would be remembered. `activity split` keeps groups together."
        )
    if not learned or not held:
        raise SettingsError(
            f"the manifest has {len(learned)} entries to learn from and {len(held)} of split 'val'; both are needed. "
            "Render with `activity synth --val-fraction 0.1`, or let `activity split` deal the clips."
        )
    return learned, held


def _state_key(recipe: Recipe, initial: Initial | None) -> str:
    """What must be the same for a resumed training to be the one that was stopped."""
    begun_with = None if initial is None else {"folder": str(initial.folder), "encoders_only": initial.encoders_only}
    return json.dumps({"recipe": recipe.model_dump(mode="json"), "initial": begun_with}, sort_keys=True)


def _find_state(output: Path, key: str) -> Path | None:
    """The state to go on from; None where there is none."""
    path = output / RESUME_FILE
    if not path.exists():
        return None
    try:
        written_by = torch.load(path, map_location="cpu", weights_only=True, mmap=True).get(STATE_KEY)
    except (RuntimeError, OSError, EOFError, pickle.UnpicklingError, AttributeError) as exc:
        raise SettingsError(f"{path} is no state of a training: {exc}. Remove it, or train without --resume.") from exc
    if written_by != key:
        raise SettingsError(
            f"{path} is the state of a training with another recipe. Give that recipe, another folder for the output, "
            "or train without --resume."
        )
    return path


def _texts(clips: Sequence[LabelledClip]) -> list[str]:
    """The words that the model will see, each clip's once."""
    return [text for clip in clips for text in dict.fromkeys(clip.clip.texts or ())]


def _check_labelled(dataset: RunDataset, which: str) -> None:
    if not any(targets.any() for targets in dataset.targets):
        raise SettingsError(
            f"no window of the {len(dataset.clips)} clips {which} has a label at its centre: give segments that are "
            "longer than the model's stride."
        )
