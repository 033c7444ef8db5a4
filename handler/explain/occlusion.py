"""Which moments of a modality weighed most: what a label's score owes to one of them.

Moments repeat each other: of four hops that show the same motion each can go without a loss. So a hop is measured
twice, as what the score loses without it and as what it gains by this hop alone where the modality is else absent, and
it weighs the mean of the two: the first and the last place of all the orders that a Shapley value goes through.

A hop is taken away by the model's own mask, as a modality that is absent there would be. That is cheap: every window is
a run of H hops, so with each H-th hop masked at once each window lacks exactly one, and H passes over the windows
measure all of them. Inside the hops that weighed most single frames, mel frames and words are taken away as well, which
has to encode the hop anew; there the hop is all that a window has of the modality.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from handler.clip import Clip
from handler.inference import EncodedClip, Scorer
from handler.windows import Schedule, Span
from models.config import Modality, ModelConfig

SOUND_PARTS = 5
"""Parts that a hop of sound is cut into: of the demo's hop 0.1 s, or 10 mel frames, each."""
MAX_WORDS = 32
"""Words of one hop that are taken away, each alone."""
VARIANTS_AT_A_TIME = 64
"""Hops with a part taken away that are scored in one go: a bound on memory."""

ScoreEncoded = Callable[[EncodedClip], NDArray[np.float64]]
"""From an encoded clip to ``(W, K)`` scores."""


@dataclass(frozen=True)
class Moment:
    """A part of a modality, and what it weighed."""

    start_seconds: float
    stop_seconds: float
    weight: float
    """What the label's score owes to it: the mean over the windows that see it."""
    words: str | None = None
    """Of the text."""


@dataclass(frozen=True)
class Part:
    """A hop with one part of it taken away, or with none: what is lost is measured against that."""

    hop: int
    span: Span
    """Of the part."""
    content: NDArray[np.generic] | str
    """The hop's frames, samples or text without it."""
    words: str | None = None
    is_whole: bool = False
    """Nothing is taken away."""


def occludable(clip: Clip, config: ModelConfig) -> tuple[Modality, ...]:
    """The modalities of a clip whose hops differ and are encoded one by one."""
    whole = {"image", "tabular", *config.window_spanned}
    return tuple(name for name in config.modalities if name in clip.masks and name not in whole)


def occlude_hops(
    encoded: EncodedClip, modality: Modality, score: ScoreEncoded, columns: Collection[int], *, alone: bool
) -> NDArray[np.float64]:
    """Score every window without each of its hops of ``modality``, or with that one alone.

    Args:
        encoded: the clip.
        modality: one of :func:`occludable`.
        score: scores its windows.
        columns: the labels that are kept, C.
        alone: the hop is kept and the modality's others are taken away.

    Returns:
        ``(W, hops, C)``.
    """
    clip, window_hops = encoded.clip, encoded.clip.schedule.window_hops
    windows = np.arange(clip.schedule.num_windows)
    kept = list(columns)
    result = np.empty((len(windows), window_hops, len(kept)), dtype=np.float64)
    places = np.arange(clip.schedule.num_hops)
    for turn in range(window_hops):
        mask = clip.masks[modality] & ((places % window_hops == turn) == alone)
        masked = EncodedClip(replace(clip, masks={**clip.masks, modality: mask}), encoded.tokens)
        result[windows, (turn - windows) % window_hops] = score(masked)[:, kept]
    return result


def cut_parts(clip: Clip, config: ModelConfig, modality: Modality, hop: int) -> list[Part]:
    """A hop as it is, then without each of its frames, parts of its sound or words; none where it has no such parts."""
    span = clip.schedule.hop_span(hop)
    frames = {"video": clip.frames, "depth": clip.depth}.get(modality)
    content: NDArray[np.generic] | str
    if frames is not None:
        content, parts = frames[hop], _without_frames(frames[hop], hop, span)
    elif modality == "audio" and clip.samples is not None and config.audio is not None:
        content = clip.samples[hop]
        parts = _without_sounds(clip.samples[hop], hop, span, context=config.audio.context_samples)
    elif modality == "text" and clip.texts is not None:
        span = _text_span(clip, hop)
        content, parts = clip.texts[hop], _without_words(clip.texts[hop], hop, span)
    else:
        return []
    return [Part(hop, span, content, is_whole=True), *parts] if parts else []


def _without_frames(frames: NDArray[np.uint8], hop: int, span: Span) -> list[Part]:
    """Each frame gives way to the one before, as if that were held; the first to the second."""
    parts = []
    for place in range(len(frames) if len(frames) > 1 else 0):
        content = frames.copy()
        content[place] = frames[place - 1 if place else 1]
        parts.append(Part(hop, _slice(span, place, len(frames)), content))
    return parts


