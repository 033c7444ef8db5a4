"""From a handful of labelled clips to a checkpoint whose labels they are: linear probes on embeddings that stay."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from handler.embedding import Embedder
from handler.inference import Scorer
from handler.runtime import Runtime, choose_runtime
from handler.transform import Transforms
from models.checkpoint import Checkpoint, CheckpointDescription, check_place, load_checkpoint, save_checkpoint
from models.config import HeadConfig, ModelConfig
from models.head import ClassificationHead
from models.model import ActivityModel, build_model
from models.settings import SettingsError
from models.side_models import copy_model, side_models
from models.zero_shot import Probes, mean_of_scores
from training.dataset import LabelledClip, check_truth, decode_entries, window_targets
from training.manifest import ManifestEntry, read_manifest
from training.probe import Choice, Examples, Probe, choose_strength, fit_probe

FUSED = "fused"
"""What the embedding is called that an ordinary model's own fusion makes of all modalities."""


@dataclass(frozen=True)
class LabelResult:
    """What is known of one label."""

    label: str
    clips: int
    windows: int
    accuracy: float | None
    """Of its held-out windows, each clip counting alike, in [0, 1]; None where none could be held out."""


@dataclass(frozen=True)
class FitResult:
    """What a fit gave."""

    checkpoint: Path
    labels: tuple[LabelResult, ...]
    accuracy: float | None
    """Of all held-out windows, each label and each clip of it counting alike; None where none could be held out."""
    strengths: Mapping[str, float]
    """For each kind of embedding the penalty that was chosen."""
    left_out: tuple[str, ...]
    """Modalities that some label has no clip with."""
    clips: int
    """All of them; one with several labels stands with each of its labels."""


@dataclass(frozen=True)
class _Windows:
    """The labelled windows of all clips."""

    embeddings: Mapping[str, Tensor]
    """For each kind ``(N, E)`` float64."""
    present: Mapping[str, Tensor]
    """For each kind ``(N,)`` bool."""
    labels: Tensor
    clips: Tensor
    groups: Tensor

    def examples(self, kind: str) -> Examples:
        """Those that have an embedding of a kind."""
        return Examples(self.embeddings[kind], self.labels, self.clips, self.groups).take(self.present[kind])


def fit(
    checkpoint: Path,
    data: Path | Sequence[ManifestEntry],
    output: Path,
    *,
    command: str,
    runtime: Runtime | None = None,
    decoded: Callable[[int, int], None] | None = None,
    embedded: Callable[[int, int], None] | None = None,
) -> FitResult:
    """Fit linear probes to labelled clips and write a checkpoint with them.

    A model of pretrained towers gets one for each modality, whose scores are averaged, and loses those that some label
    has no clip with; any other model gets a new head on its fused embedding. Nothing else of it changes.

    Args:
        checkpoint: the folder to begin with; its own labels go.
        data: the manifest or its entries; those of split ``test`` are left alone.
        output: the new checkpoint's folder.
        command: what was typed, for the checkpoint's record.
        runtime: where the model runs; chosen for this machine by default.
        decoded: called with clips decoded and clips in all.
        embedded: the same of clips embedded.

    Raises:
        SettingsError: there are fewer than two labels, labels overlap in time, or no modality has clips of each label.
        ManifestError: the manifest cannot be read, or a clip does not decode.
    """
    check_place(output)
    loaded = load_checkpoint(checkpoint)
    entries = read_manifest(data) if isinstance(data, Path) else list(data)
    entries = [entry for entry in entries if entry.split != "test"]
    labels = tuple(dict.fromkeys(label for entry in entries for label in entry.labels))
    config = _fitted_config(loaded.description.config, labels, probes=())
    check_truth(entries, config)
    runtime = runtime or choose_runtime()
    clips = decode_entries(entries, config, jobs=runtime.threads, progress=decoded)
    windows = _embed(loaded, clips, labels, runtime, embedded)
    choices = _choose(windows, len(labels))
    results, accuracy = _judge(windows, choices, labels, config)
    strengths = {kind: choice.strength for kind, choice in choices.items()}
    probes = {kind: fit_probe(windows.examples(kind), len(labels), strength) for kind, strength in strengths.items()}
    config = _fitted_config(loaded.description.config, labels, probes=tuple(probes))
    loaded = replace(loaded, model=_reduced(loaded.model, config))
    _put_probes(loaded.model, config, probes)
    made = {
        "command": command,
        "checkpoint": str(checkpoint),
        "clips": {result.label: result.clips for result in results},
        "strength": strengths,
    }
    metrics = {} if accuracy is None else {"held_out_accuracy": round(accuracy, 4)}
    changes = {"config": config, "temperature": 1.0, "training": made, "metrics": metrics}
    _save(loaded, loaded.description.model_copy(update=changes), checkpoint, output)
    left_out = tuple(kind for kind in windows.embeddings if kind not in probes)
    return FitResult(output, results, accuracy, strengths, left_out, len(windows.clips.unique()))


