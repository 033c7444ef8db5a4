from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from training.synth.sentiment.views import FACE, VOICE, WORDS, sentiment_ceilings


def test_every_modality_adds_something_and_none_is_enough() -> None:
    assert {name: round(value, 3) for name, value in sentiment_ceilings().items()} == {
        "video": 0.703,
        "audio": 0.740,
        "text": 0.740,
        "video+audio": 0.838,
        "video+text": 0.781,
        "audio+text": 0.791,
        "video+audio+text": 0.886,
    }


def test_the_ceiling_of_all_by_hand() -> None:
    best = sum(np.max(FACE[a] * VOICE[b] * WORDS[c]) for a, b, c in product(range(3), repeat=3)) / 3
    assert sentiment_ceilings()["video+audio+text"] == pytest.approx(best, abs=1e-12)
