from __future__ import annotations

import numpy as np
import pytest

from handler.stream.picture_track import PictureState, Places
from handler.windows import Schedule, Span


@pytest.mark.parametrize(("start", "stride", "per_hop"), [(0.0, 0.5, 4), (-0.0213, 0.1, 3), (1234.5678, 0.7, 1)])
def test_places_are_those_of_the_schedule_to_the_bit(start: float, stride: float, per_hop: int) -> None:
    places = Places(start, stride, per_hop, 0)
    times = Schedule(Span(start, start + 40 * stride), stride, 4, 40).frame_times(per_hop).ravel()
    assert np.array_equal(places.seconds(0, 40 * per_hop), times)
    assert np.array_equal(places.seconds(7, 19), times[7:19])
    for place in (0, 1, 17, 39):
        assert places.before(float(times[place])) == place
        assert places.before(float(np.nextafter(times[place], np.inf))) == place + 1
    assert places.before(start - 10.0) == 0


def state(**changes: object) -> PictureState:
    frames = np.arange(3, dtype=np.uint8).reshape(3, 1, 1, 1).repeat(3, axis=1)
    values = {
        "known_seconds": 1.0,
        "stop_seconds": 1.2,
        "decoded_seconds": 1.1,
        "first": 5,
        "frames": frames,
        "held": np.full((3, 1, 1), 9, dtype=np.uint8),
        "lead": None,
    }
    return PictureState.of_values({**values, **changes})


def test_after_the_last_frame_it_is_held() -> None:
    assert state().at(5, 5)[:, 0, 0, 0].tolist() == [0, 1, 2, 9, 9]
    assert state().at(7, 2)[:, 0, 0, 0].tolist() == [2, 9]
    assert state().at(20, 2)[:, 0, 0, 0].tolist() == [9, 9]


def test_frames_that_are_used_up_go() -> None:
    left = state().since(7)
    assert (left.first, left.frames[:, 0, 0, 0].tolist()) == (7, [2])
    assert state().since(3).first == 5
    assert len(state().since(50).frames) == 0
