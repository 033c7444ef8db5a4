"""An answer's values as text: JSON, NDJSON, WebVTT, SubRip; clients that join a stream's answers write them so, too.

WebVTT (W3C) and SubRip have a cue for each segment with its label and score. Neither has times before zero, so a
segment is cut there, and one that ends there has no cue.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from handler.segments import Segment

AnswerFormat = Literal["json", "ndjson", "vtt", "srt"]


def render_values(values: Mapping[str, Any], answer_format: AnswerFormat) -> bytes:
    """The body of a JSON answer in another format, as the server would have written it.

    Args:
        values: the JSON answer.
        answer_format: the format.
    """
    if answer_format == "json":
        return encode_json(values)
    if answer_format == "ndjson":
        return render_ndjson(values)
    segments = [Segment(**segment) for segment in values["segments"]]
    return render_vtt(segments) if answer_format == "vtt" else render_srt(segments)


def encode_json(values: Mapping[str, Any]) -> bytes:
    """The one JSON form of our answers: keys in their order, no spaces, UTF-8.

    Raises:
        ValueError: a number is not finite.
    """
    text = json.dumps(values, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    # Half a surrogate pair, which an error may quote from a request, has no UTF-8; its JSON escape is \udxxx too.
    return text.encode("utf-8", "backslashreplace")


def render_ndjson(values: Mapping[str, Any]) -> bytes:
    """Header, windows, segments: what is computed first is said first, and a reader needs no line but its own."""
    header = {key: value for key, value in values.items() if key not in ("windows", "segments")}
    lines = [
        encode_line("header", header),
        *(encode_line("window", window) for window in values.get("windows", ())),
        *(encode_line("segment", segment) for segment in values["segments"]),
    ]
    return b"".join(lines)


def encode_line(kind: str, values: Mapping[str, Any]) -> bytes:
    """One line of NDJSON, whose ``type`` comes first.

    Raises:
        ValueError: a number is not finite.
    """
    return encode_json({"type": kind, **values}) + b"\n"


def render_vtt(segments: Sequence[Segment]) -> bytes:
    """WebVTT."""
    cues = [f"{start} --> {stop}\n{_escaped(text)}\n" for start, stop, text in _cues(segments, ".")]
    return "\n".join(["WEBVTT\n", *cues]).encode("utf-8", "replace")


def render_srt(segments: Sequence[Segment]) -> bytes:
    """SubRip."""
    cues = [f"{number}\n{start} --> {stop}\n{text}\n" for number, (start, stop, text) in _numbered(segments)]
    # SubRip has no header; one empty line keeps the body from being no body at all.
    return ("\n".join(cues) or "\n").encode("utf-8", "replace")


def _numbered(segments: Sequence[Segment]) -> list[tuple[int, tuple[str, str, str]]]:
    return list(enumerate(_cues(segments, ","), start=1))


def _cues(segments: Sequence[Segment], point: str) -> list[tuple[str, str, str]]:
    """Start, stop and text of each cue; a cue lasts a millisecond at least, which WebVTT demands."""
    cues = []
    for segment in segments:
        start = max(0, round(segment.start_seconds * 1000))
        stop = max(round(segment.stop_seconds * 1000), start + 1)
        if segment.stop_seconds > 0:
            label = " ".join(segment.label.split())  # an empty line would end the cue
            text = f"{label} ({segment.score:.0%})"
            if segment.description is not None:
                text += f"\n{segment.description.replace('-->', '->')}"  # no line but a cue's first may have that arrow
            cues.append((_timestamp(start, point), _timestamp(stop, point), text))
    return cues


def _timestamp(milliseconds: int, point: str) -> str:
    seconds, millis = divmod(milliseconds, 1000)
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02d}:{minutes:02d}:{seconds:02d}{point}{millis:03d}"


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
