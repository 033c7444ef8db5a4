from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from handler.windows import Schedule, Span, build_schedule
from models.config import WindowConfig

HALF_SECONDS = WindowConfig(stride_seconds=0.5, hops=4)

spans = st.builds(
    lambda start, duration: Span(start, start + duration),
    st.floats(-20, 20),
    st.floats(0, 60),
)
configs = st.builds(
    WindowConfig,
    stride_seconds=st.sampled_from([0.1, 0.25, 1 / 3, 0.5, 0.7, 1.0]),
    hops=st.integers(1, 9),
)
schedules = st.builds(build_schedule, spans, configs)


def bounds(spans: list[Span]) -> list[tuple[float, float]]:
    return [(span.start_seconds, span.stop_seconds) for span in spans]


@pytest.mark.parametrize(
    ("duration", "num_hops", "num_windows"),
    [(0.0, 1, 1), (0.2, 1, 1), (1.25, 2, 1), (1.26, 3, 1), (2.0, 4, 1), (2.5, 5, 2), (8.0, 16, 13), (8.26, 17, 14)],
)
def test_counts(duration: float, num_hops: int, num_windows: int) -> None:
    schedule = build_schedule(Span(3.0, 3.0 + duration), HALF_SECONDS)
    assert (schedule.num_hops, schedule.num_windows) == (num_hops, num_windows)


def test_a_three_second_clip_in_numbers() -> None:
    schedule = build_schedule(Span(10.0, 13.3), HALF_SECONDS)
    assert schedule.num_hops == 7
    assert schedule.window_seconds == 2.0
    assert bounds([schedule.hop_span(0), schedule.hop_span(6)]) == [(10.0, 10.5), (13.0, 13.5)]
    assert bounds([schedule.window_span(k) for k in range(4)]) == [
        (10.0, 12.0),
        (10.5, 12.5),
        (11.0, 13.0),
        (11.5, 13.3),
    ]
    assert bounds([schedule.decided_span(k) for k in range(4)]) == [
        (10.0, 11.25),
        (11.25, 11.75),
        (11.75, 12.25),
        (12.25, 13.3),
    ]
    assert schedule.frame_times(2)[0].tolist() == [10.125, 10.375]
    assert schedule.frame_times(4).shape == (7, 4)


def test_a_clip_shorter_than_a_window_has_one_that_decides_all() -> None:
    schedule = build_schedule(Span(1.0, 1.8), HALF_SECONDS)
    assert schedule.num_hops == 2
    assert bounds([schedule.window_span(0), schedule.decided_span(0)]) == [(1.0, 1.8), (1.0, 1.8)]


def test_a_coarser_stride_keeps_the_last_window() -> None:
    schedule = build_schedule(Span(0.0, 5.0), HALF_SECONDS)
    windows = schedule.windows_every(4)
    assert windows.indexes == (0, 4, 6)
    assert windows.centres_seconds.tolist() == [1.0, 3.0, 4.0]
    assert windows.edges_seconds.tolist() == [0.0, 2.0, 3.5, 5.0]
    assert bounds([windows.window_span(2), windows.decided_span(1)]) == [(3.0, 5.0), (2.0, 3.5)]


def test_a_stride_below_one_window_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 1, got 0"):
        build_schedule(Span(0.0, 5.0), HALF_SECONDS).windows_every(0)


@pytest.mark.parametrize(
    ("modality", "mask"),
    [
        (Span(0.0, 2.0), "1111"),
        (Span(0.25, 2.0), "1111"),
        (Span(0.26, 1.75), "0110"),
        (Span(0.9, 1.2), "0010"),
        (Span(0.3, 0.4), "1000"),
        (Span(1.9, 1.9), "0001"),
    ],
)
def test_hop_mask(modality: Span, mask: str) -> None:
    schedule = build_schedule(Span(0.0, 2.0), HALF_SECONDS)
    assert "".join(str(int(flag)) for flag in schedule.hop_mask(modality)) == mask


@pytest.mark.parametrize("span", [(0.0, math.inf), (math.nan, 1.0)])
def test_a_span_is_finite(span: tuple[float, float]) -> None:
    with pytest.raises(ValueError, match="must be finite"):
        Span(*span)