def _fitted_config(config: ModelConfig, labels: tuple[str, ...], *, probes: tuple[str, ...]) -> ModelConfig:
    """The configuration with other labels; without ``probes`` it is that of the clips' decode and truth.

    With them it has no other modality: none else says anything of the labels, and an answer says what was used.
    """
    if len(labels) < 2:
        raise SettingsError(f"the manifest has {len(labels)} labels, two at least can be told apart")
    values = config.model_dump(exclude_unset=True)
    values["labels"] = labels
    if config.zero_shot is None:
        values["head"] = HeadConfig(hidden=None)
    else:
        values["head"] = HeadConfig()
        values["zero_shot"] = {**values["zero_shot"], "probes": probes, "none_label": None}
        left_out = set(config.modalities).difference(probes) if probes else set()
        values |= dict.fromkeys(left_out)
        _drop(values["zero_shot"], left_out)
    return ModelConfig.read(values, source="the model with the manifest's labels")


def _drop(zero_shot: dict[str, Any], left_out: Collection[str]) -> None:
    """Take modalities out of the values of a :class:`models.zero_shot_config.ZeroShotConfig`."""
    kept = {
        name: [modality for modality in space["modalities"] if modality not in left_out]
        for name, space in zero_shot["spaces"].items()
    }
    zero_shot["spaces"] = {
        name: {**zero_shot["spaces"][name], "modalities": modalities} for name, modalities in kept.items() if modalities
    }
    weights = zero_shot.get("weights", {})
    zero_shot["weights"] = {name: weight for name, weight in weights.items() if name not in left_out}


def _reduced(model: ActivityModel, config: ModelConfig) -> ActivityModel:
    """The model with the modalities and spaces of ``config`` alone; its head is another one, and random."""
    if config.zero_shot is None:
        return model
    weights, reduced = model.state_dict(), build_model(config).eval()
    shared = {name: weights[name] for name in reduced.state_dict() if not name.startswith("head.")}
    reduced.load_state_dict(shared, strict=False)
    return reduced


def _embed(
    checkpoint: Checkpoint,
    clips: Sequence[LabelledClip],
    labels: tuple[str, ...],
    runtime: Runtime,
    report: Callable[[int, int], None] | None,
) -> _Windows:
    """Embed the windows that have a label at their centre."""
    embed = _embedder(checkpoint, runtime)
    groups = {entry.group: index for index, entry in enumerate(clip.entry for clip in clips) if entry.group is not None}
    embeddings: dict[str, list[NDArray[np.float64]]] = {}
    present: dict[str, list[NDArray[np.bool_]]] = {}
    places: list[tuple[int, int, int]] = []
    for index, labelled in enumerate(clips):
        targets = window_targets(labelled.entry.segments, labelled.clip.schedule, labels)
        kept = np.flatnonzero(targets.any(axis=1))
        group = index if labelled.entry.group is None else groups[labelled.entry.group]
        places += [(int(targets[window].argmax()), index, group) for window in kept]
        for kind, (vectors, there) in embed(labelled).items():
            embeddings.setdefault(kind, []).append(vectors[kept])
            present.setdefault(kind, []).append(there[kept])
        if report is not None:
            report(index + 1, len(clips))
    if not places:
        raise SettingsError("no window of the clips has a label at its centre: give longer segments")
    label, clip, group = torch.tensor(places).T
    return _Windows(
        embeddings={kind: torch.from_numpy(np.concatenate(parts)) for kind, parts in embeddings.items()},
        present={kind: torch.from_numpy(np.concatenate(parts)) for kind, parts in present.items()},
        labels=label,
        clips=clip,
        groups=group,
    )


Embed = Callable[[LabelledClip], dict[str, tuple[NDArray[np.float64], NDArray[np.bool_]]]]
"""For each kind of embedding of a clip ``(W, E)`` float64 and whether a window has it, ``(W,)`` bool."""


