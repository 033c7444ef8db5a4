from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handler.errors import InvalidOptions, LimitExceeded
from handler.limits import Limits
from handler.options import RequestOptions, parse_options, resolve_options
from handler.stream.options import MAX_CLOCK_SECONDS, ChunkOptions, options_digest
from models.settings import SettingsError
from tests.models.tiny import TINY


def test_a_chunk_lies_where_its_file_says_unless_it_says_more() -> None:
    chunk = ChunkOptions()
    assert (chunk.offset_seconds, chunk.start_seconds, chunk.stop_seconds, chunk.last) == (0.0, None, None, False)


@pytest.mark.parametrize(
    "values",
    [{"offset_seconds": "0"}, {"offset_seconds": 1e10}, {"last": 1}, {"start_seconds": 3.0, "stop_seconds": 2.0}],
)
def test_a_chunk_cannot_say_what_no_clock_says(values: dict[str, object]) -> None:
    with pytest.raises(SettingsError):
        ChunkOptions.read(values, source="options")


def digest(**options: object) -> str:
    return options_digest(resolve_options(RequestOptions.read(options, source="options"), TINY))


def test_only_what_decides_must_stay_as_it_was() -> None:
    assert digest() == digest(top_k=1, extras=["windows", "timing"], format="ndjson", chunk={"last": True})
    others = [
        digest(threshold=0.123),
        digest(smoothing_windows=1),
        digest(lookahead_windows=0),
        digest(stride_seconds=1.0),
        digest(min_segment_seconds=9.0),
        digest(exclude_labels=["stir"]),
    ]
    assert len({digest(), *others}) == 7


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
NAMES = st.sampled_from(["offset_seconds", "start_seconds", "stop_seconds", "last", "other"])


@given(st.dictionaries(NAMES, ANYTHING | st.floats(-1e10, 1e10), max_size=4))
def test_whatever_a_chunk_says_is_a_place_on_a_clock_or_refused(values: dict[str, object]) -> None:
    try:
        chunk = parse_options({"chunk": values}, Limits()).chunk
    except (InvalidOptions, LimitExceeded):
        return
    assert chunk is not None
    assert abs(chunk.offset_seconds) <= MAX_CLOCK_SECONDS
    start, stop = chunk.start_seconds, chunk.stop_seconds
    assert start is None or stop is None or start <= stop
    assert chunk.last in (True, False)