def test_a_span_does_not_stop_before_it_starts() -> None:
    with pytest.raises(ValueError, match=r"\[2.0, 1.0\)"):
        Span(2.0, 1.0)


@given(schedules, st.integers(1, 12))
def test_decided_spans_tile_the_clip_exactly(schedule: Schedule, stride_windows: int) -> None:
    windows = schedule.windows_every(stride_windows)
    decided = [windows.decided_span(position) for position in range(len(windows))]
    assert decided[0].start_seconds == schedule.span.start_seconds
    assert decided[-1].stop_seconds == schedule.span.stop_seconds
    assert [span.stop_seconds for span in decided[:-1]] == [span.start_seconds for span in decided[1:]]
    assert windows.edges_seconds.tolist() == [*(span.start_seconds for span in decided), schedule.span.stop_seconds]


@given(schedules)
def test_every_window_decides_like_the_selection_of_all(schedule: Schedule) -> None:
    windows = schedule.windows_every(1)
    assert windows.indexes == tuple(range(schedule.num_windows))
    for window in windows.indexes:
        assert windows.decided_span(window) == schedule.decided_span(window)


@given(schedules, st.integers(1, 12))
def test_a_selection_begins_at_the_first_and_ends_at_the_last_window(schedule: Schedule, stride_windows: int) -> None:
    indexes = schedule.windows_every(stride_windows).indexes
    assert (indexes[0], indexes[-1]) == (0, schedule.num_windows - 1)
    steps = np.diff(indexes)
    assert (steps[:-1] == stride_windows).all()
    assert (steps[-1:] >= 1).all()
    assert (steps[-1:] <= stride_windows).all()


@given(schedules)
def test_a_hop_is_there_when_its_centre_is_inside(schedule: Schedule) -> None:
    start, stop, stride = schedule.span.start_seconds, schedule.span.stop_seconds, schedule.stride_seconds
    assert start + (schedule.num_hops + 0.5) * stride >= stop
    assert schedule.num_hops == 1 or start + (schedule.num_hops - 0.5) * stride < stop
    assert schedule.hop_mask(schedule.span).all()


@pytest.mark.parametrize(
    ("duration", "num_hops"),
    [(0.15000000000000002, 1), (1.4500000000000002, 14), (0.45000000000000007, 5), (1.7500000000000002, 18)],
)
def test_hops_are_counted_as_their_mask_is_made(duration: float, num_hops: int) -> None:
    """Durations at which a division by the stride rounds to the other side of a hop's centre."""
    schedule = build_schedule(Span(0.0, duration), WindowConfig(stride_seconds=0.1, hops=4))
    assert schedule.num_hops == num_hops
    assert schedule.hop_mask(schedule.span).all()


@given(schedules, st.floats(0, 1), st.floats(0, 1))
def test_a_hop_mask_is_never_empty_and_has_no_holes(schedule: Schedule, first: float, second: float) -> None:
    low, high = sorted((first, second))
    clip = schedule.span
    inside = Span(clip.start_seconds + low * clip.duration_seconds, clip.start_seconds + high * clip.duration_seconds)
    mask = schedule.hop_mask(inside)
    assert mask.any()
    assert np.count_nonzero(np.diff(np.flatnonzero(mask)) != 1) == 0
    present = np.flatnonzero(mask)
    shortfall = schedule.stride_seconds + 1e-6
    assert schedule.hop_span(int(present[0])).start_seconds <= inside.start_seconds + shortfall
    assert schedule.hop_span(int(present[-1])).stop_seconds >= inside.stop_seconds - shortfall


@given(schedules, st.integers(1, 5))
def test_frame_times_rise_and_lie_inside_their_hops(schedule: Schedule, frames_per_hop: int) -> None:
    times = schedule.frame_times(frames_per_hop)
    assert times.shape == (schedule.num_hops, frames_per_hop)
    assert (np.diff(times.ravel()) > 0).all()
    for hop in (0, schedule.num_hops - 1):
        span = schedule.hop_span(hop)
        assert span.start_seconds < times[hop, 0]
        assert times[hop, -1] < span.stop_seconds
