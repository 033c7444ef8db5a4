from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from training.synth.events.views import EVENTS, PICTURE, SOUND, event_ceilings


def test_every_modality_adds_something_and_none_is_enough() -> None:
    ceilings = event_ceilings()
    assert ceilings["image"] == pytest.approx((0.66 + 0.72 + 0.90) / 3)
    assert ceilings["audio"] == pytest.approx((0.68 + 0.90 + 0.68) / 3)
    assert {name: round(value, 3) for name, value in ceilings.items()} == {
        "audio": 0.753,
        "image": 0.760,
        "tabular": 0.712,
        "audio+image": 0.895,
        "audio+tabular": 0.819,
        "image+tabular": 0.857,
        "audio+image+tabular": 0.924,
    }


def test_a_pairs_ceiling_by_hand() -> None:
    views = range(len(EVENTS))
    best = sum(np.max(PICTURE[seen] * SOUND[heard]) for seen, heard in product(views, views)) / 3
    assert event_ceilings()["audio+image"] == pytest.approx(best, abs=1e-12)
