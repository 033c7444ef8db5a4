"""Eight labels, one bit each of three things."""

from __future__ import annotations

from collections import Counter
from itertools import product

import pytest

from training.synth.labels import ACTIVITIES, BIT_OF, BITS, LABELS, SENSES, Activity, Bit, ceiling, parse_label


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


@pytest.mark.parametrize(
    ("modalities", "bits", "expected"),
    [
        (["imu"], BITS, 0.25),
        (["depth"], BITS, 0.25),
        (["video", "imu", "depth"], BITS, 0.25),
        (["imu", "audio"], BITS, 0.5),
        (["imu", "audio", "text"], BITS, 1.0),
        (["imu", "audio"], ("motion", "sound"), 1.0),
        (["text"], ("motion", "sound"), 0.25),
        (["depth"], ("motion",), 1.0),
    ],
)
def test_ceilings_of_tracks_and_of_fewer_bits(modalities: list[str], bits: tuple[Bit, ...], expected: float) -> None:
    """By the best guess over all activities that share what is known, counted out."""
    seen: dict[tuple[int, ...], Counter[str]] = {}
    for activity in ACTIVITIES:
        view = tuple(getattr(activity, BIT_OF[modality]) for modality in modalities)
        seen.setdefault(view, Counter())[activity.name_bits(bits)] += 1
    best = sum(max(counts.values()) for counts in seen.values()) / len(ACTIVITIES)
    assert ceiling(modalities, bits) == best == expected
