from __future__ import annotations

import json

import numpy as np
import pytest

from handler.clip import Cue, ModalityStatus
from handler.packing import pack, unpack
from handler.stream.state import Presence, StreamState
from handler.windows import Schedule, Span

CENTRES = np.arange(8, dtype=np.float64) * 0.5 + 0.25


def mask(presence: Presence, *, is_over: bool = False) -> list[int]:
    return np.flatnonzero(presence.mask(CENTRES, is_over=is_over)).tolist()


def test_a_modality_is_in_the_hops_whose_centres_it_covers() -> None:
    schedule = Schedule(Span(0.0, 4.0), 0.5, 4, 8)
    for start, stop in ((0.0, 4.0), (0.3, 2.0), (0.25, 0.75), (1.0, 3.3)):
        assert mask(Presence.begin(start, stop)) == np.flatnonzero(schedule.hop_mask(Span(start, stop))).tolist()


def test_a_modality_that_no_hop_has_is_in_the_nearest_one_once_it_is_over() -> None:
    brief = Presence.begin(1.3, 1.7)
    assert mask(brief) == []
    assert mask(brief, is_over=True) == [2]
    assert mask(Presence(brief.spans, is_open=False, was_seen=True), is_over=True) == []


@pytest.mark.parametrize(
    ("is_open", "has_gap", "start", "expected"),
    [
        (True, False, 1.0, [0, 1, 2, 3]),
        (True, False, 1.6, [0, 1, 2, 3]),  # a hole inside a modality is silence, or the last frame
        (True, True, 1.6, [0, 1, 3]),  # nothing of the stream lies there
        (False, False, 1.6, [0, 1, 3]),  # a chunk did not have it
        (False, True, 1.01, [0, 1, 2, 3]),  # rounding
    ],
)
def test_what_goes_on_and_what_begins_anew(is_open: bool, has_gap: bool, start: float, expected: list[int]) -> None:
    presence = Presence(((0.0, 1.0),), is_open=is_open).go_on(start, 2.0, tolerance=0.02, has_gap=has_gap)
    assert presence.is_open
    assert mask(presence) == expected


def test_old_spans_are_forgotten_but_for_the_last() -> None:
    presence = Presence(((0.0, 1.0), (2.0, 3.0), (4.0, 5.0)), is_open=False)
    assert presence.since(2.5).spans == ((2.0, 3.0), (4.0, 5.0))
    assert presence.since(9.0).spans == ((4.0, 5.0),)


def test_a_state_comes_back_as_it_was() -> None:
    state = StreamState(
        start_seconds=-0.5,
        clock_seconds=2.25,
        stop_seconds=2.5,
        next_hop=5,
        headers={"video": b"header"},
        cues=(Cue(2.0, 3.0, "chop the onion"),),
        presence={"video": Presence(((-0.5, 2.5),), is_open=True, was_seen=True)},
        statuses={"video": ModalityStatus(used=True), "text": ModalityStatus(False, "not_sent", "not sent")},
    )
    assert StreamState.of_values(unpack(pack(state.values()), 10_000)) == state
    assert json.dumps(state.values()["cues"]) == '[[2.0, 3.0, "chop the onion"]]'
