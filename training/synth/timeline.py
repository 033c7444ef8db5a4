"""When things are shown and heard: the pts of every frame, the samples of the sound, the edges of the activities.

An edge is the pts of a frame, and the sound changes at the sample nearest to it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

import numpy as np

FRAME_RATES = (Fraction(15), Fraction(24), Fraction(25), Fraction(30), Fraction(30_000, 1001))
AAC_SAMPLE_RATES = (16_000, 22_050, 32_000, 44_100, 48_000)
OPUS_SAMPLE_RATE = 48_000
"""Hz; Opus has no other rate on its timeline."""
MILLISECOND = Fraction(1, 1000)
"""Tick of Matroska, and here of a variable frame rate."""
VARIABLE_SHARE, LATE_START_SHARE, LAG_SHARE = 0.3, 0.3, 0.6
MAX_START_SECONDS, MAX_LAG_SECONDS = 3.0, 0.4


@dataclass(frozen=True)
class Timeline:
    """The time axis of one clip, in seconds as the container's pts say them."""

    tick_seconds: Fraction
    """Unit of ``frame_pts``."""
    frame_rate: Fraction
    """Nominal frames a second."""
    frame_pts: tuple[int, ...]
    stop_pts: int
    """Where the last frame ends."""
    sample_rate: int
    """Hz."""
    first_sample: int
    """pts of the first sample, in samples."""
    stop_sample: int
    """pts after the last sample, in samples."""
    edges_seconds: tuple[Fraction, ...]
    """Start of the first activity, the edges between activities, stop of the last; all but the first are pts."""

    @property
    def frame_seconds(self) -> tuple[Fraction, ...]:
        """When each frame is shown, in seconds."""
        return tuple(pts * self.tick_seconds for pts in self.frame_pts)

    def sample_at(self, seconds: Fraction) -> int:
        """Index into the waveform of the sample nearest to a time, at least 0."""
        return max(0, round(seconds * self.sample_rate) - self.first_sample)


def draw_timeline(
    rng: np.random.Generator, durations_seconds: Sequence[float], container: Literal["mp4", "webm"]
) -> Timeline:
    """Draw rates, starts and frame times for activities of about ``durations_seconds``."""
    frame_rate = FRAME_RATES[rng.integers(len(FRAME_RATES))]
    aac_rate = AAC_SAMPLE_RATES[rng.integers(len(AAC_SAMPLE_RATES))]
    sample_rate = aac_rate if container == "mp4" else OPUS_SAMPLE_RATE
    variable = bool(rng.uniform() < VARIABLE_SHARE)
    tick = MILLISECOND if variable or container == "webm" else 1 / frame_rate
    start_pts = round(rng.uniform(0.1, MAX_START_SECONDS) / float(tick)) * int(rng.uniform() < LATE_START_SHARE)
    lag_pts = round(rng.uniform(0, MAX_LAG_SECONDS) / float(tick)) * int(rng.uniform() < LAG_SHARE)
    picture_lags = bool(rng.uniform() < 0.5)

    first_pts = start_pts + lag_pts * picture_lags
    first_sample = round((start_pts + lag_pts * (not picture_lags)) * tick * sample_rate)
    wanted = float(start_pts * tick) + np.cumsum(durations_seconds)
    num_frames = int((wanted[-1] + 1) * frame_rate * 2)
    seconds = _draw_frame_times(rng, frame_rate, num_frames, variable=variable)
    pts = first_pts + np.rint(seconds / float(tick)).astype(np.int64)
    edges = pts[np.searchsorted(pts * float(tick), wanted)]
    stop_pts = int(edges[-1])
    return Timeline(
        tick_seconds=tick,
        frame_rate=frame_rate,
        frame_pts=tuple(int(value) for value in pts[pts < stop_pts]),
        stop_pts=stop_pts,
        sample_rate=sample_rate,
        first_sample=first_sample,
        stop_sample=round(stop_pts * tick * sample_rate),
        edges_seconds=(start_pts * tick, *(int(edge) * tick for edge in edges)),
    )


def _draw_frame_times(
    rng: np.random.Generator, frame_rate: Fraction, count: int, *, variable: bool
) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """``(count,)`` times in seconds from 0; a variable rate steps by 0.6 to 1.5 frames and by 0.067 s at most."""
    steps = np.full(count - 1, 1 / float(frame_rate))
    if variable:
        steps = np.minimum(steps * rng.uniform(0.6, 1.5, size=count - 1), 1 / 15)
    return np.concatenate([[0.0], np.cumsum(steps)])