def _without_sounds(samples: NDArray[np.float32], hop: int, span: Span, *, context: int) -> list[Part]:
    """Each part of the hop gives way to silence; ``context`` samples around the hop are its neighbours'."""
    edges = np.linspace(context // 2, len(samples) - (context - context // 2), SOUND_PARTS + 1).round().astype(int)
    parts = []
    for place in range(SOUND_PARTS):
        content = samples.copy()
        content[edges[place] : edges[place + 1]] = 0.0
        parts.append(Part(hop, _slice(span, place, SOUND_PARTS), content))
    return parts


def _without_words(text: str, hop: int, span: Span) -> list[Part]:
    words = text.split()
    return [
        Part(hop, span, " ".join(words[:place] + words[place + 1 :]), words=word)
        for place, word in enumerate(words[:MAX_WORDS])
    ]


def _slice(span: Span, place: int, count: int) -> Span:
    step = span.duration_seconds / count
    return Span(span.start_seconds + place * step, span.start_seconds + (place + 1) * step)


def _text_span(clip: Clip, hop: int) -> Span:
    """The run of hops that have the text of ``hop``."""
    run = _same_text(clip, hop, range(clip.schedule.num_hops))
    return Span(clip.schedule.hop_span(run[0]).start_seconds, clip.schedule.hop_span(run[-1]).stop_seconds)


def _same_text(clip: Clip, hop: int, inside: range) -> list[int]:
    """The hops around ``hop`` that have its text, in a row."""
    texts = clip.texts or ()
    first = last = hop
    while first - 1 in inside and texts[first - 1] == texts[hop]:
        first -= 1
    while last + 1 in inside and texts[last + 1] == texts[hop]:
        last += 1
    return list(range(first, last + 1))


def occlude_parts(
    scorer: Scorer, encoded: EncodedClip, modality: Modality, parts: Sequence[Part], score: ScoreEncoded
) -> list[dict[int, NDArray[np.float64]]]:
    """Score the windows that see a part's hop, which is all that they have of the modality, without the part.

    Args:
        scorer: encodes what is left of the hops.
        encoded: the clip.
        modality: the parts'.
        parts: of any of its hops.
        score: scores an encoded clip's windows.

    Returns:
        For each part the scores ``(K,)`` by window.
    """
    found: list[dict[int, NDArray[np.float64]]] = []
    for start in range(0, len(parts), VARIANTS_AT_A_TIME):
        chosen = parts[start : start + VARIANTS_AT_A_TIME]
        contents = scorer.encode(_clip_of_parts(encoded.clip, modality, chosen), [modality]).tokens[modality]
        spanned = scorer.transforms.config.window_spanned
        found += _score_variants(encoded, modality, chosen, contents, score, spanned)
    return found


def _clip_of_parts(clip: Clip, modality: Modality, parts: Sequence[Part]) -> Clip:
    """A clip whose hops are the contents of ``parts``, so that the one way to encode hops encodes them too."""
    contents = [part.content for part in parts]
    made = Clip(
        schedule=replace(clip.schedule, num_hops=len(parts)),
        modalities={},
        masks={modality: np.ones(len(parts), dtype=np.bool_)},
    )
    if modality == "text":
        return replace(made, texts=tuple(map(str, contents)))
    field = {"video": "frames", "audio": "samples", "depth": "depth"}[modality]
    changes: dict[str, Any] = {field: np.stack([np.asarray(content) for content in contents])}
    return replace(made, **changes)


def _score_variants(
    encoded: EncodedClip,
    modality: Modality,
    parts: Sequence[Part],
    contents: torch.Tensor,
    score: ScoreEncoded,
    window_spanned: Collection[Modality],
) -> list[dict[int, NDArray[np.float64]]]:
    """Lay the neighbourhoods of all parts one after the other as one long clip; its windows across two are not used."""
    clip, schedule = encoded.clip, encoded.clip.schedule
    reach = schedule.window_hops - 1
    places: list[int] = []
    is_there: list[bool] = []
    is_altered: list[bool] = []
    starts, tokens = [], []
    for part, content in zip(parts, contents, strict=True):
        near = _neighbourhood(schedule, part.hop)
        altered = _same_text(clip, part.hop, near) if modality == "text" else [part.hop]
        lacking = max(0, reach + 1 - len(near))  # of a clip shorter than a window
        block = [*near, *[near[-1]] * lacking]
        changed = encoded.tokens[modality][block].clone()
        changed[[hop - near.start for hop in altered]] = content
        starts.append(len(places))
        tokens.append(changed)
        places += block
        is_there += [True] * len(near) + [False] * lacking
        is_altered += [hop in altered for hop in near] + [False] * lacking
    windows = [min(place, schedule.num_windows - 1) for place in places[: len(places) - reach]]
    joined = {
        name: torch.cat(tokens) if name == modality else values[windows if name in window_spanned else places]
        for name, values in encoded.tokens.items()
    }
    masks = {name: mask[places] & np.array(is_there) for name, mask in clip.masks.items()}
    masks[modality] = masks[modality] & np.array(is_altered)
    scores = score(EncodedClip(replace(clip, schedule=replace(schedule, num_hops=len(places)), masks=masks), joined))
    found: list[dict[int, NDArray[np.float64]]] = []
    for part, start in zip(parts, starts, strict=True):
        near = _neighbourhood(schedule, part.hop)
        seeing = range(near.start, max(near.stop - reach, near.start + 1))
        found.append({window: scores[start + window - near.start] for window in seeing})
    return found


def _neighbourhood(schedule: Schedule, hop: int) -> range:
    """The hops of all windows that see ``hop``."""
    reach = schedule.window_hops - 1
    return range(max(0, hop - reach), min(schedule.num_hops, hop + reach + 1))
