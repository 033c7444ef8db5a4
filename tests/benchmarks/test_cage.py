from __future__ import annotations

from benchmarks.cage import Cost, run
from tests.media import X264, Picture, Sound, render


def test_a_clip_is_answered_both_ways_and_compared() -> None:
    clip = render("mp4", Picture(num_frames=25, width=32, height=32, options=X264), Sound(seconds=1.0))
    (cost,) = run({"clip": clip}, rounds=1)
    assert cost.name == "clip"
    assert cost.is_same
    assert cost.without_ms > 1


def test_the_larger_of_five_in_a_hundred_and_ten_milliseconds_is_allowed() -> None:
    assert [Cost("clip", True, each, 0.0).allowed_ms for each in (100.0, 200.0, 400.0)] == [10.0, 10.0, 20.0]
