from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from handler.clip import VectorSequence
from handler.stream.rows_track import RowsState, continue_rows
from handler.vectors import cut_vectors
from handler.windows import Schedule, Span
from models.encoder_config import VectorConfig

CONFIG = VectorConfig(channels=2, rate_hz=10.0)
SECONDS = np.arange(41) / 10
VALUES = np.random.default_rng(0).normal(size=(41, 2))


def sequence(part: slice) -> VectorSequence:
    return VectorSequence(SECONDS[part], VALUES[part], 0.1)


def test_rows_in_pieces_are_cut_into_hops_as_the_whole() -> None:
    expected = cut_vectors(sequence(slice(None)), Schedule(Span(0.0, 4.0), 0.5, 4, 8), CONFIG)
    state: RowsState | None = None
    found: list[NDArray[np.float32]] = []
    for hop, part in enumerate((slice(0, 13), slice(13, 14), slice(14, 41))):
        state = continue_rows(sequence(part), state, first=-np.inf, stop=np.inf)
        assert state is not None
        stop = {0: 2, 1: 2, 2: 8}[hop]
        first = sum(len(each) for each in found)
        if stop > first:
            schedule = Schedule(Span(first * 0.5, stop * 0.5), 0.5, 4, stop - first)
            found.append(state.cut(schedule, CONFIG))
        state = state.since(stop * 0.5)
    assert np.array_equal(np.concatenate(found), expected)
    assert state is not None
    assert len(state.seconds) == 1
    assert state.stop_seconds == sequence(slice(None)).span.stop_seconds


def test_what_does_not_count_is_left_out() -> None:
    assert continue_rows(sequence(slice(0, 5)), None, first=3.0, stop=9.0) is None
    state = continue_rows(sequence(slice(0, 41)), None, first=1.0, stop=2.0)
    assert state is not None
    assert (state.seconds[0], state.seconds[-1], state.num_rows) == (1.0, 1.9, 10)
