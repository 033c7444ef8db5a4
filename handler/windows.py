"""The schedule: which hops and windows a clip has, known before a single frame is decoded.

Everything is in seconds on the clip's own presentation timeline. Hops of ``stride_seconds`` start at the clip's start;
window ``k`` is the run of hops ``k .. k + hops - 1``. The policy at the edges:

- A hop is there when its centre lies inside the clip: a tail of at most half a hop has none of its own, a longer one
  has, and what it lacks is held (the last frame) or silent.
- A clip shorter than a window has one window, whose missing hops are masked.
- A modality that starts later or ends earlier than the clip is masked hop by hop: a hop is present when its centre
  lies inside the modality's span, and the hop nearest to a span that holds no centre is present too.
- A request may keep every n-th window only; the last window is then kept as well, so that no moment goes unseen.
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

    def centre_seconds(self, window: float) -> float:
        """Time of the centre of window ``window``; a half-way value gives the middle between two centres."""
        return self.span.start_seconds + window * self.stride_seconds + self.window_seconds / 2

    def decided_span(self, window: int) -> Span:
        """The part of the timeline that window ``window`` decides.

        One stride around the window's centre; the first window also decides what lies before, the last what lies
        after. These parts tile the clip, so segments made of them neither overlap nor leave gaps.
        """
        first, last = window == 0, window == self.num_windows - 1
        start = self.span.start_seconds if first else self.centre_seconds(window - 0.5)
        return Span(start, self.span.stop_seconds if last else self.centre_seconds(window + 0.5))

    def windows_every(self, stride_windows: int) -> WindowSelection:
        """Windows 0, n, 2n, ... and the last one.

        Raises:
            ValueError: when ``stride_windows`` is below 1.
        """
        if stride_windows < 1:
            raise ValueError(f"stride_windows must be at least 1, got {stride_windows}")
        last = self.num_windows - 1
        return WindowSelection(self, (*range(0, last, stride_windows), last))

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


@dataclass(frozen=True)
class WindowSelection:
    """The windows of a schedule that an answer keeps; its first axis is called W, its positions 0 .. W - 1."""

    schedule: Schedule
    indexes: tuple[int, ...]
    """The schedule's window at each position: strictly rising, at least one."""

    def __len__(self) -> int:
        return len(self.indexes)

    def window_span(self, position: int) -> Span:
        """The interval that the window at ``position`` sees."""
        return self.schedule.window_span(self.indexes[position])

    def decided_span(self, position: int) -> Span:
        """The part of the timeline that the window at ``position`` decides: see :attr:`edges_seconds`."""
        return Span(self._edge_seconds(position), self._edge_seconds(position + 1))

    @property
    def centres_seconds(self) -> NDArray[np.float64]:
        """Times of the windows' centres: ``(W,)`` float64, strictly rising."""
        return np.array([self.schedule.centre_seconds(window) for window in self.indexes], dtype=np.float64)

    @property
    def edges_seconds(self) -> NDArray[np.float64]:
        """Where one window's decision ends and the next one's begins: ``(W + 1,)`` float64, rising.

        The first is the clip's start, the last its stop; between them the middles between neighbouring centres.
        """
        return np.array([self._edge_seconds(position) for position in range(len(self) + 1)], dtype=np.float64)

    def _edge_seconds(self, position: int) -> float:
        if position == 0:
            return self.schedule.span.start_seconds
        if position == len(self):
            return self.schedule.span.stop_seconds
        return self.schedule.centre_seconds((self.indexes[position - 1] + self.indexes[position]) / 2)


def build_schedule(span: Span, config: WindowConfig) -> Schedule:
    """Lay hops and windows over ``span``.

    Args:
        span: the clip's interval on its own timeline.
        config: stride and window length.
    """
    stride = config.stride_seconds
    num_hops = max(1, math.ceil(span.duration_seconds / stride - 0.5))
    # The division rounds; what counts is the comparison that `hop_mask` makes, so that no hop is without any modality.
    while span.start_seconds + (num_hops + 0.5) * stride < span.stop_seconds:
        num_hops += 1
    while num_hops > 1 and span.start_seconds + (num_hops - 0.5) * stride >= span.stop_seconds:
        num_hops -= 1
    return Schedule(span=span, stride_seconds=stride, window_hops=config.hops, num_hops=num_hops)
