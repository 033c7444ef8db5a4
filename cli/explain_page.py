"""One page that shows why a clip was answered as it was; it needs nothing but itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

import numpy as np
from numpy.typing import NDArray

from cli.explain_tracks import (
    as_rgb,
    attention_over_time,
    boxes,
    frame_strip,
    heat,
    hop_weights,
    image,
    lines,
    stacks,
    waveform,
)
from handler.clip import Clip, Cue
from handler.explain.explanation import Explanation, SegmentExplanation
from handler.explain.occlusion import Moment
from handler.response import Prediction, WindowScores
from handler.windows import Span
from models.config import Modality
from training.report.style import BLUE, GREEN, GREY, HEAD, ORANGE, PURPLE, SERIES, SKY, VERMILION

COLOURS: dict[str, str] = {
    "video": BLUE,
    "audio": ORANGE,
    "text": GREEN,
    "image": SKY,
    "tabular": PURPLE,
    "depth": VERMILION,
}
NOTHING = "no modality"
MAX_LABELS = 7
"""Whose scores are drawn: those that score highest anywhere."""
MAX_MEL_COLUMNS = 800
MIN_SCORE = 0.02
"""Of a label whose scores are drawn, unless it is a segment's."""
FRAMES_SHOWN = 3
"""Of those that weighed most in a segment."""
MIN_WEIGHT = 0.005
"""Of a moment that is told."""

STYLE = """
body { font: 15px/1.5 system-ui, "Segoe UI", "DejaVu Sans", sans-serif; color: #222; background: #fff;
       max-width: 1080px; margin: 1.5em auto; padding: 0 1em; }
h1 { font-size: 1.5em; margin-bottom: 0.1em; overflow-wrap: anywhere; }
h2 { font-size: 1.1em; margin: 1.8em 0 0.3em; } h3 { font-size: 0.95em; margin: 0.9em 0 0.1em; }
p { margin: 0.2em 0 0.5em; color: #444; } p.lead { margin-top: 0; }
svg, .timeline img { display: block; width: 100%; } img.png { image-rendering: pixelated; }
.timeline img.jpeg { height: auto; }
.grid { stroke: #e4e4e4; stroke-width: 1; } .line { stroke-width: 2; stroke-linejoin: round; }
.grid, .line { vector-effect: non-scaling-stroke; }
.boxes { position: relative; height: 1.75em; background: #f6f6f6; }
.boxes span { position: absolute; top: 0; bottom: 0; box-sizing: border-box; padding: 0.15em 0.35em; overflow: hidden;
              white-space: nowrap; text-overflow: ellipsis; font-size: 0.85em; border-right: 1px solid #fff; }
.boxes.segments span { color: #fff; }
.cut { overflow: hidden; }
.axis { display: flex; justify-content: space-between; font-size: 0.8em; color: #666; }
.key { display: flex; flex-wrap: wrap; gap: 0.1em 1.1em; font-size: 0.85em; margin: 0.3em 0; }
.key i { display: inline-block; width: 0.8em; height: 0.8em; margin-right: 0.4em; }
.cues { font-size: 0.88em; columns: 20em; } .cues div { break-inside: avoid; }
.cues b { font-weight: 400; color: #777; }
mark { background: #cfe8dc; }
.maps { display: grid; grid-template-columns: repeat(auto-fill, minmax(140px, 1fr)); gap: 0.8em; }
.maps figure { margin: 0; } .maps img { width: 100%; aspect-ratio: 1; border: 1px solid #ddd; box-sizing: border-box; }
figcaption { font-size: 0.82em; color: #444; }
.cards { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 330px), 1fr)); gap: 1em; }
.card { border: 1px solid #ddd; border-radius: 6px; padding: 0.6em 0.9em; font-size: 0.9em; }
.card h3 { margin-top: 0; overflow-wrap: anywhere; } .card p { margin: 0.35em 0; }
table { border-collapse: collapse; width: 100%; margin: 0.4em 0; font-size: 0.95em; }
th, td { text-align: right; padding: 0.15em 0 0.15em 0.6em; border-bottom: 1px solid #e4e4e4; }
th { font-weight: 600; border-bottom: 1.5px solid #444; }
th:first-child, td:first-child { text-align: left; padding-left: 0; }
.thumbs { display: flex; gap: 0.4em; } .thumbs figure { margin: 0; } .thumbs img { width: 72px; display: block; }
"""

