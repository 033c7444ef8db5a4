"""Scripts: the label decides the activities and nothing else; cues tile each activity."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from fractions import Fraction
from itertools import islice, pairwise

import numpy as np
import pytest

from training.synth.dealing import Deal, deal_clips
from training.synth.labels import ACTIVITIES
from training.synth.script import ClipScript, draw_script


@pytest.fixture(scope="module")
def scripts() -> list[ClipScript]:
    return [draw_script((9, index), deal) for index, deal in enumerate(islice(deal_clips(9), 400))]


def test_nothing_else_depends_on_the_label() -> None:
    durations = (4.2, 6.0, 5.0)
    for index in range(20):
        one = draw_script((1, index), Deal(ACTIVITIES[:3], durations))
        other = draw_script((1, index), Deal(ACTIVITIES[5:], durations))
        assert one != other
        renamed = [
            replace(segment, activity=twin.activity) for segment, twin in zip(one.segments, other.segments, strict=True)
        ]
        assert replace(one, segments=tuple(renamed)) == other


def test_a_script_is_a_function_of_its_seed() -> None:
    deal = Deal(ACTIVITIES[:2], (4.2, 6.0))
    assert draw_script((1, 2), deal) == draw_script((1, 2), deal)
    scenes = {draw_script(seed, deal).scene.slope for seed in ((1, 2), (1, 3), (2, 2), (1, 2, 203))}
    assert len(scenes) == 4


def test_cues_tile_each_activity(scripts: list[ClipScript]) -> None:
    for script in scripts:
        for segment in script.segments:
            cues = segment.cues
            lengths = [cue.stop_ms - cue.start_ms for cue in cues]
            gaps = [after.start_ms - before.stop_ms for before, after in pairwise(cues)]
            assert min(lengths) >= 1200
            assert max(lengths) <= 2200
            assert min(gaps) >= 0
            assert max(gaps) <= 200
            # Inside the activity, and short of its edges by less than the millisecond of WebVTT.
            assert 0 <= Fraction(cues[0].start_ms, 1000) - segment.start_seconds < Fraction(1, 1000)
            assert 0 <= segment.stop_seconds - Fraction(cues[-1].stop_ms, 1000) < Fraction(1, 1000)


def test_clips_and_activities_keep_their_lengths(scripts: list[ClipScript]) -> None:
    for script in scripts:
        assert all(4 <= segment.stop_seconds - segment.start_seconds <= 8 for segment in script.segments)
        assert 8 <= script.segments[-1].stop_seconds - script.segments[0].start_seconds <= 30


def test_containers_and_sizes_vary(scripts: list[ClipScript]) -> None:
    containers = Counter(script.container for script in scripts)
    assert containers["mp4"] / len(scripts) == pytest.approx(0.75, abs=0.08)
    sides = np.array([sorted((script.width, script.height)) for script in scripts])
    assert (sides % 2 == 0).all()
    assert sides[:, 0].min() >= 120
    assert sides[:, 0].max() <= 360
    assert sides[:, 1].max() <= 480
    assert any(script.height > script.width for script in scripts)
    assert any(script.height < script.width for script in scripts)
    assert len({tuple(pair) for pair in sides}) > 100


def test_a_container_can_be_asked_for() -> None:
    deal = Deal(ACTIVITIES[:2], (4.2, 6.0))
    assert {draw_script((1, index), deal, container="webm").container for index in range(10)} == {"webm"}
