from __future__ import annotations

import math
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handler.errors import ActivityError, LimitExceeded, UndecodableMedia, UnsupportedMedia
from handler.limits import Limits
from handler.tabular import parse_row
from models.encoder_config import NumericColumn, TabularConfig
from tests.handler.tables import as_csv, as_json, as_parquet

CONFIG = TabularConfig(
    numeric={"guests": NumericColumn(), "hour": NumericColumn()}, categorical={"place": ("hall",), "floor": ("3",)}
)
LIMITS = Limits()
ROW = {"guests": 120, "hour": 20.5, "place": "hall", "floor": 3}


def refusal(content: Any) -> ActivityError:
    with pytest.raises(ActivityError) as caught:
        parse_row(content, CONFIG, LIMITS)
    assert caught.value.remedy
    return caught.value


@pytest.mark.parametrize(
    "content",
    [
        ROW,
        [ROW],
        as_json(ROW),
        as_json([ROW]).decode(),
        as_csv({name: [value] for name, value in ROW.items()}),
        as_parquet({name: [value] for name, value in ROW.items()}),
        as_parquet({**{name: [value] for name, value in ROW.items()}, "floor": [3.0]}),
    ],
)
def test_every_form_gives_the_same_row(content: Any) -> None:
    assert parse_row(content, CONFIG, LIMITS) == {"guests": 120.0, "hour": 20.5, "place": "hall", "floor": "3"}


def test_other_columns_are_passed_over_and_those_that_lack_are_missing() -> None:
    row = parse_row(b"id,hour\n7,9\n", CONFIG, LIMITS)
    assert row == {"guests": None, "hour": 9.0, "place": None, "floor": None}
    assert "none of the columns guests, hour, place, floor" in refusal(b"id\n7\n").message
    assert "none of the columns" in refusal({}).message


@pytest.mark.parametrize("cell", ["", " ", "NA", "NaN", "null", None, math.nan])
def test_a_cell_without_a_value_is_missing(cell: Any) -> None:
    row = parse_row({"guests": cell, "place": cell, "hour": 1}, CONFIG, LIMITS)
    assert row["guests"] is None
    assert row["place"] is None


@pytest.mark.parametrize("cell", ["many", "inf", "-Infinity", "1e400", math.inf, 1e39, 10**400, [1], {"a": 1}])
def test_a_number_that_is_none_is_an_error_that_names_the_column(cell: Any) -> None:
    error = refusal({"guests": cell})
    assert isinstance(error, UndecodableMedia)
    assert "'guests' needs a finite number" in error.message


def test_a_category_is_text() -> None:
    assert parse_row({"place": True}, CONFIG, LIMITS)["place"] == "true"
    assert parse_row({"place": "  hall "}, CONFIG, LIMITS)["place"] == "hall"
    assert "'place' needs text, got a JSON list" in refusal({"place": ["hall"]}).message


@pytest.mark.parametrize("content", [b"hour\n1\n2\n", as_parquet({"hour": [1, 2]})])
def test_one_row_is_wanted(content: bytes) -> None:
    error = refusal(content)
    assert isinstance(error, LimitExceeded)
    assert "the table has 2 rows or more, the limit is 1" in error.message


@pytest.mark.parametrize("content", [[], [1], [ROW, ROW], b"[]", b"7"])
def test_json_that_is_no_row_is_refused(content: Any) -> None:
    assert isinstance(refusal(content), UndecodableMedia)


def test_columns_are_counted_in_json_too() -> None:
    assert isinstance(refusal({str(place): 0 for place in range(3_000)}), LimitExceeded)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@given(st.dictionaries(st.sampled_from(["guests", "hour", "place", "x"]), json_values) | st.lists(json_values))
def test_anything_is_a_row_or_an_error_of_a_request(content: Any) -> None:
    with suppress(LimitExceeded, UnsupportedMedia, UndecodableMedia):
        row = parse_row(content, CONFIG, LIMITS)
        assert list(row) == list(CONFIG.columns)
        assert all(row[name] is None or math.isfinite(row[name]) for name in CONFIG.numeric)  # type: ignore[arg-type]
