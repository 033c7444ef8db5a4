"""Pictures of the three places differ, and each place has many looks."""

from __future__ import annotations

import numpy as np
import pytest

from training.synth.events.picture import SIZES, draw_picture
from training.synth.events.views import EVENTS


@pytest.mark.parametrize("view", range(3), ids=EVENTS)
def test_a_place_has_many_looks(view: int) -> None:
    pictures = [draw_picture(np.random.default_rng([seed, view]), view) for seed in range(12)]
    assert {picture.shape[1::-1] for picture in pictures} <= set(SIZES)
    assert all(picture.dtype == np.uint8 and picture.std() > 15 for picture in pictures)
    assert np.ptp([picture.mean() for picture in pictures]) > 20
    again = draw_picture(np.random.default_rng([0, view]), view)
    np.testing.assert_array_equal(again, pictures[0])


def test_a_coarse_look_tells_the_places_apart() -> None:
    """The nearest neighbour among 16 x 12 means of other pictures, all brought to one brightness and contrast."""

    def describe(seed: int, view: int) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
        picture = draw_picture(np.random.default_rng([seed, view]), view).astype(np.float64)
        height, width, _ = picture.shape
        rows, columns = np.arange(12) * height // 12, np.arange(16) * width // 16
        small = np.add.reduceat(np.add.reduceat(picture, rows, axis=0), columns, axis=1).ravel()
        return np.asarray((small - small.mean()) / small.std())

    known = [(describe(seed, view), view) for seed in range(40) for view in range(3)]
    right = 0
    for seed in range(40, 60):
        for view in range(3):
            asked = describe(seed, view)
            right += min(known, key=lambda pair: float(np.square(pair[0] - asked).sum()))[1] == view
    assert right / 60 > 0.85
