"""Training data: each clip decoded once by the server's own decode, then cut into random runs of hops."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from handler.clip import Clip
from handler.decode import decode_request
from handler.errors import ActivityError
from handler.limits import Limits
from handler.options import RequestOptions
from handler.request import ActivityRequest
from handler.transform import HopInputs, Transforms
from handler.windows import Schedule
from models.config import Modality, ModelConfig
from models.settings import SettingsError
from training.manifest import LabelledSegment, ManifestEntry, ManifestError


@dataclass(frozen=True)
class LabelledClip:
    """A decoded clip and its truth."""

    entry: ManifestEntry
    clip: Clip


def check_truth(entries: Sequence[ManifestEntry], config: ModelConfig) -> None:
    """Check that a model can learn, or be measured by, what a manifest says.

    Raises:
        SettingsError: when a label is not the model's, or activities overlap and the model gives one label at a time.
    """
    if not config.labels:
        raise SettingsError(
            "the model has no labels of its own: write those of the manifest into its recipe's model.labels and run "
            "`activity assemble` again, or fit it to labelled clips by `activity fit`"
        )
    unknown = {label for entry in entries for label in entry.labels} - set(config.labels)
    if unknown:
        raise SettingsError(
            f"the manifest has labels that the model does not have: {', '.join(sorted(unknown))}. "
            f"Known labels: {', '.join(config.labels)}."
        )
    if config.head.task == "single_label":
        for entry in entries:
            for one, other in pairwise(entry.segments):
                if other.start_seconds < one.stop_seconds:
                    raise SettingsError(
                        f"{entry.name} has {one.label} and {other.label} at once, from {other.start_seconds} s: "
                        "that needs a model whose head.task is multi_label."
                    )


def read_request(entry: ManifestEntry) -> ActivityRequest:
    """The request that a manifest entry stands for."""
    contents: dict[str, Any] = {name: path.read_bytes() for name, path in entry.files.items()}
    vectors = {name: contents.pop(name) for name in entry.vectors}
    return ActivityRequest(
        video=contents.get("clip"),
        audio=contents.get("audio"),
        text=contents.get("text"),
        image=contents.get("image"),
        tabular=contents.get("tabular"),
        depth=contents.get("depth"),
        vectors=vectors,
        options=RequestOptions(),
    )


class Decode(Protocol):
    """What :func:`decode_entries` does; whoever trains often on the same clips may remember them."""

    def __call__(
        self,
        entries: Sequence[ManifestEntry],
        config: ModelConfig,
        *,
        jobs: int,
        progress: Callable[[int, int], None] | None = None,
    ) -> list[LabelledClip]:
        """Decode each entry, in order."""


def decode_entries(
    entries: Sequence[ManifestEntry],
    config: ModelConfig,
    *,
    jobs: int,
    progress: Callable[[int, int], None] | None = None,
) -> list[LabelledClip]:
    """Decode each entry, ``jobs`` at a time (PyAV releases the interpreter's lock while it decodes).

    Returns:
        The clips in order; the entry of one with a ``label`` has it as a segment over the whole clip.

    Raises:
        ManifestError: when an entry does not decode; it names the first one.
    """

    def decode(entry: ManifestEntry) -> LabelledClip:
        try:
            return _labelled(entry, decode_request(read_request(entry), config, Limits()))
        except ActivityError as exc:
            raise ManifestError(f"{entry.name} cannot be used: {exc.message}. {exc.remedy}") from exc

    clips: list[LabelledClip] = []
    with ThreadPoolExecutor(max_workers=jobs) as pool:
        for clip in pool.map(decode, entries):
            clips.append(clip)
            if progress is not None:
                progress(len(clips), len(entries))
    return clips


def unusable_parts(clips: Sequence[LabelledClip]) -> list[str]:
    """A message for each modality of which some clip has a part that cannot be used: it names the first such clip.

    Training goes on without these parts, as the server does; but a column too many in every file would leave the whole
    modality out, and nothing else would tell.
    """
    broken: dict[Modality, list[tuple[str, str]]] = {}
    for clip in clips:
        for name, status in clip.clip.modalities.items():
            if not status.used and status.code not in ("not_sent", "not_in_model"):
                broken.setdefault(name, []).append((clip.entry.name, status.reason or ""))
    return [
        f"{name} cannot be used in {len(parts)} of {len(clips)} clips and is left out there. "
        f"The first, {parts[0][0]}: {parts[0][1]}"
        for name, parts in broken.items()
    ]


def _labelled(entry: ManifestEntry, clip: Clip) -> LabelledClip:
    if entry.label is None:
        return LabelledClip(entry, clip)
    span = clip.schedule.span
    whole = LabelledSegment(span.start_seconds, span.stop_seconds, entry.label)
    return LabelledClip(replace(entry, segments=(whole,)), clip)


def window_targets(
    segments: Sequence[LabelledSegment], schedule: Schedule, labels: Sequence[str]
) -> NDArray[np.float32]:
    """Which labels hold at the centre of each window: ``(W, K)`` float32 of 0 and 1.

    The one window of a clip that is shorter than a window has the clip's centre.
    """
    targets = np.zeros((schedule.num_windows, len(labels)), dtype=np.float32)
    short = schedule.num_hops < schedule.window_hops
    for window in range(schedule.num_windows):
        span = schedule.span
        centre = (span.start_seconds + span.stop_seconds) / 2 if short else schedule.centre_seconds(window)
        for segment in segments:
            if segment.start_seconds <= centre < segment.stop_seconds:
                targets[window, labels.index(segment.label)] = 1.0
    return targets


class RunBatch(NamedTuple):
    """Runs of hops, stacked; C clips, R hops, W windows a run.

    A tuple, since Lightning moves no frozen dataclass to a device.
    """

    inputs: dict[Modality, tuple[Tensor, ...]]
    """For each modality what :meth:`handler.transform.Transforms.gather` gives of the hops, each ``(C, R, ...)``, or
    the tokens ``(C, R, S, D)`` where they were computed beforehand (:mod:`training.tokens`)."""
    masks: Tensor
    """``(C, M, R)`` bool, in the order of the model's modalities."""
    targets: Tensor
    """``(C, W, K)`` float32 of 0 and 1."""
    inside: Tensor
    """``(C, W)`` bool, True where the clip has such a window: a run may be longer than its clip."""
    clips: Tensor
    """``(C,)`` int64: which clip of the dataset a run is of."""


Contents = Mapping[Modality, HopInputs]
"""What a clip's hops hold, by modality."""


def gather_contents(clips: Sequence[LabelledClip], transforms: Transforms) -> list[Contents]:
    """What each clip's hops hold, raw; no copy is made of frames and samples."""
    names = transforms.config.modalities
    return [{name: transforms.gather(name, clip.clip) for name in names} for clip in clips]


class RunDataset(Dataset[RunBatch]):
    """Each epoch, as many random runs of each clip as fit into it.

    The runs are a function of seed and epoch alone, so that a resumed training sees what it would have seen.

    Args:
        clips: the clips.
        transforms: the model's.
        hops_per_run: length of a run.
        seed: of the runs.
        contents: what the clips' hops hold, where it is not the raw contents.
    """

    def __init__(
        self,
        clips: Sequence[LabelledClip],
        transforms: Transforms,
        *,
        hops_per_run: int,
        seed: int,
        contents: Sequence[Contents] | None = None,
    ) -> None:
        if hops_per_run < transforms.config.windows.hops:
            raise ValueError(f"a run of {hops_per_run} hops holds no window of {transforms.config.windows.hops}")
        self.clips = clips
        self.config = transforms.config
        self.hops_per_run = hops_per_run
        self.seed = seed
        self.targets = [
            torch.from_numpy(window_targets(clip.entry.segments, clip.clip.schedule, self.config.labels))
            for clip in clips
        ]
        self.contents = gather_contents(clips, transforms) if contents is None else contents
        self.masks = [_modality_masks(clip.clip, self.config) for clip in clips]
        self.runs: list[tuple[int, int]] = []
        self.set_epoch(0)

    def set_epoch(self, epoch: int) -> None:
        """Draw the runs of ``epoch``, in random order."""
        generator = np.random.default_rng((self.seed, epoch))
        runs: list[tuple[int, int]] = []
        for index, clip in enumerate(self.clips):
            num_hops = clip.clip.schedule.num_hops
            last = max(0, num_hops - self.hops_per_run)
            firsts = generator.integers(0, last + 1, size=max(1, num_hops // self.hops_per_run))
            runs.extend((index, int(first)) for first in firsts)
        order = generator.permutation(len(runs))
        self.runs = [runs[i] for i in order]

    def __len__(self) -> int:
        return len(self.runs)

    def __getitem__(self, index: int) -> RunBatch:
        """One run, every tensor without its first axis."""
        clip_index, first = self.runs[index]
        schedule = self.clips[clip_index].clip.schedule
        hops = torch.arange(first, first + self.hops_per_run)
        places = hops.clamp(max=schedule.num_hops - 1)  # beyond the last hop it is repeated, and masked
        num_windows = self.hops_per_run - self.config.windows.hops + 1
        windows = torch.arange(first, first + num_windows)
        inside = windows < schedule.num_windows
        targets = self.targets[clip_index][windows.clamp(max=schedule.num_windows - 1)] * inside[:, None]
        return RunBatch(
            inputs={
                name: tuple(tensor[held.places[places]] for tensor in held.tensors)
                for name, held in self.contents[clip_index].items()
            },
            masks=self.masks[clip_index][:, places] & (hops < schedule.num_hops),
            targets=targets,
            inside=inside,
            clips=torch.tensor(clip_index),
        )


def _modality_masks(clip: Clip, config: ModelConfig) -> Tensor:
    """Which hops have which modality: ``(M, N)`` bool."""
    absent = np.zeros(clip.schedule.num_hops, dtype=np.bool_)
    return torch.from_numpy(np.stack([clip.masks.get(name, absent) for name in config.modalities]))


def stack_runs(runs: Sequence[RunBatch]) -> RunBatch:
    """Stack runs along a new first axis."""
    inputs = {
        name: tuple(torch.stack(tensors) for tensors in zip(*(run.inputs[name] for run in runs), strict=True))
        for name in runs[0].inputs
    }
    masks, targets, inside, clips = (torch.stack(tensors) for tensors in zip(*(run[1:] for run in runs), strict=True))
    return RunBatch(inputs, masks, targets, inside, clips)
