"""Timelines: edges are frames, starts differ, rates vary."""

from __future__ import annotations

from collections import Counter
from fractions import Fraction
from typing import Literal

import numpy as np
import pytest

from training.synth.timeline import AAC_SAMPLE_RATES, FRAME_RATES, Timeline, draw_timeline

DURATIONS = (4.3, 5.1)


def draw(container: Literal["mp4", "webm"], count: int = 300) -> list[Timeline]:
    return [draw_timeline(np.random.default_rng(seed), DURATIONS, container) for seed in range(count)]


@pytest.mark.parametrize("container", ["mp4", "webm"])
def test_edges_are_frames_and_close_to_what_was_asked(container: Literal["mp4", "webm"]) -> None:
    for timeline in draw(container):
        start, edge, stop = timeline.edges_seconds
        assert edge in timeline.frame_seconds
        assert stop == timeline.stop_pts * timeline.tick_seconds
        assert 0 <= edge - start - Fraction(DURATIONS[0]) < Fraction(68, 1000)
        assert 0 <= stop - start - Fraction(sum(DURATIONS)) < Fraction(68, 1000)
        steps = np.diff([*timeline.frame_pts, timeline.stop_pts])
        assert steps.min() > 0
        assert float(steps.max() * timeline.tick_seconds) <= 0.068


@pytest.mark.parametrize("container", ["mp4", "webm"])
def test_picture_and_sound_start_at_most_0_4_seconds_apart(container: Literal["mp4", "webm"]) -> None:
    lags, late = [], 0
    for timeline in draw(container):
        picture, sound = timeline.frame_seconds[0], Fraction(timeline.first_sample, timeline.sample_rate)
        assert min(picture, sound) == pytest.approx(float(timeline.edges_seconds[0]), abs=1 / timeline.sample_rate)
        assert timeline.stop_sample / timeline.sample_rate == pytest.approx(
            float(timeline.edges_seconds[-1]), abs=1 / timeline.sample_rate
        )
        lags.append(float(picture - sound))
        late += timeline.edges_seconds[0] > 0
    assert max(map(abs, lags)) <= 0.44  # 0.4 s, to the next frame
    assert min(lags) < -0.3
    assert max(lags) > 0.3
    assert np.mean(np.abs(lags) < 1e-3) == pytest.approx(0.4, abs=0.1)
    assert late / len(lags) == pytest.approx(0.3, abs=0.08)


def test_rates_vary_as_the_container_allows() -> None:
    mp4, webm = draw("mp4"), draw("webm")
    assert {timeline.sample_rate for timeline in mp4} == set(AAC_SAMPLE_RATES)
    assert {timeline.sample_rate for timeline in webm} == {48_000}
    assert {timeline.tick_seconds for timeline in webm} == {Fraction(1, 1000)}
    assert {timeline.frame_rate for timeline in mp4} == set(FRAME_RATES)
    variable = Counter(len(set(np.diff(timeline.frame_pts))) > 3 for timeline in mp4)
    assert variable[True] / len(mp4) == pytest.approx(0.3, abs=0.08)


def test_the_mean_of_a_variable_rate_is_near_the_nominal_one() -> None:
    for timeline in draw("mp4"):
        mean = len(timeline.frame_pts) / float((timeline.stop_pts - timeline.frame_pts[0]) * timeline.tick_seconds)
        assert mean == pytest.approx(float(timeline.frame_rate), rel=0.25)
