"""From a text, a clip or a sound to the moments of an index that are like it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from handler.clip import Clip
from handler.embedding import Embedder
from models.config import Modality
from models.settings import SettingsError
from retrieval.errors import IndexUnusable
from retrieval.indexing import Identity, read_identity
from retrieval.ranking import Span, combine, suppress
from retrieval.store import Channel, Moment, open_store
from retrieval.vectors import VectorIndex, read_index

FEWEST_CANDIDATES, CANDIDATES_PER_RESULT = 500, 50
"""Of a graph, so many of each query's nearest are compared in every modality."""
MAX_QUERY_WINDOWS = 64

Parts = Sequence[tuple[NDArray[np.float32], float]]
"""Vectors ``(Q, E)`` and the scale of their cosines."""


@dataclass(frozen=True)
class Query:
    """What is looked for, in each space."""

    vectors: Mapping[str, Mapping[Modality, NDArray[np.float32]]]
    """By space and by modality of the query ``(Q, E)`` float32 of length 1: its windows; a text is one of ``text``."""
    scale: Callable[[str, Modality, Modality], float]
    """What the cosine of two modalities of a space is multiplied by: :meth:`handler.embedding.Embedder.scale`."""

    def of(self, channel: Channel) -> list[tuple[NDArray[np.float32], float]]:
        """What a channel's windows are compared with, and its scale.

        That is the query's own part of their modality, else all its parts.
        """
        space, found = channel
        parts = self.vectors.get(space, {})
        asked = [found] if found in parts else list(parts)
        return [(parts[name], self.scale(space, name, found)) for name in asked]


@dataclass(frozen=True)
class Found:
    """A moment that was found."""

    file: str
    """Its name in the index."""
    start_seconds: float
    stop_seconds: float
    score: float
    """Nats: how much more likely it belongs to the query than a window of the index does at random."""
    modality: Modality
    """The one that fits best."""
    cosines: dict[Modality, float]
    """How alike each modality of the moment is, in [-1, 1]."""


def text_query(embedder: Embedder, text: str) -> Query:
    """A text, in every space that takes text.

    Raises:
        SettingsError: no space does.
    """
    spaces = [name for name, space in embedder.spaces.items() if space.takes_text]
    if not spaces:
        raise SettingsError("this model embeds no text: ask with a clip or a sound")
    return Query({name: {"text": embedder.embed_text(name, [text])} for name in spaces}, embedder.scale)


def clip_query(embedder: Embedder, clip: Clip, by: Collection[Modality] | None = None) -> Query:
    """A clip, by the modalities it has or those in ``by``: its windows, one after the other without overlap.

    Raises:
        SettingsError: nothing of it can be embedded.
    """
    vectors: dict[str, dict[Modality, NDArray[np.float32]]] = {}
    for name, embedded in embedder.embed_clip(clip).items():
        space = embedder.space_of(name)
        rows = _spread_out(np.flatnonzero(embedded.present), clip.schedule.window_hops)
        if space is not None and len(rows) and (by is None or name in by):
            vectors.setdefault(space, {})[name] = embedded.vectors[rows]
    if not vectors:
        had = ", ".join(name for name, status in clip.modalities.items() if status.used) or "nothing"
        raise SettingsError(f"nothing of the query can be embedded: it has {had}")
    return Query(vectors, embedder.scale)


def _spread_out(windows: NDArray[np.int64], window_hops: int) -> NDArray[np.int64]:
    """Of the windows that are there, those that do not overlap, and of these at most so many, evenly."""
    chosen = windows[:1]
    for window in windows[1:]:
        if window - chosen[-1] >= window_hops:
            chosen = np.append(chosen, window)
    places = np.unique(np.linspace(0, len(chosen) - 1, num=min(len(chosen), MAX_QUERY_WINDOWS)).round().astype(int))
    return np.asarray(chosen[places], dtype=np.int64) if len(chosen) else chosen