CARDS_HEAD = """<h2>Segment by segment</h2>
<p>A modality's value is what it adds to the score, the mean over the orders in which the modalities may come in; with
the score of no modality the values add up to the score. Lost is what the score loses when this modality alone is
absent. In brackets is what a moment weighed.</p>
"""


@dataclass(frozen=True)
class Explained:
    """What the page shows."""

    name: str
    """The clip's."""
    clip: Clip
    prediction: Prediction
    """With windows and explanation."""
    cues: tuple[Cue, ...]
    """The words with their times."""
    samples: NDArray[np.float32] | None
    """``(L,)``: the sound, as the model is given it, from the clip's start."""
    mel: NDArray[np.float32] | None
    """``(F, M)``: its log-mel, low frequencies first; None where the model makes none."""

    @property
    def span(self) -> Span:
        """The clip's."""
        return self.clip.schedule.span

    @property
    def explanation(self) -> Explanation:
        """The prediction's."""
        if self.prediction.explanation is None:
            raise ValueError("the prediction has no explanation")
        return self.prediction.explanation

    @property
    def windows(self) -> WindowScores:
        """The prediction's."""
        if self.prediction.windows is None:
            raise ValueError("the prediction has no windows")
        return self.prediction.windows


def render_page(explained: Explained) -> str:
    """The page as HTML."""
    prediction = explained.prediction
    title = f"{explained.name}: why it was answered so"
    used = ", ".join(name for name, status in prediction.modalities.items() if status.used)
    segments = prediction.segments
    counted = f"{_counted(len(explained.windows.windows), 'window')}, {_counted(len(segments), 'segment')}"
    lead = (
        f"{prediction.model_name} {prediction.model_version}, {explained.span.duration_seconds:.2f} s, "
        f"{counted}, from {used}."
    )
    parts = [
        HEAD.format(title=escape(title), style=STYLE),
        f'<h1>{escape(title)}</h1>\n<p class="lead">{escape(lead)}</p>\n<div class="timeline">\n',
        *_tracks(explained),
        "</div>\n",
        _attention(explained),
        CARDS_HEAD,
        f'<div class="cards">{"".join(_card(explained, each) for each in explained.explanation.segments)}</div>\n',
        "</body>\n</html>\n",
    ]
    return "".join(parts)


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _tracks(explained: Explained) -> list[str]:
    """Everything that stands on the time axis, from what came in to what came out."""
    clip, span, found = explained.clip, explained.span, []
    if clip.frames is not None:
        found.append(_track("Frames, as the model sees them", _over_hops(explained, frame_strip(clip.frames))))
    if clip.depth is not None:
        found.append(_track("Depth", _over_hops(explained, frame_strip(clip.depth))))
    if explained.samples is not None:
        found.append(_track("Waveform", _over_hops(explained, waveform(explained.samples, COLOURS["audio"]))))
    if explained.mel is not None:
        mel = heat(_fewer_columns(explained.mel)[::-1], "log-mel", white=None, height=96)
        found.append(_track("Log-mel, low frequencies below", _over_hops(explained, mel)))
    if explained.cues:
        words = [(Span(cue.start_seconds, cue.stop_seconds), cue.text, "#dcefe6") for cue in explained.cues]
        found.append(_track("Words", boxes(words, span) + _cue_list(explained)))
    labels = _drawn_labels(explained)
    colours = {explained.windows.labels[label]: colour for label, colour in labels.items()}
    segments = [
        (Span(each.start_seconds, each.stop_seconds), each.label, colours.get(each.label, GREY))
        for each in explained.prediction.segments
    ]
    centres = explained.windows.windows.centres_seconds
    found += [
        _track("Segments", boxes(segments, span).replace('"boxes"', '"boxes segments"', 1) + _axis(span)),
        _track("Scores of each window, before smoothing", lines(explained.windows.scores, centres, span, labels)),
        _track(
            "Scores after smoothing",
            lines(explained.windows.smoothed, centres, span, labels) + _axis(span) + _key(colours),
        ),
        _track("What each modality contributed to a window's label", _contributions(explained)),
        *_weights(explained),
    ]
    return found


