from __future__ import annotations

import os

from tests.media import Picture, render


def test_making_av1_leaves_no_real_time_priority() -> None:
    before = os.sched_getscheduler(0)
    assert render("mp4", Picture(codec="libsvtav1", num_frames=2, options=(("preset", "12"),)))
    assert os.sched_getscheduler(0) == before