class Searcher:
    """An index in memory.

    Args:
        identity: what it is of.
        channels: its vectors.
        moments: where each window is.
    """

    def __init__(self, identity: Identity, channels: Mapping[Channel, VectorIndex], moments: Mapping[int, Moment]):
        self.identity = identity
        self.channels = dict(channels)
        self.moments = moments

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Read an index.

        Raises:
            IndexUnusable: there is none, it is broken, not finished, or being written.
        """
        with open_store(folder) as store:
            identity = read_identity(store)
            if identity is None:
                raise IndexUnusable(f"the index {folder} is empty", remedy="Run `activity index` first.")
            channels = {channel: read_index(folder, store, channel) for channel in store.channels()}
            return cls(identity, channels, store.moments())

    def check(self, digest: str) -> None:
        """Refuse to be asked by another checkpoint.

        Raises:
            IndexUnusable: ``digest`` is not that of the index.
        """
        if digest != self.identity.digest:
            raise IndexUnusable(
                "the index was made by another checkpoint, or this one has changed since",
                remedy="Give the checkpoint it was made by, or index the files anew into another folder.",
            )

    def search(self, query: Query, *, top: int = 10, modalities: Collection[Modality] | None = None) -> list[Found]:
        """The best moments, overlapping ones merged to the best of them.

        Args:
            query: what is looked for.
            top: how many at most.
            modalities: only these of the moments are looked at.

        Raises:
            SettingsError: the index has none of the modalities, or none that can be compared with the query.
        """
        unknown = sorted(set(modalities or ()) - {name for _, name in self.channels})
        if unknown:
            known = ", ".join(dict.fromkeys(name for _, name in self.channels)) or "nothing"
            raise SettingsError(f"the index has nothing of {', '.join(unknown)}: it has {known}")
        compared = {
            channel: (index, query.of(channel))
            for channel, index in self.channels.items()
            if query.of(channel) and (modalities is None or channel[1] in modalities)
        }
        if not compared:
            have = ", ".join(f"{name} in space {space}" for space, name in self.channels) or "nothing"
            raise SettingsError(f"nothing in the index can be compared with the query: it has {have}")
        wanted = max(FEWEST_CANDIDATES, CANDIDATES_PER_RESULT * top)
        most = max(len(index) for index, _ in compared.values())
        while True:
            found, complete = self._rank(compared, wanted, top)
            if len(found) == top or complete or wanted >= most:
                return found
            wanted *= 4

    def _rank(
        self, compared: Mapping[Channel, tuple[VectorIndex, Parts]], wanted: int, top: int
    ) -> tuple[list[Found], bool]:
        """The best moments of the candidates, and whether these were all there are."""
        windows = np.unique(np.concatenate([_candidates(*pair, wanted) for pair in compared.values()]))
        rows, names, raw = [], [], {}
        for channel, (index, parts) in compared.items():
            places = np.searchsorted(index.windows, windows).clip(max=len(index) - 1)
            there = index.windows[places] == windows
            cosines = np.full(len(windows), np.nan)
            for part, scale in parts:
                evidence = np.full(len(windows), np.nan)
                if there.any():
                    alike = index.cosines(part, places[there])
                    evidence[there] = index.background(part, scale).evidence(alike).max(axis=0)
                    cosines[there] = np.fmax(cosines[there], alike.max(axis=0))
                rows.append(evidence)
                names.append(channel[1])
            raw[channel[1]] = cosines
        table = np.stack(rows)
        scores = combine(table)
        best = np.where(np.isnan(table), -np.inf, table).argmax(axis=0)
        spans = [self._span(int(window), score) for window, score in zip(windows, scores, strict=True)]
        found = [
            Found(
                spans[place].file,
                spans[place].start_seconds,
                spans[place].stop_seconds,
                float(scores[place]),
                names[best[place]],
                {name: float(values[place]) for name, values in raw.items() if not np.isnan(values[place])},
            )
            for place in suppress(spans, top)
        ]
        return found, all(index.exact for index, _ in compared.values())

    def _span(self, window: int, score: float) -> Span:
        moment = self.moments[window]
        return Span(moment.file, moment.start_seconds, moment.stop_seconds, float(score))


def _candidates(index: VectorIndex, parts: Parts, wanted: int) -> NDArray[np.int64]:
    """The windows that are looked at more closely: all of an exact index, the nearest of a graph."""
    if index.exact:
        return index.windows
    rows = np.concatenate([index.nearest(part, wanted)[1].ravel() for part, _ in parts])
    return np.asarray(index.windows[np.unique(rows[rows >= 0])], dtype=np.int64)
