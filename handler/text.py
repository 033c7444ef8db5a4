"""The words of a request: WebVTT, SubRip (SRT) or plain text.

WebVTT after https://www.w3.org/TR/webvtt1/ (chapters 4 and 6), as lenient as players are: of a file only the cues
count, a timing line and the lines below it up to an empty one. So comments, styles, regions, headers and identifiers
fall away without being understood. SRT has no standard; its cues differ by a comma in the times.

Each pattern below is matched at one place or runs over text that it cannot run over again, so the time is linear.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from handler.clip import Cue, Words
from handler.errors import LimitExceeded, UndecodableMedia
from handler.limits import Limits

_TIME = r"(?:([0-9]{1,6}):)?([0-5]?[0-9]):([0-5][0-9])[.,]([0-9]{3})"
_TIMING = re.compile(rf"[ \t]*{_TIME}[ \t]*-->[ \t]*{_TIME}(?:[ \t].*)?")
_TAG = re.compile(r"<[^<>]*>|\{\\[^{}]*\}")
_ENTITY = re.compile(r"&(amp|lt|gt|nbsp|lrm|rlm);")
_CHARACTERS = {"amp": "&", "lt": "<", "gt": ">", "nbsp": "\u00a0", "lrm": "\u200e", "rlm": "\u200f"}
_REMEDY = "Send the words as UTF-8: plain text, WebVTT or SRT."


def parse_text(text: str | bytes | bytearray, limits: Limits) -> Words:
    """Read words, timed where the text is WebVTT or SRT.

    Text that begins with ``WEBVTT`` is WebVTT; text whose first line, or second below a number, is a timing line is
    SRT; all other text has no times. Markup and line breaks inside a cue become plain words with single spaces; cues
    without words, and those that do not stop after they start, are left out.

    Args:
        text: UTF-8 with or without a byte order mark, or characters; any line ends. NUL is dropped.
        limits: bounds on characters, cues and seconds.

    Raises:
        UndecodableMedia: bytes that are no UTF-8, or no words at all.
        LimitExceeded: more characters, cues or seconds than allowed.
    """
    content = _clean(text, limits)
    lines = content.split("\n")
    is_webvtt = re.match(r"WEBVTT(?:[ \t]|$)", lines[0]) is not None
    if not is_webvtt and not _is_srt(lines):
        if not content.strip():
            raise UndecodableMedia("the text has no words", remedy=_REMEDY)
        return Words(untimed=content.strip())
    cues = []
    for cue in _cues(lines, is_webvtt=is_webvtt):
        cues.append(cue)
        if len(cues) > limits.max_cues:
            raise LimitExceeded(
                "cues",
                f"the text has {len(cues)} cues or more, the limit is {limits.max_cues}",
                remedy="Send fewer cues.",
            )
    if not cues:
        raise UndecodableMedia("the text has no words: not one cue with a time and text", remedy=_REMEDY)
    cues.sort(key=lambda cue: (cue.start_seconds, cue.stop_seconds))
    seconds = max(cue.stop_seconds for cue in cues) - cues[0].start_seconds
    if seconds > limits.max_duration_seconds:
        raise LimitExceeded(
            "seconds",
            f"the cues span {seconds:.3f} s, the limit is {limits.max_duration_seconds:g} s",
            remedy="Send the cues of the clip alone.",
        )
    return Words(cues=tuple(cues))


def _clean(text: str | bytes | bytearray, limits: Limits) -> str:
    """Characters without byte order mark, NUL, lone surrogates and foreign line ends."""
    if not isinstance(text, str):
        _check_characters(len(text) // 4, limits)  # UTF-8 takes at most four bytes a character
        try:
            text = text.decode("utf-8")
        except UnicodeDecodeError as exc:
            raise UndecodableMedia(f"the text is no UTF-8: wrong byte at offset {exc.start}", remedy=_REMEDY) from exc
    _check_characters(len(text), limits)
    text = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text.removeprefix("\ufeff").replace("\0", "").replace("\r\n", "\n").replace("\r", "\n")


def _check_characters(count: int, limits: Limits) -> None:
    if count > limits.max_text_characters:
        raise LimitExceeded(
            "text",
            f"the text has {count} characters or more, the limit is {limits.max_text_characters}",
            remedy="Send fewer words.",
        )


def _is_srt(lines: list[str]) -> bool:
    """Whether the first lines that are not empty are a timing line, or a number and a timing line."""
    first = next((place for place, line in enumerate(lines) if line.strip()), 0)
    if _TIMING.fullmatch(lines[first]):
        return True
    return _is_number(lines[first]) and first + 1 < len(lines) and _TIMING.fullmatch(lines[first + 1]) is not None


def _is_number(line: str) -> bool:
    return re.fullmatch(r"[ \t]*[0-9]+[ \t]*", line) is not None


def _cues(lines: list[str], *, is_webvtt: bool) -> Iterator[Cue]:
    """The cues in the order of the text."""
    timing: re.Match[str] | None = None
    payload: list[str] = []
    for line in [*lines, ""]:
        has_arrow = "-->" in line  # even where it is no timing line it ends the cue above, and begins none
        if line.strip() and not has_arrow:
            payload.append(line)
            continue
        if has_arrow and payload and _is_number(payload[-1]):
            payload.pop()  # the number of the cue that begins here, where no empty line stands between
        if timing is not None:
            cue = _cue(timing, payload, is_webvtt=is_webvtt)
            if cue is not None:
                yield cue
        timing, payload = _TIMING.fullmatch(line), []


def _cue(timing: re.Match[str], payload: list[str], *, is_webvtt: bool) -> Cue | None:
    times = timing.groups()
    start, stop = _seconds(times[:4]), _seconds(times[4:])
    text = _TAG.sub("", " ".join(payload))
    if is_webvtt:
        text = _ENTITY.sub(lambda match: _CHARACTERS[match.group(1)], text)
    text = " ".join(text.split())
    return Cue(start, stop, text) if text and stop > start else None


def _seconds(parts: tuple[str | None, ...]) -> float:
    hours, minutes, seconds, milliseconds = (int(part or 0) for part in parts)
    return (((hours * 60 + minutes) * 60 + seconds) * 1000 + milliseconds) / 1000
