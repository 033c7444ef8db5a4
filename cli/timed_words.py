"""Words with times, cue by cue to the chunks in which they begin."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from client.cutting import Chunk

if TYPE_CHECKING:
    from handler.clip import Cue


@dataclass
class SplitWords:
    """What of a recording's words is not sent yet."""

    cues: list[Cue]
    """By their starts."""
    untimed: bytes | None = None
    """Words without times hold for the whole recording: they go with every chunk."""

    def take(self, chunk: Chunk) -> bytes | None:
        """The text part of a chunk's request: its cues as WebVTT; None where it has none."""
        if self.untimed is not None:
            return self.untimed
        taken = [cue for cue in self.cues if chunk.last or cue.start_seconds < chunk.stop_seconds]
        self.cues = self.cues[len(taken) :]
        if not taken:
            return None
        lines = ["WEBVTT", ""]
        for cue in taken:
            start, stop = (
                _timestamp(cue_time - chunk.offset_seconds) for cue_time in (cue.start_seconds, cue.stop_seconds)
            )
            text = cue.text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
            lines += [f"{start} --> {stop}", text, ""]
        return "\n".join(lines).encode()


def split_words(text: bytes | None) -> SplitWords:
    """Words as a request has them: WebVTT, SubRip, or plain; what cannot be read goes as it is: the server says why."""
    if text is None:
        return SplitWords([])
    from handler.errors import ActivityError  # noqa: PLC0415 - help must not wait for what only the work needs
    from handler.limits import Limits  # noqa: PLC0415
    from handler.text import parse_text  # noqa: PLC0415

    many = 10**9  # an hour's words are more than a request may have; each chunk's are few
    limits = Limits(max_text_characters=many, max_cues=many, max_duration_seconds=float(many))
    try:
        words = parse_text(text, limits)
    except ActivityError:
        return SplitWords([], untimed=text)
    if words.untimed is not None:
        return SplitWords([], untimed=text)
    return SplitWords(sorted(words.cues, key=lambda cue: cue.start_seconds))


def _timestamp(seconds: float) -> str:
    milliseconds = max(0, round(seconds * 1000))
    minutes, milliseconds = divmod(milliseconds, 60_000)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02d}:{minutes:02d}:{milliseconds // 1000:02d}.{milliseconds % 1000:03d}"
