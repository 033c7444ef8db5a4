from __future__ import annotations

from contextlib import suppress
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from handler.clip import VectorSequence
from handler.errors import ActivityError, LimitExceeded, UndecodableMedia, UnsupportedMedia
from handler.limits import Limits
from handler.vectors import cut_vectors, parse_vectors
from handler.windows import Schedule, Span, build_schedule
from models.config import WindowConfig
from models.encoder_config import VectorConfig
from tests.handler.tables import as_csv, as_json, as_parquet

IMU = VectorConfig(channels=2, rate_hz=10)
LIMITS = Limits()
SECONDS = [0.0, 0.1, 0.25, 0.3]
X, Y = [1.0, 2.0, 3.0, 4.0], [-1.0, 0.5, 0.25, 8.0]
ROWS = [list(row) for row in zip(X, Y, strict=True)]


def refusal(content: Any, limits: Limits = LIMITS) -> ActivityError:
    with pytest.raises(ActivityError) as caught:
        parse_vectors(content, IMU, limits)
    assert caught.value.remedy
    return caught.value


@pytest.mark.parametrize(
    "content",
    [
        {"seconds": SECONDS, "values": ROWS},
        as_json({"values": ROWS, "seconds": SECONDS}),
        as_csv({"seconds": SECONDS, "x": X, "y": Y}),
        as_csv({"x": X, "seconds": SECONDS, "y": Y}).decode(),
        as_parquet({"x": X, "y": Y, "seconds": SECONDS}),
    ],
)
def test_every_form_gives_the_same_sequence(content: Any) -> None:
    sequence = parse_vectors(content, IMU, LIMITS)
    assert sequence.seconds.tolist() == SECONDS
    assert sequence.values.tolist() == ROWS
    assert sequence.period_seconds == pytest.approx(0.1)
    assert sequence.span.stop_seconds == pytest.approx(0.4)


@pytest.mark.parametrize("content", [ROWS, {"values": ROWS}, as_json(ROWS), as_csv({"x": X, "y": Y})])
def test_without_times_the_rows_follow_at_the_models_rate(content: Any) -> None:
    sequence = parse_vectors(content, IMU, LIMITS)
    np.testing.assert_array_equal(sequence.seconds, np.arange(4) / 10)
    assert sequence.period_seconds == 0.1


def test_one_row_lasts_as_long_as_one_of_the_models_rate() -> None:
    sequence = parse_vectors({"seconds": [3.0], "values": [[1, 2]]}, IMU, LIMITS)
    assert (sequence.span.start_seconds, sequence.span.stop_seconds) == (3.0, 3.1)


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        ([[1, 2], [3]], "row 2 has 1 values, the model takes 2 channels"),
        (as_csv({"x": X}), "row 1 has 1 values"),
        (as_csv({"seconds": SECONDS, "x": X, "y": Y, "z": X}), "row 1 has 3 values"),
        ([[1, "x"]], "a value that is no number"),
        ([[1, None]], "a value that is no number"),
        ([[1, True]], "a value that is no number"),
        (b"x,y\n1,\n", "a value that is no number"),
        (b"x,y\n1,2\n1,nan\n", "row 2 has a value that is not finite"),
        (b"x,y\ninf,2\n", "row 1 has a value that is not finite"),
        ([[1, 1e39]], "row 1 has a value that is not finite"),
        ([[1, 10**400]], "a value that is no number"),
        ({"seconds": [0, 0.2, 0.1, 0.3], "values": ROWS}, "the seconds fall from 0.2 in row 2 to 0.1"),
        ({"seconds": [0, 1], "values": ROWS}, "2 seconds for 4 rows"),
        ({"seconds": [0, 1, 2, "nan"], "values": ROWS}, "within 1e+10 of zero"),
        ({"seconds": [0, 1, 2, 1e11], "values": ROWS}, "within 1e+10 of zero"),
        ({"seconds": 7, "values": ROWS}, "the seconds are no list"),
        ({"seconds": SECONDS}, "the keys seconds and values"),
        ({"values": ROWS, "rate": 5}, "the keys seconds and values"),
        ({"values": {}}, "no list of rows"),
        ([], "no list of rows"),
        ([1, 2], "no list of rows"),
    ],
)
def test_what_is_no_sequence_is_said(content: Any, fault: str) -> None:
    error = refusal(content)
    assert isinstance(error, UndecodableMedia)
    assert fault in error.message


