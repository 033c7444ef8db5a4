"""The schedule: which hops and windows a clip has, known before a single frame is decoded.

Everything is in seconds on the clip's own presentation timeline. Hops of ``stride_seconds`` start at the clip's start;
window ``k`` is the run of hops ``k .. k + hops - 1``. The policy at the edges:

- A tail of less than half a hop has no hop of its own; a longer one has, and what it lacks is held (the last frame) or
  silent.
- A clip shorter than a window has one window, whose missing hops are masked.
- A modality that starts later or ends earlier than the clip is masked hop by hop: a hop is present when its centre
  lies inside the modality's span, and the hop nearest to a span that holds no centre is present too.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.config import WindowConfig


@dataclass(frozen=True)
class Span:
    """A half-open interval ``[start_seconds, stop_seconds)`` of the timeline."""

    start_seconds: float
    stop_seconds: float

    def __post_init__(self) -> None:
        if not (math.isfinite(self.start_seconds) and math.isfinite(self.stop_seconds)):
            raise ValueError(f"a span must be finite, got [{self.start_seconds}, {self.stop_seconds})")
        if self.stop_seconds < self.start_seconds:
            raise ValueError(f"a span must not stop before it starts, got [{self.start_seconds}, {self.stop_seconds})")

    @property
    def duration_seconds(self) -> float:
        """Length in seconds."""
        return self.stop_seconds - self.start_seconds


@dataclass(frozen=True)
class Schedule:
    """Hops and windows of one clip."""

    span: Span
    """The clip: from the earliest start to the latest stop of its modalities."""
    stride_seconds: float
    window_hops: int
    """Hops in a window."""
    num_hops: int

    @property
    def num_windows(self) -> int:
        """Windows in the clip, at least one."""
        return max(1, self.num_hops - self.window_hops + 1)

    @property
    def window_seconds(self) -> float:
        """Length of a window in seconds."""
        return self.window_hops * self.stride_seconds

    def hop_span(self, hop: int) -> Span:
        """The interval of hop ``hop``; the last one may reach beyond the clip."""
        start = self.span.start_seconds + hop * self.stride_seconds
        return Span(start, start + self.stride_seconds)

    def window_span(self, window: int) -> Span:
        """The interval of window ``window``, cut at the clip's end."""
        start = self.span.start_seconds + window * self.stride_seconds
        return Span(start, max(start, min(start + self.window_seconds, self.span.stop_seconds)))

    def decided_span(self, window: int) -> Span:
        """The part of the timeline that window ``window`` decides.

        One stride around the window's centre; the first window also decides what lies before, the last what lies
        after. These parts tile the clip, so segments made of them neither overlap nor leave gaps.
        """
        centre = self.span.start_seconds + window * self.stride_seconds + self.window_seconds / 2
        start = self.span.start_seconds if window == 0 else centre - self.stride_seconds / 2
        last = window == self.num_windows - 1
        stop = self.span.stop_seconds if last else centre + self.stride_seconds / 2
        return Span(start, max(start, stop))

    def frame_times(self, frames_per_hop: int) -> NDArray[np.float64]:
        """Times at which frames are taken: ``(num_hops, frames_per_hop)`` float64, in seconds.

        Each hop is cut into ``frames_per_hop`` equal parts and the frame shown at the middle of each is taken.
        """
        starts = self.span.start_seconds + np.arange(self.num_hops, dtype=np.float64) * self.stride_seconds
        offsets = (np.arange(frames_per_hop, dtype=np.float64) + 0.5) * (self.stride_seconds / frames_per_hop)
        return np.asarray(starts[:, None] + offsets[None, :], dtype=np.float64)

    def hop_mask(self, span: Span) -> NDArray[np.bool_]:
        """Which hops a modality with this span is present in: ``(num_hops,)`` bool, at least one True."""
        centres = self.span.start_seconds + (np.arange(self.num_hops, dtype=np.float64) + 0.5) * self.stride_seconds
        mask = (centres >= span.start_seconds) & (centres < span.stop_seconds)
        if not mask.any():
            middle = (span.start_seconds + span.stop_seconds) / 2
            mask[int(np.argmin(np.abs(centres - middle)))] = True
        return mask


def build_schedule(span: Span, config: WindowConfig) -> Schedule:
    """Lay hops and windows over ``span``.

    Args:
        span: the clip's interval on its own timeline.
        config: stride and window length.
    """
    num_hops = max(1, math.floor(span.duration_seconds / config.stride_seconds + 0.5))
    return Schedule(span=span, stride_seconds=config.stride_seconds, window_hops=config.hops, num_hops=num_hops)
