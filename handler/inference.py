"""From a decoded clip to the scores of its windows: each hop encoded once, then each window fused and classified."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from handler.batching import run_micro_batches
from handler.clip import Clip
from handler.measures import stage
from handler.runtime import Runtime
from handler.transform import Transforms
from models.config import Modality
from models.fusion.base import Fusion
from models.head import score_logits
from models.model import ActivityModel, gather_windows
from models.spans import join_hops, place_mask, place_tokens

HOPS_PER_BATCH = 8
"""Of an encoder that does not say its own number."""
WINDOWS_PER_BATCH = 16


@dataclass(frozen=True)
class ScoredWindows:
    """What the model says of each window of a clip, before smoothing."""

    scores: NDArray[np.float64]
    """``(W, K)`` float64 in [0, 1]."""
    embeddings: NDArray[np.float32]
    """``(W, num_modalities * D)`` float32."""


@dataclass(frozen=True)
class EncodedClip:
    """A clip and its hops as tokens, from which its windows can be scored with any of its modalities."""

    clip: Clip
    tokens: dict[Modality, Tensor]
    """For each modality that was encoded ``(N, S, D)`` float32 on the CPU; of one whose encoder sees whole windows
    ``(W, S, D)``."""


class Scorer:
    """A model with its transforms, calibration and runtime."""

    def __init__(
        self, model: ActivityModel, transforms: Transforms, runtime: Runtime, *, temperature: float = 1.0
    ) -> None:
        self.model = model.to(runtime.device).eval()
        self.transforms = transforms.to(runtime.device)
        self.runtime = runtime
        self.temperature = temperature
        self.on_progress: Callable[[str, int, int], None] | None = None
        """Is told what is being done, how many pieces of it are done, and of how many; by several threads."""

    def _reporter(self, stage: str) -> Callable[[int, int], None] | None:
        return None if self.on_progress is None else partial(self.on_progress, stage)

    def score(self, clip: Clip) -> ScoredWindows:
        """Score each window of ``clip``."""
        return self.fuse(self.encode(clip))

    def encode(self, clip: Clip, names: Collection[Modality] | None = None) -> EncodedClip:
        """Encode the hops of the modalities that ``clip`` has; of those in ``names`` only, where they are given."""
        present = [name for name in self.transforms.config.modalities if name in clip.masks]
        wanted = present if names is None else [name for name in present if name in names]
        with stage("encode"):
            return EncodedClip(clip, {name: self._encode(name, clip) for name in wanted})

    @stage("fuse")
    def fuse(self, encoded: EncodedClip, names: Collection[Modality] | None = None) -> ScoredWindows:
        """Score each window of a clip whose hops are encoded.

        Args:
            encoded: what :meth:`encode` gave.
            names: of its modalities these are used, as if no other had been sent; by default all.
        """
        config = self.transforms.config

        def forward(*batch: Tensor) -> Tensor:
            output = self.model(
                dict(zip(config.modalities, batch[0::2], strict=True)),
                dict(zip(config.modalities, batch[1::2], strict=True)),
            )
            return torch.cat((output.logits.float(), output.fused.float()), dim=-1)

        inputs = self._window_inputs(encoded, names)
        report = self._reporter("windows")
        outputs = run_micro_batches(
            forward, inputs, size=WINDOWS_PER_BATCH, item="window", runtime=self.runtime, report=report
        )
        logits, fused = outputs.split((len(config.labels), outputs.shape[1] - len(config.labels)), dim=-1)
        scores = score_logits(logits, config.head.task, self.temperature)
        return ScoredWindows(scores=scores.numpy(), embeddings=fused.numpy())

    def attend(self, encoded: EncodedClip) -> dict[tuple[Modality, Modality], NDArray[np.float32]]:
        """What each modality takes from each other one in each window, where the model's fusion can say.

        Returns:
            For each pair (who attends, to whom) that the clip has ``(W, hops, hops)`` float32; a row sums to 1, or to
            0 where either is absent (:meth:`models.fusion.base.Fusion.attend`).
        """
        fusion, names = self.model.fusion, self.transforms.config.modalities
        if not isinstance(fusion, Fusion):
            return {}
        pairs: list[tuple[Modality, Modality]] = []

        def forward(*batch: Tensor) -> Tensor:
            tokens, masks = dict(zip(names, batch[0::2], strict=True)), dict(zip(names, batch[1::2], strict=True))
            found = fusion.attend(tokens, masks)
            pairs[:] = list(found)
            return torch.stack(list(found.values()), dim=1) if found else batch[0].new_zeros(len(batch[0]), 0)

        inputs = self._window_inputs(encoded, None)
        weights = run_micro_batches(
            forward, inputs, size=WINDOWS_PER_BATCH, item="window", runtime=self.runtime
        ).numpy()
        return {pair: weights[:, place] for place, pair in enumerate(pairs) if set(pair) <= set(encoded.tokens)}

    def _window_inputs(self, encoded: EncodedClip, names: Collection[Modality] | None) -> list[Tensor]:
        """For each modality of the model the windows' tokens ``(W, hops, S, D)`` and mask ``(W, hops)``."""
        config, clip = self.transforms.config, encoded.clip
        starts = torch.arange(clip.schedule.num_windows)
        inside = gather_windows_mask(clip)
        inputs: list[Tensor] = []
        for name in config.modalities:
            used = name in encoded.tokens and (names is None or name in names)
            if used and name in config.window_spanned:
                mask = gather_windows(torch.from_numpy(clip.masks[name]), starts, clip.schedule.window_hops) & inside
                inputs += [place_tokens(encoded.tokens[name], clip.schedule.window_hops), place_mask(mask)]
                continue
            if used:
                tokens, mask = encoded.tokens[name], torch.from_numpy(clip.masks[name])
            else:  # zeros, masked
                width = self.model.token_widths.get(name, config.width)
                tokens = torch.zeros(clip.schedule.num_hops, 1, width)
                mask = torch.zeros(clip.schedule.num_hops, dtype=torch.bool)
            inputs.append(gather_windows(tokens, starts, clip.schedule.window_hops))
            inputs.append(gather_windows(mask, starts, clip.schedule.window_hops) & inside)
        return inputs

    def hops_per_batch(self, modality: Modality) -> int:
        """Hops of one forward of an encoder.

        The last forward is filled up with hops that nobody asked for. On a CPU an encoder with much work a hop takes
        few at a time, as :attr:`models.pretrained.encoder.PretrainedEncoder.hops_per_batch` says.
        """
        if self.runtime.device.type != "cpu":
            return HOPS_PER_BATCH
        return int(getattr(self.model.encoders[modality], "hops_per_batch", HOPS_PER_BATCH))

    def _encode(self, modality: Modality, clip: Clip) -> Tensor:
        """Tokens ``(N, S, D)`` of a clip's hops; of its windows, where the encoder sees whole ones."""
        with stage("transform"):
            contents = self.transforms.gather(modality, clip)

        def prepare_windows(starts: Tensor) -> Sequence[Tensor]:
            places = gather_windows(contents.places, starts.cpu(), clip.schedule.window_hops)
            joined = (join_hops(tensor[places]).to(starts.device) for tensor in contents.tensors)
            return self.transforms.prepare(modality, *joined)

        def forward(*batch: Tensor) -> Tensor:
            return self.model.encode(modality, *batch)

        if modality in self.transforms.config.window_spanned:
            starts = torch.arange(clip.schedule.num_windows)
            return run_micro_batches(
                forward,
                [starts],
                size=self.hops_per_batch(modality),
                item="window",
                runtime=self.runtime,
                transform=prepare_windows,
                report=self._reporter(modality),
            )
        encoded = run_micro_batches(
            forward,
            contents.tensors,
            size=self.hops_per_batch(modality),
            item="hop",
            runtime=self.runtime,
            transform=partial(self.transforms.prepare, modality),
            report=self._reporter(modality),
        )
        return encoded[contents.places]


def gather_windows_mask(clip: Clip) -> Tensor:
    """``(W, hops)`` bool: which places of each window lie inside the clip (not all do where it is shorter)."""
    schedule = clip.schedule
    places = torch.arange(schedule.num_windows)[:, None] + torch.arange(schedule.window_hops)
    return places < schedule.num_hops
