"""A dataset's windows as vectors: each by each of its modalities, and with the sentence that holds during it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from handler.clip import Words
from handler.embedding import Embedder, WindowEmbeddings
from handler.limits import Limits
from handler.text import parse_text
from handler.windows import Schedule
from models.config import Modality
from training.dataset import LabelledClip

LEAST_OVERLAP_SECONDS = 0.002
"""Cues are rounded to milliseconds: what they share with a window by that is nothing."""


@dataclass(frozen=True)
class EmbeddedWindows:
    """The windows of all clips, one after the other without overlap."""

    vectors: dict[Modality, NDArray[np.float32]]
    """``(W, E)``, zeros where a window does not have it."""
    present: dict[Modality, NDArray[np.bool_]]
    texts: tuple[str | None, ...]
    """The one sentence that holds during the whole window; None where there is none, or it changes."""
    groups: tuple[str, ...]
    clips: NDArray[np.int64]
    """``(W,)`` int64: which clip each window is of, from 0."""

    @property
    def num_clips(self) -> int:
        """How many clips there are."""
        return 1 + int(self.clips.max(initial=-1))

    @property
    def sentences(self) -> list[str]:
        """Each sentence once."""
        return list(dict.fromkeys(text for text in self.texts if text is not None))


def embed_windows(embedder: Embedder, clips: Iterable[LabelledClip]) -> EmbeddedWindows:
    """Embed the windows of clips, each of which is let go at once."""
    parts: list[tuple[dict[Modality, WindowEmbeddings], NDArray[np.int64]]] = []
    texts: list[str | None] = []
    groups: list[str] = []
    for number, it in enumerate(clips):
        schedule = it.clip.schedule
        chosen = np.arange(0, schedule.num_windows, schedule.window_hops)
        parts.append((embedder.embed_clip(it.clip), chosen))
        words = None if it.entry.text is None else parse_text(it.entry.text.read_bytes(), Limits())
        texts += [None if words is None else sentence_of(words, schedule, int(window)) for window in chosen]
        groups += [it.entry.group or f"clip {number}"] * len(chosen)
    names = {name: embedded[name].vectors.shape[1] for embedded, _ in parts for name in embedded}
    vectors = {name: np.zeros((len(texts), width), dtype=np.float32) for name, width in names.items()}
    present = {name: np.zeros(len(texts), dtype=np.bool_) for name in names}
    first = 0
    for embedded, chosen in parts:
        rows = slice(first, first + len(chosen))
        for name, windows in embedded.items():
            vectors[name][rows], present[name][rows] = windows.vectors[chosen], windows.present[chosen]
        first += len(chosen)
    numbers = np.repeat(np.arange(len(parts)), [len(chosen) for _, chosen in parts])
    return EmbeddedWindows(vectors, present, tuple(texts), tuple(groups), numbers)


def sentence_of(words: Words, schedule: Schedule, window: int) -> str | None:
    """The one sentence that holds during a whole window, give or take a hop; None where there is none, or several."""
    if words.untimed is not None:
        return words.untimed.strip() or None
    span = schedule.window_span(window)
    shared = [
        (min(cue.stop_seconds, span.stop_seconds) - max(cue.start_seconds, span.start_seconds), cue.text)
        for cue in words.cues
    ]
    heard = [(seconds, text) for seconds, text in shared if seconds > LEAST_OVERLAP_SECONDS]
    if len(heard) != 1 or heard[0][0] < span.duration_seconds - schedule.stride_seconds:
        return None
    return heard[0][1].strip() or None
