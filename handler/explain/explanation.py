"""Why a clip was answered as it was: modalities, moments and attention behind each window and each segment.

Everything is measured on the model that answered, by taking something away and scoring anew: nothing is drawn by
chance, so the same request has the same explanation.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from handler.errors import LimitExceeded
from handler.explain.contributions import Contrast, Contributions, SubsetScores, score_subsets
from handler.explain.occlusion import Moment, Part, cut_parts, occludable, occlude_hops, occlude_parts
from handler.inference import EncodedClip, ScoredWindows, Scorer
from handler.limits import Limits
from handler.options import ResolvedOptions
from handler.segments import Segment
from handler.smoothing import ActivitySmoothing
from handler.windows import Schedule, Span, WindowSelection
from handler.zero_shot import ZeroShotScorer
from models.config import Modality, WindowConfig

MOMENTS_SHOWN = 5
"""Of a segment's modality."""
USUAL_WINDOW_HOPS = 4
"""With longer windows each one is scored without more hops, and more of them see a part that is taken away."""
MIN_SEARCHED_HOPS = 4
HOPS_PER_SEARCHED_HOP = 6
"""Of so many hops of a clip one is searched for what weighed inside it: those that weighed most."""
_DECIMALS = 6

Pair = tuple[Modality, Modality]


@dataclass(frozen=True)
class WindowExplanation:
    """Of one window, as the model scored it before smoothing."""

    span: Span
    contributions: Contributions
    """To the label that the window has after smoothing."""
    hops: Mapping[Modality, NDArray[np.float64]]
    """For each modality ``(hops,)``: what the label's score owes to that hop (:mod:`handler.explain.occlusion`)."""
    attention: Mapping[Pair, NDArray[np.float32]]
    """For each pair (who attends, to whom) ``(hops, hops)``."""


@dataclass(frozen=True)
class SegmentExplanation:
    """Of one segment, whose score is the mean of its windows' after smoothing."""

    span: Span
    contributions: Contributions
    moments: Mapping[Modality, tuple[Moment, ...]]
    """What weighed most of each modality, the heaviest first; only what spoke for the label."""
    attention: Mapping[Pair, NDArray[np.float32]]
    """For each pair ``(hops, hops)``: the mean over the segment's windows."""


@dataclass(frozen=True)
class Explanation:
    """The extra ``explanation``."""

    windows: tuple[WindowExplanation, ...]
    segments: tuple[SegmentExplanation, ...]


def score_encoded(
    scorer: Scorer, encoded: EncodedClip, options: ResolvedOptions, names: Collection[Modality] | None = None
) -> ScoredWindows:
    """Score a clip whose hops are encoded, for the labels that the request chose where they are its choice."""
    if isinstance(scorer, ZeroShotScorer) and options.choice is not None:
        return scorer.compare(encoded, options.choice, names)
    return scorer.fuse(encoded, names)


def explainable_hops(windows: WindowConfig, limits: Limits) -> int:
    """Hops that are more than any clip has that :func:`check_explained` lets pass."""
    longest_seconds = max(limits.max_explained_seconds, windows.window_seconds)
    return math.ceil(longest_seconds / windows.stride_seconds) + 1


def check_explained(schedule: Schedule, limits: Limits) -> None:
    """Check that a clip is short enough to be explained.

    Raises:
        LimitExceeded: it is not.
    """
    seconds = schedule.span.duration_seconds
    most = limits.max_explained_seconds
    share = min(1.0, USUAL_WINDOW_HOPS / schedule.window_hops)
    allowed_seconds = max(most * share, min(most, schedule.window_seconds))
    if seconds > allowed_seconds:
        raise LimitExceeded(
            "explained_seconds",
            f"the clip spans {seconds:.3f} s, an explanation is limited to {allowed_seconds:g} s",
            remedy="Ask for the explanation of a part of the clip, or leave the explanation out.",
        )