def _track(title: str, content: str) -> str:
    return f"<h3>{escape(title)}</h3>\n{content}\n"


def _over_hops(explained: Explained, content: str) -> str:
    """What covers the clip's hops, of which the last may end after the clip, or before it."""
    schedule = explained.clip.schedule
    seconds = schedule.num_hops * schedule.stride_seconds
    share = seconds / (explained.span.duration_seconds or seconds)  # a clip of one image has no length
    return f'<div class="cut"><div style="width:{100 * share:.2f}%">{content}</div></div>'


def _axis(span: Span) -> str:
    ticks = (
        f"<span>{span.start_seconds + share * span.duration_seconds:.1f} s</span>" for share in (0, 0.25, 0.5, 0.75, 1)
    )
    return f'<div class="axis">{"".join(ticks)}</div>'


def _key(colours: Mapping[str, str]) -> str:
    items = (f'<span><i style="background:{colour}"></i>{escape(name)}</span>' for name, colour in colours.items())
    return f'<div class="key">{"".join(items)}</div>'


def _fewer_columns(mel: NDArray[np.float32]) -> NDArray[np.float32]:
    if mel.shape[1] <= MAX_MEL_COLUMNS:
        return mel
    return np.stack([part.mean(axis=1) for part in np.array_split(mel, MAX_MEL_COLUMNS, axis=1)], axis=1)


def _drawn_labels(explained: Explained) -> dict[int, str]:
    """Colours of the labels that are drawn: those answered first, then those that score highest anywhere."""
    names, smoothed = explained.windows.labels, explained.windows.smoothed
    answered = [names.index(segment.label) for segment in explained.prediction.segments]
    best = smoothed.max(axis=0)
    order = [*answered, *(each for each in np.argsort(-best, kind="stable").tolist() if best[each] >= MIN_SCORE)]
    return dict(zip(list(dict.fromkeys(order))[:MAX_LABELS], SERIES, strict=False))


def _cue_list(explained: Explained) -> str:
    """The words with their times; those that weighed most in a segment are marked."""
    heavy = [moment for each in explained.explanation.segments for moment in each.moments.get("text", ())]
    top = max((moment.weight for moment in heavy), default=0.0)
    rows = []
    for cue in explained.cues:
        marked = {
            str(moment.words)
            for moment in heavy
            if moment.weight >= max(MIN_WEIGHT, top / 4)
            and moment.start_seconds < cue.stop_seconds
            and moment.stop_seconds > cue.start_seconds
        }
        words = (f"<mark>{escape(word)}</mark>" if word in marked else escape(word) for word in cue.text.split())
        rows.append(f"<div><b>{cue.start_seconds:.1f} s</b> {' '.join(words)}</div>")
    return f'<div class="cues">{"".join(rows)}</div>'


def _contributions(explained: Explained) -> str:
    windows, positions = explained.explanation.windows, explained.windows.windows
    parts = [{NOTHING: each.contributions.base, **each.contributions.shapley} for each in windows]
    spans = [positions.decided_span(place) for place in range(len(windows))]
    colours = {NOTHING: "#cccccc", **{name: _colour(name) for name in windows[0].contributions.shapley}}
    return stacks(spans, parts, explained.span, colours) + _axis(explained.span) + _key(colours)


def _colour(name: Modality) -> str:
    return COLOURS.get(name, VERMILION)


def _weights(explained: Explained) -> list[str]:
    """A strip a modality: what each hop weighed."""
    windows, schedule = explained.explanation.windows, explained.clip.schedule
    if not windows[0].hops:
        return []
    spans = [window.span for window in windows]
    found = hop_weights(spans, [window.hops for window in windows], explained.span, schedule.stride_seconds)
    strips = []
    for name, each in found.items():
        strip = heat(each[None, : schedule.num_hops], f"{name} by hop", height=18)
        strips.append(f"<figcaption>{escape(name)}</figcaption>{_over_hops(explained, strip)}")
    title = f"Which {schedule.stride_seconds:g} s weighed most (dark), each modality on its own scale"
    return [_track(title, "".join(strips) + _axis(explained.span))]