def _embedder(checkpoint: Checkpoint, runtime: Runtime) -> Embed:
    config = checkpoint.description.config
    if config.zero_shot is None:
        scorer = Scorer(checkpoint.model, Transforms(config, checkpoint.tokenizer), runtime)

        def embed_fused(labelled: LabelledClip) -> dict[str, tuple[NDArray[np.float64], NDArray[np.bool_]]]:
            fused = scorer.score(labelled.clip).embeddings.astype(np.float64)
            return {FUSED: (fused, np.ones(len(fused), dtype=np.bool_))}

        return embed_fused
    embedder = Embedder(checkpoint, runtime)
    widths = checkpoint.model.token_widths

    def embed_each(labelled: LabelledClip) -> dict[str, tuple[NDArray[np.float64], NDArray[np.bool_]]]:
        found = embedder.embed_clip(labelled.clip)
        absent = labelled.clip.schedule.num_windows
        return {
            name: (found[name].vectors.astype(np.float64), found[name].present)
            if name in found
            else (np.zeros((absent, width)), np.zeros(absent, dtype=np.bool_))
            for name, width in widths.items()
        }

    return embed_each


def _judge(
    windows: _Windows, choices: Mapping[str, Choice], labels: tuple[str, ...], config: ModelConfig
) -> tuple[tuple[LabelResult, ...], float | None]:
    """How many held-out windows are recognised, with the modalities' scores averaged as they will be served."""
    weights = {kind: 1.0 if config.zero_shot is None else config.zero_shot.weight(kind) for kind in choices}
    num_windows = len(windows.labels)
    scores: dict[str, Tensor] = {}
    judged: dict[str, Tensor] = {}
    for kind, choice in choices.items():
        there = windows.present[kind]
        scores[kind] = torch.zeros(num_windows, len(labels), dtype=torch.float64)
        scores[kind][there] = choice.held_out.scores
        judged[kind] = torch.zeros(num_windows, dtype=torch.bool)
        judged[kind][there] = choice.held_out.judged
    kept = torch.stack(list(judged.values())).any(dim=0)
    right = mean_of_scores(scores, judged, weights).argmax(dim=1) == windows.labels
    everything = Examples(torch.zeros(num_windows, 0), windows.labels, windows.clips, windows.groups)
    shares = everything.take(kept).shares
    results = []
    for index, label in enumerate(labels):
        mine = windows.labels == index
        of_label = shares * mine[kept]
        accuracy = float((of_label * right[kept]).sum() / of_label.sum()) if of_label.any() else None
        num_clips = len(windows.clips[mine].unique())
        results.append(LabelResult(label, num_clips, int(mine.sum()), accuracy))
    return tuple(results), float((shares * right[kept]).sum()) if kept.any() else None


def _choose(windows: _Windows, num_labels: int) -> dict[str, Choice]:
    """The penalty of each kind of embedding that each label has examples of."""
    examples = {kind: windows.examples(kind) for kind in windows.embeddings}
    whole = {kind: given for kind, given in examples.items() if len(given.labels.unique()) == num_labels}
    if not whole:
        raise SettingsError("no modality of the model has a labelled window of each label: give clips that have")
    return {kind: choose_strength(given, num_labels) for kind, given in whole.items()}


def _save(loaded: Checkpoint, description: CheckpointDescription, source: Path, output: Path) -> None:
    """Write a checkpoint beside copies of the side models that stand in ``source``."""
    for name in side_models(description.config):
        output.mkdir(parents=True, exist_ok=True)
        copy_model(source / name, output / name)
    config = description.config
    spaces = () if config.zero_shot is None else config.zero_shot.spaces
    label_tokenizers = {space: loaded.label_tokenizers[space] for space in spaces}
    tokenizer = None if config.text is None else loaded.tokenizer
    save_checkpoint(output, description, loaded.model, tokenizer, label_tokenizers)


def _put_probes(model: ActivityModel, config: ModelConfig, probes: Mapping[str, Probe]) -> None:
    """Replace a model's head by the probes."""
    layers: dict[str, nn.Module]
    if config.zero_shot is None:
        model.head = ClassificationHead(
            config.head, input_width=probes[FUSED].weight.shape[1], num_labels=len(config.labels), dropout=0.0
        )
        layers = {FUSED: model.head[0]}
    else:
        model.head = Probes(model.token_widths, config.zero_shot, len(config.labels))
        layers = dict(model.head.items())
    for kind, probe in probes.items():
        layers[kind].load_state_dict({"weight": probe.weight, "bias": probe.bias})
