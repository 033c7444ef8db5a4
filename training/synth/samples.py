"""The clips that the demo and the archive's canary use: short, fixed, H.264 and AAC in an mp4."""

from __future__ import annotations

from collections.abc import Sequence

from training.synth.dealing import Deal
from training.synth.labels import parse_label
from training.synth.render import RenderedClip, render_script
from training.synth.script import draw_script

CANARY_LABELS = ("wave_rise_greet", "bounce_fall_leave")
DEMO_LABELS = ("wave_fall_greet", "bounce_rise_greet", "bounce_fall_leave", "wave_rise_leave")
MIN_SAMPLE_SECONDS, MAX_SAMPLE_SECONDS = 2.6, 24.0
"""Within these, an activity has two cues of at least 1.2 s, and no more cues than there are templates."""
SAMPLE_STREAM = 203
"""Keeps samples apart from every dataset: no clip of a dataset has a seed of this form."""


def render_sample(labels: Sequence[str], durations_seconds: Sequence[float], *, seed: int = 0) -> RenderedClip:
    """Render an mp4 of the given activities.

    Args:
        labels: the activities in order.
        durations_seconds: about how long each is, 2.6 to 24 s; edges move up to the next frame.
        seed: of everything else.

    Raises:
        ValueError: when a label is unknown, a duration is out of range, or the two lists differ in length.
    """
    if len(labels) != len(durations_seconds) or not labels:
        raise ValueError(f"needs one duration for each label, got {len(labels)} and {len(durations_seconds)}")
    if not all(MIN_SAMPLE_SECONDS <= seconds <= MAX_SAMPLE_SECONDS for seconds in durations_seconds):
        raise ValueError(
            f"durations_seconds must lie in [{MIN_SAMPLE_SECONDS}, {MAX_SAMPLE_SECONDS}], got {durations_seconds}"
        )
    deal = Deal(tuple(parse_label(label) for label in labels), tuple(durations_seconds))
    return render_script(draw_script((seed, 0, SAMPLE_STREAM), deal, container="mp4"))


def render_canary() -> RenderedClip:
    """About 9 s of two activities that differ in every bit; this seed gives a small file that starts at 0."""
    return render_sample(CANARY_LABELS, (4.5, 4.5), seed=6)


def render_demo() -> RenderedClip:
    """About 20 s of four activities."""
    return render_sample(DEMO_LABELS, (4.5, 5.5, 4.8, 5.2), seed=2)
