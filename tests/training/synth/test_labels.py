"""Eight labels, one bit each of three things."""

from __future__ import annotations

from collections import Counter
from itertools import product

import pytest

from training.synth.labels import ACTIVITIES, LABELS, SENSES, Activity, ceiling, parse_label


def test_the_labels() -> None:
    assert LABELS == (
        "wave_rise_greet",
        "wave_rise_leave",
        "wave_fall_greet",
        "wave_fall_leave",
        "bounce_rise_greet",
        "bounce_rise_leave",
        "bounce_fall_greet",
        "bounce_fall_leave",
    )
    assert tuple(parse_label(label) for label in LABELS) == ACTIVITIES
    assert parse_label("wave_fall_leave") == Activity(motion=0, sound=1, phrase=1)


def test_an_unknown_label_is_answered_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"unknown label 'wave' \(known labels: wave_rise_greet, "):
        parse_label("wave")
    with pytest.raises(ValueError, match=r"0 or 1, got 0, 2, 1"):
        Activity(0, 2, 1)


@pytest.mark.parametrize("known", list(product((False, True), repeat=3)))
def test_a_ceiling_is_what_the_best_guess_reaches(known: tuple[bool, bool, bool]) -> None:
    """Whoever knows some of the bits and guesses the rest, counted over the eight labels."""
    seen = Counter(
        tuple(bit for bit, is_known in zip((a.motion, a.sound, a.phrase), known, strict=True) if is_known)
        for a in ACTIVITIES
    )
    best_guess = len(seen) / len(ACTIVITIES)  # one right guess for each distinguishable group
    modalities = [name for name, is_known in zip(SENSES, known, strict=True) if is_known]
    assert ceiling(modalities) == best_guess == [0.125, 0.25, 0.5, 1.0][sum(known)]
