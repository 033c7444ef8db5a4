"""Words with times as WebVTT: https://www.w3.org/TR/webvtt1/."""

from __future__ import annotations


def write_cue(start_ms: int, stop_ms: int, words: str) -> str:
    """A cue, its times in milliseconds."""
    return f"{_timestamp(start_ms)} --> {_timestamp(stop_ms)}\n{words}\n"


def _timestamp(milliseconds: int) -> str:
    """``hh:mm:ss.ttt``."""
    seconds, rest = divmod(milliseconds, 1000)
    return f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}.{rest:03d}"