def _attention(explained: Explained) -> str:
    windows, schedule = explained.explanation.windows, explained.clip.schedule
    if not windows[0].attention:
        return ""
    spans = [window.span for window in windows]
    maps = []
    for pair in windows[0].attention:
        weights = [window.attention[pair] for window in windows]
        values = attention_over_time(spans, weights, explained.span, schedule.stride_seconds)
        values = values[: schedule.num_hops, : schedule.num_hops]
        title = f"{pair[0]} takes from {pair[1]}"
        maps.append(f"<figure>{heat(values, title)}<figcaption>{escape(title)}</figcaption></figure>")
    return (
        "<h2>Attention between the modalities</h2>\n<p>Both axes are the clip's time, from the upper left corner: a "
        "row is a moment of the one that attends, and its dark cells are the moments of the other that it takes from. "
        f"Further apart than a window's {schedule.window_seconds:g} s nothing is seen.</p>\n"
        f'<div class="maps">{"".join(maps)}</div>\n'
    )


def _card(explained: Explained, segment: SegmentExplanation) -> str:
    found, against = segment.contributions, segment.contributions.against
    head = f"<h3>{escape(found.label)}</h3><p>{segment.span.start_seconds:.2f} to {segment.span.stop_seconds:.2f} s, "
    head += f"score {found.score:.3f}; without any modality {found.base:.3f}.</p>"
    column = "" if against is None else f"<th>against {escape(against.label)}</th>"
    rows = []
    for name, value in found.shapley.items():
        other = "" if against is None else f"<td>{against.shapley[name]:+.3f}</td>"
        rows.append(f"<tr><td>{escape(name)}</td><td>{value:+.3f}</td><td>{found.losses[name]:+.3f}</td>{other}</tr>")
    table = f"<table><tr><th></th><th>value</th><th>lost</th>{column}</tr>{''.join(rows)}</table>"
    return f'<div class="card">{head}{table}{_moments(explained, segment)}</div>'


def _moments(explained: Explained, segment: SegmentExplanation) -> str:
    """What weighed most: frames as pictures, words as words, all else by its times."""
    told = []
    for name, moments in segment.moments.items():
        heavy = [moment for moment in moments if moment.weight >= MIN_WEIGHT]
        if not heavy:
            told.append(f"<p>{escape(name.capitalize())}: no single moment, any one can be left out.</p>")
        elif name == "video" and explained.clip.frames is not None:
            told.append(_frames(explained.clip.frames, explained, heavy))
        elif name == "text":
            words = ", ".join(f"<mark>{escape(str(moment.words))}</mark> {moment.weight:.2f}" for moment in heavy)
            told.append(f"<p>Words: {words}</p>")
        else:
            times = ", ".join(f"{moment.start_seconds:.2f} s ({moment.weight:.2f})" for moment in heavy)
            told.append(f"<p>{escape(name.capitalize())}: {times}</p>")
    return "".join(told)


def _frames(frames: NDArray[np.uint8], explained: Explained, moments: Sequence[Moment]) -> str:
    """Pictures of the frames ``(N, T, C, H, W)`` at some moments."""
    flat, schedule = frames.reshape(-1, *frames.shape[2:]), explained.clip.schedule
    shown = []
    for moment in moments[:FRAMES_SHOWN]:
        middle = (moment.start_seconds + moment.stop_seconds) / 2 - schedule.span.start_seconds
        place = min(len(flat) - 1, int(middle / schedule.stride_seconds * frames.shape[1]))
        caption = f"<figcaption>{moment.start_seconds:.2f} s ({moment.weight:.2f})</figcaption>"
        shown.append(f"<figure>{image(as_rgb(flat[place]), 'frame', photo=True)}{caption}</figure>")
    return f'<p>Video:</p><div class="thumbs">{"".join(shown)}</div>'
