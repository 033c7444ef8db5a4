"""Scores of windows from hops that come piece by piece, of a long recording or of a stream.

What is kept of the hops that are gone is what the next windows need of them: less than a window of tokens, or of raw
contents where the encoder sees whole windows. So each hop is encoded once, and memory does not grow with the length.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from handler.clip import Clip
from handler.inference import WINDOWS_PER_BATCH, EncodedClip, ScoredWindows, Scorer
from handler.label_choice import LabelChoice
from handler.windows import Schedule, Span
from handler.zero_shot import ZeroShotScorer
from models.config import Modality
from models.fusion.base import Fusion
from models.zero_shot import WindowMeans

Hops = NDArray[Any]
"""``(h, ...)``: of a modality's hops the tokens ``(h, S, D)`` float32, or what :meth:`Transforms.gather` gives of them
where its encoder sees whole windows."""


@dataclass(frozen=True)
class RollingState:
    """What the next windows need of the hops that have been: h of them, the last of which is ``next_hop - 1``."""

    next_hop: int = 0
    """Hops that have been pushed."""
    hops: Mapping[Modality, Hops] = field(default_factory=dict)
    """For each modality that any of the h hops has."""
    masks: Mapping[Modality, NDArray[np.bool_]] = field(default_factory=dict)
    """For each of these ``(h,)`` bool, True where the hop has it."""
    num_hops: int = 0
    """h: the hops from the next window's first one on."""

    def __post_init__(self) -> None:
        lengths = {len(array) for array in (*self.hops.values(), *self.masks.values())}
        if lengths - {self.num_hops} or self.hops.keys() != self.masks.keys():
            raise ValueError(f"a state of {self.num_hops} hops cannot have arrays of {sorted(lengths)}")
        if not 0 <= self.num_hops <= self.next_hop:
            raise ValueError(f"of {self.next_hop} hops {self.num_hops} cannot be left")

    @property
    def next_window(self) -> int:
        """The first window that has not been scored: the one that begins with the first hop that is kept."""
        return self.next_hop - self.num_hops