@pytest.mark.parametrize(
    ("content", "limits"),
    [
        ({"seconds": [0, 601], "values": [[0, 0]] * 2}, LIMITS),
        ([[0, 0]] * 11, Limits(max_duration_seconds=1.0)),
        ([[0, 0]] * 11, Limits(max_table_rows=10)),
        ([[0, 0]] * 11, Limits(max_table_cells=21)),
        ([[0] * 11], Limits(max_table_columns=10)),
    ],
)
def test_a_sequence_beyond_the_limits_is_refused(content: Any, limits: Limits) -> None:
    assert isinstance(refusal(content, limits), LimitExceeded)


def schedule(seconds: float = 1.0, start: float = 0.0) -> Schedule:
    return build_schedule(Span(start, start + seconds), WindowConfig())


def reference(sequence: VectorSequence, laid: Schedule, config: VectorConfig) -> NDArray[np.float64]:
    """Row by row, by the definition, in float64."""
    num_rows = round(config.rate_hz * laid.stride_seconds)
    hops = []
    for hop in range(laid.num_hops):
        rows = []
        for place in range(num_rows):
            time = laid.span.start_seconds + (hop * num_rows + place) * laid.stride_seconds / num_rows
            after = int(np.searchsorted(sequence.seconds, time, side="right"))
            if after == 0:
                rows.append(sequence.values[0])
            elif after == len(sequence.seconds):
                rows.append(sequence.values[-1])
            else:
                first, second = sequence.seconds[after - 1 : after + 1]
                share = (time - first) / (second - first)
                rows.append((1 - share) * sequence.values[after - 1] + share * sequence.values[after])
        hops.append(rows)
    return np.array(hops)


@given(
    st.lists(st.floats(0.0, 0.4), min_size=1, max_size=12),
    st.floats(-1.0, 1.0),
    st.sampled_from([2.0, 7.0, 10.0, 33.3]),
)
def test_it_is_resampled_as_the_slow_reference_does(steps: list[float], start: float, rate_hz: float) -> None:
    seconds = start + np.cumsum(steps)
    values = np.random.default_rng(0).normal(size=(len(seconds), 2))
    sequence, config = VectorSequence(seconds, values, 0.1), VectorConfig(channels=2, rate_hz=rate_hz)
    found = cut_vectors(sequence, schedule(1.6), config)
    assert found.shape == (3, round(rate_hz * 0.5), 2)
    assert found.dtype == np.float32
    if np.diff(seconds, prepend=-2).min() > 1e-6:  # where two vectors stand at one time either may be meant
        np.testing.assert_allclose(found, reference(sequence, schedule(1.6), config), atol=1e-5)


@pytest.mark.parametrize("start", [0.0, 2.5])
def test_a_sequence_at_the_models_rate_passes_as_it_is(start: float) -> None:
    values = np.random.default_rng(0).normal(size=(40, 2))
    sequence = VectorSequence(start + np.arange(40) / 10, values, 0.1)
    np.testing.assert_allclose(
        cut_vectors(sequence, schedule(4.0, start), IMU).reshape(40, 2), values.astype(np.float32), atol=1e-6
    )


def test_times_that_stand_still_are_allowed() -> None:
    sequence = parse_vectors({"seconds": [0.0, 0.0, 0.5], "values": [[0, 0], [1, 1], [1, 1]]}, IMU, LIMITS)
    assert np.isfinite(cut_vectors(sequence, schedule(), IMU)).all()


numbers = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
lists = st.lists(numbers | st.lists(numbers, max_size=3), max_size=5)


@given(lists | st.fixed_dictionaries({"values": lists}, optional={"seconds": lists}) | st.binary(max_size=60))
def test_anything_is_a_sequence_or_an_error_of_a_request(content: Any) -> None:
    with suppress(LimitExceeded, UnsupportedMedia, UndecodableMedia):
        sequence = parse_vectors(content, IMU, LIMITS)
        assert np.isfinite(sequence.values).all()
        assert (np.diff(sequence.seconds) >= 0).all()
