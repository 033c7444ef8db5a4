"""How well towers find a window's other modalities, and texts what they say, on data whose truth is known."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from itertools import permutations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from handler.embedding import Embedder
from models.config import Modality
from models.settings import SettingsError
from retrieval.ranking import background_of, combine
from training.dataset import LabelledClip
from training.embedded import EmbeddedWindows, embed_windows
from training.metrics.bootstrap import Bootstrap, Estimate
from training.metrics.recall import chance_at, recall_at

DEPTHS = (1, 5, 10)
"""The k of recall at k."""
Join = Callable[[NDArray[np.float64]], NDArray[np.float64]]
"""From evidence ``(M, N)``, NaN where a candidate has none, to scores ``(N,)``."""


@dataclass(frozen=True)
class Direction:
    """One modality asked for by another."""

    asked: Modality
    """What asks: a window's modality, or ``text``, one sentence."""
    found: tuple[Modality, ...]
    """What is looked through: windows by one modality, or by several together, as a search does; or sentences."""
    num_queries: int
    num_candidates: int
    recall: dict[int, Estimate | None]
    """By k, in [0, 1]: of the queries those with something relevant among the first k."""
    chance: dict[int, float]
    """By k: the same for candidates in random order."""


@dataclass(frozen=True)
class RecallReport:
    """What was measured."""

    model: str
    num_clips: int
    num_windows: int
    directions: tuple[Direction, ...]

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self)


def measure_recall(
    embedder: Embedder, clips: Iterable[LabelledClip], *, model: str, join: Join = combine
) -> RecallReport:
    """Measure every direction that the data and the towers allow.

    A window's own other modality is what is relevant to it; to a sentence every window during which it holds.

    Args:
        embedder: the towers.
        clips: with their manifest's entries; each is let go when it is embedded.
        model: what the report calls it.
        join: makes one score of several modalities' evidence, as a search does; another one is for comparison.

    Raises:
        SettingsError: when there is nothing to compare.
    """
    windows = embed_windows(embedder, clips)
    directions = [*_between_modalities(embedder, windows), *_with_sentences(embedder, windows, join)]
    if not directions:
        raise SettingsError("the data has no window with two modalities, or one and a sentence, that are in one space")
    return RecallReport(model, windows.num_clips, len(windows.texts), tuple(directions))


def _between_modalities(embedder: Embedder, windows: EmbeddedWindows) -> Iterable[Direction]:
    """Windows by one modality among windows by another; words are asked as sentences instead."""
    for space in embedder.spaces.values():
        for one, other in permutations(
            [name for name in space.modalities if name != "text" and name in windows.vectors], 2
        ):
            candidates = np.flatnonzero(windows.present[other])
            queries = np.flatnonzero(windows.present[one] & windows.present[other])
            if len(queries):
                scores = _cosines(windows.vectors[one][queries], windows.vectors[other][candidates])
                relevant = queries[:, None] == candidates[None]
                yield _direction(one, (other,), scores, relevant, [windows.groups[row] for row in queries])


def _with_sentences(embedder: Embedder, windows: EmbeddedWindows, join: Join) -> Iterable[Direction]:
    """Sentences among windows by each modality and by all, and windows among sentences."""
    sentences = windows.sentences
    if not sentences:
        return
    places = np.array([-1 if text is None else sentences.index(text) for text in windows.texts])
    groups = [windows.groups[int(np.flatnonzero(places == place)[0])] for place in range(len(sentences))]
    evidence: dict[Modality, NDArray[np.float64]] = {}
    for space in embedder.spaces.values():
        if not space.takes_text:
            continue
        asked = embedder.embed_text(space.name, sentences)
        for name in space.modalities:
            there = np.flatnonzero(windows.present.get(name, ()))
            if name == "text" or not len(there):
                continue
            cosines = _cosines(asked, windows.vectors[name][there])
            evidence[name] = np.full((len(sentences), len(places)), np.nan)
            scale = embedder.scale(space.name, "text", name)
            evidence[name][:, there] = background_of(cosines, scale).evidence(cosines)
            relevant = np.arange(len(sentences))[:, None] == places[there][None]
            yield _direction("text", (name,), cosines, relevant, groups)
            told = there[places[there] >= 0]
            back = _cosines(windows.vectors[name][told], asked)
            relevant = places[told][:, None] == np.arange(len(sentences))[None]
            yield _direction(name, ("text",), back, relevant, [windows.groups[row] for row in told])
    if len(evidence) > 1:
        fused = np.stack([join(np.stack(rows)) for rows in zip(*evidence.values(), strict=True)])
        relevant = np.arange(len(sentences))[:, None] == places[None]
        yield _direction("text", tuple(evidence), fused, relevant, groups)


def _direction(
    asked: Modality,
    found: tuple[Modality, ...],
    scores: NDArray[np.float64],
    relevant: NDArray[np.bool_],
    groups: Sequence[str],
) -> Direction:
    counted: NDArray[np.bool_] = np.asarray(relevant.any(axis=1))
    scores, relevant = scores[counted], relevant[counted]
    bootstrap = Bootstrap([group for group, counts in zip(groups, counted, strict=True) if counts])
    ones = np.ones(len(scores))
    return Direction(
        asked,
        found,
        num_queries=len(scores),
        num_candidates=scores.shape[1],
        recall={k: bootstrap.ratio(recall_at(scores, relevant, k), ones) for k in DEPTHS},
        chance={k: float(chance_at(relevant, k).mean()) for k in DEPTHS},
    )


def _cosines(queries: NDArray[np.float32], candidates: NDArray[np.float32]) -> NDArray[np.float64]:
    return np.asarray(queries.astype(np.float64) @ candidates.astype(np.float64).T)