class RollingScorer:
    """Scores windows as their hops come.

    Args:
        scorer: the model's.
        choice: labels, where these are the request's choice.
        window_hops: hops in a window.
        whole_batches: score windows in the micro-batches that the whole recording has, as far as they are full. Then
            the scores are those of the whole to the last bit, if each piece but the last is of a multiple of
            ``HOPS_PER_BATCH`` hops. Else each window is scored as soon as its hops are there.
        state: goes on from there; by default from the beginning.
    """

    def __init__(
        self,
        scorer: Scorer,
        choice: LabelChoice | None = None,
        *,
        window_hops: int,
        whole_batches: bool = False,
        state: RollingState | None = None,
    ) -> None:
        self.scorer = scorer
        self.choice = choice
        self.window_hops = window_hops
        self.whole_batches = whole_batches
        self.state = state or RollingState()
        self._texts: dict[str, Hops] = {}
        self._lasting: dict[Modality, tuple[object, Hops]] = {}

    def push(self, clip: Clip) -> ScoredWindows:
        """Take the next hops, at least one, and score the windows that they complete.

        Args:
            clip: hops ``state.next_hop ..`` of the recording. A modality that it does not name is absent in all of
                them, and one that the hops before did not have is absent there.

        Returns:
            The next W windows, W >= 0.
        """
        self.state = self._joined(clip)
        count = self.state.num_hops - self.window_hops + 1
        if self.whole_batches:
            count -= count % WINDOWS_PER_BATCH
        if count <= 0:
            return self._no_windows()
        scored = self._score(count + self.window_hops - 1)
        kept = self.state
        self.state = RollingState(
            kept.next_hop,
            {name: hops[count:].copy() for name, hops in kept.hops.items()},  # a view would hold on to all of them
            {name: mask[count:].copy() for name, mask in kept.masks.items()},
            kept.num_hops - count,
        )
        return scored

    def finish(self) -> ScoredWindows:
        """Score the windows that are left: those that fill no micro-batch, or the one of a recording that is shorter.

        The state stays as it is, and more hops may follow.

        Returns:
            The last W windows, W >= 0.
        """
        complete = self.state.num_hops >= self.window_hops
        is_short = self.state.next_window == 0 and self.state.num_hops > 0
        return self._score(self.state.num_hops) if complete or is_short else self._no_windows()

    def _joined(self, clip: Clip) -> RollingState:
        """The state with the hops of ``clip`` behind it."""
        before, num_new = self.state, clip.schedule.num_hops
        new = {name: self._hops(name, clip) for name in self.scorer.transforms.config.modalities if name in clip.masks}
        lasting = {name for name, mask in before.masks.items() if mask.any()}
        hops: dict[Modality, Hops] = {}
        masks: dict[Modality, NDArray[np.bool_]] = {}
        for name in self.scorer.transforms.config.modalities:
            if name not in new and name not in lasting:
                continue
            like = new[name] if name in new else before.hops[name]
            parts = before.hops.get(name, _absent(like, before.num_hops)), new.get(name, _absent(like, num_new))
            hops[name] = np.concatenate(parts)
            no_mask = np.zeros(before.num_hops, dtype=np.bool_)
            new_mask = clip.masks.get(name, np.zeros(num_new, dtype=np.bool_))
            masks[name] = np.concatenate((before.masks.get(name, no_mask), new_mask))
        return RollingState(before.next_hop + num_new, hops, masks, before.num_hops + num_new)

    def _hops(self, name: Modality, clip: Clip) -> Hops:
        if name in self.scorer.transforms.config.window_spanned:
            contents = self.scorer.transforms.gather(name, clip)
            return contents.tensors[0][contents.places].numpy()
        if name == "text" and clip.texts is not None:
            return self._text_tokens(clip, clip.texts)
        content = clip.image if name == "image" else clip.row if name == "tabular" else None
        if content is None:
            return self._encode(name, clip)
        known = self._lasting.get(name)
        if known is None or not _same(known[0], content):  # it stands on every hop, of the pieces before as well
            self._lasting[name] = known = (content, self._encode(name, clip)[:1])
        return np.repeat(known[1], clip.schedule.num_hops, axis=0)

    def _text_tokens(self, clip: Clip, texts: tuple[str, ...]) -> Hops:
        """The tokens of the hops' texts; those that the piece before had are not encoded again."""
        missing = tuple(dict.fromkeys(text for text in texts if text not in self._texts))
        known = self._texts
        if missing:
            schedule = self._schedule(len(missing))
            new = Clip(schedule, clip.modalities, texts=missing, masks={"text": np.ones(len(missing), dtype=np.bool_)})
            known = {**known, **dict(zip(missing, self._encode("text", new), strict=True))}
        self._texts = {text: known[text] for text in texts}
        return np.stack([self._texts[text] for text in texts])

    def _encode(self, name: Modality, clip: Clip) -> Hops:
        encoded: Hops = self.scorer.encode(clip, [name]).tokens[name].numpy()
        return encoded

    def _score(self, num_hops: int) -> ScoredWindows:
        """Score the windows of the first ``num_hops`` hops of the state."""
        spanned = self.scorer.transforms.config.window_spanned
        hops = {name: each[:num_hops] for name, each in self.state.hops.items()}
        clip = Clip(
            schedule=self._schedule(num_hops),
            modalities={},
            frames=hops["video"] if "video" in spanned and "video" in hops else None,
            samples=hops["audio"] if "audio" in spanned and "audio" in hops else None,
            masks={name: mask[:num_hops] for name, mask in self.state.masks.items()},
        )
        tokens = {name: torch.from_numpy(each) for name, each in hops.items() if name not in spanned}
        encoded = EncodedClip(clip, {**tokens, **self.scorer.encode(clip, spanned).tokens})
        if isinstance(self.scorer, ZeroShotScorer) and self.choice is not None:
            return self.scorer.compare(encoded, self.choice)
        return self.scorer.fuse(encoded)

    def _schedule(self, num_hops: int) -> Schedule:
        stride = self.scorer.transforms.config.windows.stride_seconds
        return Schedule(Span(0.0, num_hops * stride), stride, self.window_hops, num_hops)

    def _no_windows(self) -> ScoredWindows:
        config = self.scorer.transforms.config
        num_labels = len(config.labels)
        if self.choice is not None and config.zero_shot is not None:
            num_labels = len(self.choice.labels) + (config.zero_shot.none_label is not None)
        fusion = self.scorer.model.fusion
        width = fusion.output_width if isinstance(fusion, Fusion | WindowMeans) else 0
        return ScoredWindows(np.zeros((0, num_labels)), np.zeros((0, width), dtype=np.float32))


def _absent(like: Hops, num_hops: int) -> Hops:
    """Zeros for hops that do not have what ``like`` are of."""
    return np.zeros((num_hops, *like.shape[1:]), dtype=like.dtype)


def _same(one: object, other: object) -> bool:
    if isinstance(one, np.ndarray) and isinstance(other, np.ndarray):
        return one is other or np.array_equal(one, other)
    return one == other