def explain(scorer: Scorer, encoded: EncodedClip, options: ResolvedOptions, segments: Sequence[Segment]) -> Explanation:
    """Explain an answer.

    Args:
        scorer: gave the scores.
        encoded: the clip, with all of its modalities.
        options: the request's.
        segments: the answer's.
    """
    return _Explainer(scorer, encoded, options).explain(segments)


class _Explainer:
    """Of one request."""

    def __init__(self, scorer: Scorer, encoded: EncodedClip, options: ResolvedOptions) -> None:
        self.scorer, self.encoded, self.options = scorer, encoded, options
        self.config = scorer.transforms.config
        self.windows: WindowSelection = encoded.clip.schedule.windows_every(options.stride_windows)
        self.smooth = ActivitySmoothing(options.smoothing_windows, options.lookahead_windows)
        self.subsets = self._at_windows(score_subsets(tuple(encoded.tokens), lambda names: self._score(encoded, names)))
        self.whole = self.subsets.scores[frozenset(encoded.tokens)]
        self.smoothed = self.subsets.reduce(self.smooth)
        self.attention = scorer.attend(encoded)

    def explain(self, segments: Sequence[Segment]) -> Explanation:
        """Explain the windows, then the ``segments`` made of them."""
        answered = self._answered_labels()
        labels = [self.options.labels.index(segment.label) for segment in segments]
        columns = sorted({*answered, *labels})
        weights = {name: self._hop_weights(name, columns) for name in occludable(self.encoded.clip, self.config)}
        members = [self._members(segment) for segment in segments]
        moments = self._find_moments(labels, members, columns, weights)
        return Explanation(
            windows=tuple(
                self._window(position, label, {name: each[..., columns.index(label)] for name, each in weights.items()})
                for position, label in enumerate(answered)
            ),
            segments=tuple(self._segment(*each) for each in zip(segments, labels, members, moments, strict=True)),
        )

    def _score(self, encoded: EncodedClip, names: Collection[Modality] | None = None) -> NDArray[np.float64]:
        return score_encoded(self.scorer, encoded, self.options, names).scores

    def _at_windows(self, subsets: SubsetScores) -> SubsetScores:
        return subsets.reduce(lambda scores: scores[list(self.windows.indexes)])

    def _answered_labels(self) -> list[int]:
        """The best allowed label of each window of the answer after smoothing."""
        smoothed = self.smoothed.scores[frozenset(self.encoded.tokens)]
        columns = np.flatnonzero(self.options.allowed)
        return [int(label) for label in columns[np.argmax(smoothed[:, columns], axis=1)]]

    def _hop_weights(self, name: Modality, columns: Sequence[int]) -> NDArray[np.float64]:
        """``(W, hops, C)``: the mean of what is lost without the hop and of what is gained by it alone."""
        kept = list(columns)
        without = occlude_hops(self.encoded, name, self._score, kept, alone=False)[list(self.windows.indexes)]
        alone = occlude_hops(self.encoded, name, self._score, kept, alone=True)[list(self.windows.indexes)]
        absent = self.subsets.scores[frozenset(self.encoded.tokens) - {name}]
        return np.asarray((self.whole[:, None, kept] - without + alone - absent[:, None, kept]) / 2)

    def _members(self, segment: Segment) -> list[int]:
        """Positions of a segment's windows: those whose centre it holds, as its edges lie between two centres."""
        span = self.encoded.clip.schedule.span
        centres = np.clip(self.windows.centres_seconds, span.start_seconds, span.stop_seconds)
        inside = np.flatnonzero((centres >= segment.start_seconds) & (centres < segment.stop_seconds)).tolist()
        middle = (segment.start_seconds + segment.stop_seconds) / 2
        return inside or [int(np.argmin(np.abs(centres - middle)))]

    def _window(self, position: int, label: int, weights: Mapping[Modality, NDArray[np.float64]]) -> WindowExplanation:
        scores = self.subsets.reduce(lambda values: values[position])
        window = self.windows.indexes[position]
        return WindowExplanation(
            span=self.windows.window_span(position),
            contributions=scores.contribute(self.options.labels, label, self.options.allowed),
            hops={name: each[position] for name, each in weights.items()},
            attention={pair: each[window] for pair, each in self.attention.items()},
        )

    def _segment(
        self, segment: Segment, label: int, members: list[int], moments: Mapping[Modality, tuple[Moment, ...]]
    ) -> SegmentExplanation:
        scores = self.smoothed.reduce(lambda values: values[members].mean(axis=0))
        windows = [self.windows.indexes[position] for position in members]
        return SegmentExplanation(
            span=Span(segment.start_seconds, segment.stop_seconds),
            contributions=scores.contribute(self.options.labels, label, self.options.allowed),
            moments=moments,
            attention={pair: weights[windows].mean(axis=0) for pair, weights in self.attention.items()},
        )

    def _find_moments(
        self,
        labels: Sequence[int],
        members: Sequence[list[int]],
        columns: Sequence[int],
        weights: Mapping[Modality, NDArray[np.float64]],
    ) -> list[dict[Modality, tuple[Moment, ...]]]:
        """What weighed most in each segment, by modality."""
        found: list[dict[Modality, tuple[Moment, ...]]] = [{} for _ in labels]
        for name, weight in weights.items():
            hops = [
                self._weigh_hops(weight[..., columns.index(label)], inside)
                for label, inside in zip(labels, members, strict=True)
            ]
            searched = self._search(name, hops)
            cut = {hop: cut_parts(self.encoded.clip, self.config, name, hop) for _, hop in searched}
            parts = [part for each in cut.values() for part in each]
            without = occlude_parts(self.scorer, self.encoded, name, parts, self._score)
            whole = {part.hop: scores for part, scores in zip(parts, without, strict=True) if part.is_whole}
            moments: list[list[Moment]] = [[] for _ in labels]
            for segment, hop in searched:
                if not cut[hop]:
                    moments[segment].append(self._moment(hop, hops[segment][hop]))
                moments[segment] += [
                    self._weigh(part, whole[hop], scores, labels[segment], members[segment])
                    for part, scores in zip(parts, without, strict=True)
                    if part.hop == hop and not part.is_whole
                ]
            for segment, each in enumerate(moments):
                found[segment][name] = _heaviest(each)
        return found

    def _weigh_hops(self, weights: NDArray[np.float64], members: Sequence[int]) -> dict[int, float]:
        """What each hop that a segment's windows see weighed: the mean over these windows; ``weights`` is (W, hops)."""
        seen: dict[int, list[float]] = {}
        num_hops = self.encoded.clip.schedule.num_hops
        for position in members:
            for place, value in enumerate(weights[position].tolist()):
                hop = self.windows.indexes[position] + place
                if hop < num_hops:
                    seen.setdefault(hop, []).append(value)
        return {hop: sum(values) / len(values) for hop, values in seen.items()}

    def _search(self, name: Modality, hops: Sequence[Mapping[int, float]]) -> list[tuple[int, int]]:
        """Segments and their hops that are looked into: each one's heaviest first, and of these the heaviest."""
        texts = self.encoded.clip.texts if name == "text" else None
        ranked: list[tuple[int, float, int, int]] = []
        for segment, weights in enumerate(hops):
            order = [hop for hop in weights if weights[hop] > 0]
            if texts is None:
                order.sort(key=lambda hop: (-weights[hop], hop))
            else:  # of texts that weigh about the same the shorter: in it a word weighs more; and each text once
                order.sort(key=lambda hop: (-round(weights[hop], 2), len(texts[hop]), hop))
                order = list({texts[hop]: hop for hop in reversed(order)}.values())[::-1]
            ranked += [(turn, -weights[hop], segment, hop) for turn, hop in enumerate(order)]
        schedule = self.encoded.clip.schedule
        usual = schedule.num_hops * USUAL_WINDOW_HOPS // max(USUAL_WINDOW_HOPS, schedule.window_hops)
        budget = max(MIN_SEARCHED_HOPS, usual // HOPS_PER_SEARCHED_HOP)
        return [(segment, hop) for _, _, segment, hop in sorted(ranked)[:budget]]

    def _weigh(
        self,
        part: Part,
        whole: Mapping[int, NDArray[np.float64]],
        without: Mapping[int, NDArray[np.float64]],
        label: int,
        members: Sequence[int],
    ) -> Moment:
        """What a part weighed in the windows of a segment that see it: scores by window with the hop whole, and not."""
        windows = [self.windows.indexes[position] for position in members]
        losses = [float(whole[window][label] - without[window][label]) for window in windows if window in without]
        return self._moment(part.hop, sum(losses) / len(losses) if losses else 0.0, part.span, part.words)

    def _moment(self, hop: int, weight: float, span: Span | None = None, words: str | None = None) -> Moment:
        clip = self.encoded.clip.schedule
        span = span or clip.hop_span(hop)
        stop = max(span.start_seconds, min(span.stop_seconds, clip.span.stop_seconds))
        return Moment(span.start_seconds, stop, weight, words)


def _heaviest(moments: Sequence[Moment]) -> tuple[Moment, ...]:
    """The heaviest of those that weigh, each place and word once."""
    order = sorted(moments, key=lambda moment: (-moment.weight, moment.start_seconds))
    once = {(moment.start_seconds, moment.words): moment for moment in reversed(order)}
    return tuple(moment for moment in list(once.values())[::-1] if moment.weight > 0)[:MOMENTS_SHOWN]


def explanation_values(explanation: Explanation) -> dict[str, Any]:
    """The explanation as it stands in the JSON answer, keys in their documented order."""
    return {
        "windows": [
            {
                **_contribution_values(window.span, window.contributions),
                "hops": {name: _rounded_all(values) for name, values in window.hops.items()},
                "attention": _by_target({pair: _received(weights) for pair, weights in window.attention.items()}),
            }
            for window in explanation.windows
        ],
        "segments": [
            {
                **_contribution_values(segment.span, segment.contributions),
                "moments": {name: [_moment_values(each) for each in them] for name, them in segment.moments.items()},
                "attention": _by_target(
                    {pair: [_rounded_all(row) for row in weights] for pair, weights in segment.attention.items()}
                ),
            }
            for segment in explanation.segments
        ],
    }


def _contribution_values(span: Span, contributions: Contributions) -> dict[str, Any]:
    against = contributions.against
    return {
        "start_seconds": _rounded(span.start_seconds),
        "stop_seconds": _rounded(span.stop_seconds),
        "label": contributions.label,
        "score": _rounded(contributions.score),
        "base": _rounded(contributions.base),
        "contributions": {
            name: {"value": _rounded(value), "loss": _rounded(contributions.losses[name])}
            for name, value in contributions.shapley.items()
        },
        "against": None if against is None else _contrast_values(against),
    }


def _contrast_values(against: Contrast) -> dict[str, Any]:
    return {
        "label": against.label,
        "share": _rounded(against.share),
        "base": _rounded(against.base),
        "contributions": {name: _rounded(value) for name, value in against.shapley.items()},
    }


def _moment_values(moment: Moment) -> dict[str, Any]:
    values: dict[str, Any] = {
        "start_seconds": _rounded(moment.start_seconds),
        "stop_seconds": _rounded(moment.stop_seconds),
        "weight": _rounded(moment.weight),
    }
    return values if moment.words is None else {**values, "words": moment.words}


def _received(weights: NDArray[np.float32]) -> list[float]:
    """What each hop is given by the hops that attend, ``(hops,)``: the mean over those that there are."""
    attending = weights.sum(axis=1) > 0
    return _rounded_all(weights.sum(axis=0) / max(1, int(attending.sum())))


def _by_target(pairs: Mapping[Pair, Any]) -> dict[Modality, dict[Modality, Any]]:
    values: dict[Modality, dict[Modality, Any]] = {}
    for (target, source), weights in pairs.items():
        values.setdefault(target, {})[source] = weights
    return values


def _rounded_all(values: NDArray[np.floating]) -> list[float]:
    return [_rounded(value) for value in values.tolist()]


def _rounded(value: float) -> float:
    return round(float(value), _DECIMALS) + 0.0  # minus zero becomes zero
