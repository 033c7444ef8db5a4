"""Eight labels, one bit each of three things."""

from __future__ import annotations

import pytest

from training.synth.labels import ACTIVITIES, LABELS, Activity, parse_label


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
