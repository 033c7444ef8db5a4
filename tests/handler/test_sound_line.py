"""Sound laid on a timeline block by block, and the same bits where its state is kept and taken up again."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from handler import sound_line
from handler.errors import LimitExceeded
from handler.limits import Limits
from handler.sound_line import Placed, SoundFormat, SoundLine

LIMITS = Limits()
RATE = 16_000
PACKED = SoundFormat(RATE, 2, "flt")
EIGHT = SoundFormat(8_000, 1, "s16")
FORMATS = [PACKED, EIGHT, SoundFormat(44_100, 2, "fltp"), SoundFormat(48_000, 1, "flt")]


def joined(parts: list[Placed]) -> NDArray[np.float32]:
    samples = np.zeros(max((part.place + len(part.samples) for part in parts), default=0), dtype=np.float32)
    for part in parts:
        samples[part.place : part.place + len(part.samples)] = part.samples
    return samples


def level(value: float, length: int = 1_600) -> NDArray[np.float32]:
    return np.full((2, length), value, dtype=np.float32)


def laid(*blocks: tuple[float, float | None]) -> NDArray[np.float32]:
    """Blocks of 100 ms of these levels at these times, the first of each 100 samples."""
    line = SoundLine(RATE, LIMITS)
    parts = [part for value, seconds in blocks for part in line.append(level(value), PACKED, seconds)]
    return joined([*parts, *line.finish()])[::1_600]


def test_a_block_that_is_wholly_late_is_dropped() -> None:
    assert laid((0.25, 5.0), (0.5, 5.1), (0.75, 5.0), (1.0, None)).tolist() == [0.25, 0.5, 1.0]


def test_a_gap_is_silence_and_a_small_one_is_none() -> None:
    assert laid((0.25, 5.0), (0.5, 5.3), (0.75, 5.419)).tolist() == [0.25, 0.0, 0.0, 0.5, 0.75]


def test_a_long_gap_is_given_in_blocks() -> None:
    line = SoundLine(RATE, LIMITS)
    parts = [part for seconds in (0.0, 100.0) for part in line.append(level(0.5), PACKED, seconds)]
    parts += line.finish()
    assert max(len(part.samples) for part in parts) == 65_536
    assert len(joined(parts)) == 100.1 * RATE


def test_a_gap_counts_against_the_limit_before_it_is_filled() -> None:
    line = SoundLine(RATE, LIMITS)
    list(line.append(level(0.5), PACKED, 0.0))
    with pytest.raises(LimitExceeded, match=r"the clip lasts 10000000000\.\d+ s or more"):
        list(line.append(level(0.5), PACKED, 1e10))
    assert len(joined(list(line.finish()))) == 1_600


def test_what_an_overlap_cuts_away_is_not_kept() -> None:
    line = SoundLine(RATE, LIMITS)
    for _ in range(2):
        assert not list(line.append(level(1.0, 1_000), PACKED, 0.0))
    assert len(line._waiting) == 1
    almost_late = SoundLine(1_000, Limits(min_sample_rate=1_000))
    form = SoundFormat(1_000, 2, "flt")
    for place in range(100):
        list(almost_late.append(level(1.0, 1_000), form, place * 0.03 - 0.97 if place else 0.0))
    kept = sum(piece.base.size for piece in almost_late._waiting if piece.base is not None)
    assert kept < 2 * sound_line._BLOCK_SAMPLES


def test_another_format_begins_a_run_at_its_time() -> None:
    line = SoundLine(RATE, LIMITS)
    eight = np.full((1, 800), 2**14, dtype=np.int16)
    parts = [*line.append(level(0.25), PACKED, 3.0), *line.append(eight, EIGHT, 3.2), *line.finish()]
    samples = joined(parts)
    assert line.start_seconds == 3.0
    assert len(samples) == 0.3 * RATE
    assert (samples[:1_600] == 0.25).all()
    assert not samples[1_600:3_200].any()
    assert samples[4_000] == pytest.approx(0.5, abs=0.01)


def test_a_sound_without_times_begins_where_it_is_said_to() -> None:
    line = SoundLine(RATE, LIMITS, first_seconds=7.5)
    assert line.start_seconds is None
    assert line.state is None
    list(line.append(level(0.5), PACKED, None))
    assert line.start_seconds == 7.5


def test_the_state_is_taken_only_where_nothing_waits() -> None:
    line = SoundLine(RATE, LIMITS)
    list(line.append(level(0.5), PACKED, 0.0))
    with pytest.raises(ValueError, match="1600 samples wait: settle before the state is taken"):
        _ = line.state
    list(line.settle())
    assert line.state is not None
    assert (line.state.num_samples, line.state.num_decoded, line.state.stop_seconds) == (1_600, 1_600, 0.1)


blocks = st.lists(
    st.tuples(
        st.integers(1, 4_000),  # samples
        st.one_of(st.none(), st.floats(-0.3, 0.3)),  # seconds later than where the last one ended
        st.booleans(),  # whether the state is kept and taken up here
    ),
    min_size=1,
    max_size=12,
)


@given(runs=st.lists(st.tuples(st.sampled_from(FORMATS), blocks), min_size=1, max_size=3), seed=st.integers(0, 9))
@settings(max_examples=60, deadline=None)
def test_a_line_that_is_taken_up_again_is_the_whole(
    runs: list[tuple[SoundFormat, list[tuple[int, float | None, bool]]]], seed: int
) -> None:
    random = np.random.default_rng(seed)
    whole, kept = SoundLine(RATE, LIMITS), SoundLine(RATE, LIMITS)
    of_whole: list[Placed] = []
    of_kept: list[Placed] = []
    clock = 0.0
    for form, sounds in runs:
        for length, later, is_kept in sounds:
            samples = random.integers(-9_999, 9_999, (form.channels, length))
            typed = samples.astype(np.int16) if form.kind == "s16" else (samples / 9_999).astype(np.float32)
            seconds = None if later is None else max(0.0, clock + later)
            clock = (clock if seconds is None else seconds) + length / form.rate
            of_whole += whole.append(typed, form, seconds)
            of_kept += kept.append(typed, form, seconds)
            if is_kept:
                of_kept += kept.settle()
                kept = SoundLine(RATE, LIMITS, state=kept.state)
    of_whole += whole.finish()
    of_kept += kept.finish()
    assert np.array_equal(joined(of_kept), joined(of_whole))
    assert kept.start_seconds == whole.start_seconds
