"""Training data: each clip decoded once by the server's own decode, then cut into random runs of hops."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, NamedTuple

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
from handler.transform import Transforms
from handler.windows import Schedule
from models.config import ModelConfig
from models.model import gather_windows
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
    extra = {name: contents[name] for name in ("image", "tabular", "depth") if name in contents}
    return ActivityRequest(
        video=contents.get("clip"),
        audio=contents.get("audio"),
        text=contents.get("text"),
        **extra,
        **({"vectors": vectors} if vectors else {}),
        options=RequestOptions(),
    )


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

    frames: Tensor
    """``(C, R, T, 3, H, W)`` uint8."""
    samples: Tensor
    """``(C, R, P)`` float32."""
    token_ids: Tensor
    """``(C, R, S)`` int64."""
    token_mask: Tensor
    """``(C, R, S)`` bool."""
    masks: Tensor
    """``(C, M, R)`` bool, in the order of the model's modalities."""
    targets: Tensor
    """``(C, W, K)`` float32 of 0 and 1."""
    inside: Tensor
    """``(C, W)`` bool, True where the clip has such a window: a run may be longer than its clip."""


class RunDataset(Dataset[RunBatch]):
    """Each epoch, as many random runs of each clip as fit into it.

    The runs are a function of seed and epoch alone, so that a resumed training sees what it would have seen.
    """

    def __init__(self, clips: Sequence[LabelledClip], transforms: Transforms, *, hops_per_run: int, seed: int) -> None:
        if hops_per_run < transforms.config.windows.hops:
            raise ValueError(f"a run of {hops_per_run} hops holds no window of {transforms.config.windows.hops}")
        self.clips = clips
        self.transforms = transforms
        self.hops_per_run = hops_per_run
        self.seed = seed
        self.targets = [
            torch.from_numpy(window_targets(clip.entry.segments, clip.clip.schedule, transforms.config.labels))
            for clip in clips
        ]
        self.tokens = [self._tokens(clip.clip) for clip in clips]
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
        clip = self.clips[clip_index].clip
        starts = torch.tensor([first])

        def cut(hops: Tensor) -> Tensor:
            return gather_windows(hops, starts, self.hops_per_run)[0]

        config = self.transforms.config
        num_hops = clip.schedule.num_hops
        inside = torch.arange(first, first + self.hops_per_run) < num_hops
        absent = np.zeros(num_hops, dtype=np.bool_)
        masks = torch.stack(
            [cut(torch.from_numpy(clip.masks.get(name, absent))) & inside for name in config.modalities]
        )
        token_ids, token_mask = self.tokens[clip_index]
        num_windows = self.hops_per_run - config.windows.hops + 1
        window_inside = torch.arange(first, first + num_windows) < clip.schedule.num_windows
        targets = gather_windows(self.targets[clip_index], starts, num_windows)[0] * window_inside[:, None]
        return RunBatch(
            frames=cut(self._frames(clip)),
            samples=cut(self._samples(clip)),
            token_ids=cut(token_ids),
            token_mask=cut(token_mask),
            masks=masks,
            targets=targets,
            inside=window_inside,
        )

    def _frames(self, clip: Clip) -> Tensor:
        if clip.frames is not None:
            return torch.from_numpy(clip.frames)
        video = self.transforms.config.video
        shape = (0, 0, 0, 0) if video is None else (video.frames_per_hop, 3, video.size, video.size)
        return torch.zeros((clip.schedule.num_hops, *shape), dtype=torch.uint8)

    def _tokens(self, clip: Clip) -> tuple[Tensor, Tensor]:
        num_hops = clip.schedule.num_hops
        if self.transforms.config.text is None:
            return torch.zeros((num_hops, 0), dtype=torch.int64), torch.zeros((num_hops, 0), dtype=torch.bool)
        return self.transforms.text(clip.texts or ("",) * num_hops)

    def _samples(self, clip: Clip) -> Tensor:
        if clip.samples is not None:
            return torch.from_numpy(clip.samples)
        config = self.transforms.config
        length = 0 if config.audio is None else config.hop_samples + config.audio.n_fft - config.audio.hop_length
        return torch.zeros((clip.schedule.num_hops, length))


def stack_runs(runs: Sequence[RunBatch]) -> RunBatch:
    """Stack runs along a new first axis."""
    return RunBatch(*(torch.stack(tensors) for tensors in zip(*runs, strict=True)))
