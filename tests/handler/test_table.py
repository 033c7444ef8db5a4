from __future__ import annotations

from contextlib import suppress
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from handler.errors import ActivityError, LimitExceeded, UndecodableMedia, UnsupportedMedia
from handler.limits import Limits
from handler.table import Table, read_table
from tests.handler.tables import as_csv, as_parquet

LIMITS = Limits(max_table_columns=8, max_table_rows=100, max_table_cells=400, max_table_bytes=100_000)
COLUMNS: dict[str, Any] = {"x": [1.5, -2.0, 3.0], "y": [4, 5, 6]}


def refusal(content: Any, limits: Limits = LIMITS, max_rows: int | None = None) -> ActivityError:
    with pytest.raises(ActivityError) as caught:
        read_table(content, limits, max_rows=max_rows)
    assert caught.value.remedy
    return caught.value


@pytest.mark.parametrize("content", [as_csv(COLUMNS), as_csv(COLUMNS).decode(), as_parquet(COLUMNS)])
def test_csv_and_parquet_give_the_same_cells(content: bytes | str) -> None:
    table = read_table(content, LIMITS)
    assert isinstance(table, Table)
    assert table.columns == ("x", "y")
    assert [[float(cell) for cell in row] for row in table.rows] == [[1.5, 4.0], [-2.0, 5.0], [3.0, 6.0]]


@pytest.mark.parametrize(
    "text", [b'a,"b, c"\r\n1,"two\nlines"\r\n', b'\xef\xbb\xbf a , "b, c"\n\n1,"two\nlines"\n\n'.replace(b' "', b'"')]
)
def test_csv_is_that_of_the_standard(text: bytes) -> None:
    table = read_table(text, LIMITS)
    assert isinstance(table, Table)
    assert table.columns == ("a", "b, c")
    assert list(table.rows[0]) == ["1", "two\nlines"]


@pytest.mark.parametrize("value", [{"a": 1}, [1, 2], []])
def test_json_is_handed_on(value: Any) -> None:
    assert read_table(value, LIMITS) is value
    assert read_table(str(value).replace("'", '"'), LIMITS) == value


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (b"", "no row below its header"),
        (b"a,b\n", "no row below its header"),
        (b"a,b\n1,2\n3\n", "row 2 has 1 cells, the header has 2"),
        (b"a,b\n1,2,3\n", "row 1 has 3 cells, the header has 2"),
        (b"a,a\n1,2\n", "the column 'a' stands twice"),
        (b'a,b\n"1,2\n', "no CSV"),
        (b"a\n\xff\n", "no UTF-8: wrong byte at offset 2"),
        (b'{"a": NaN}', "NaN is no JSON number"),
        (b'{"a": 1, "a": 2}', "stands twice"),
        (b"[" * 50_000, "nested too deeply"),
        (b"PAR1", "does not open as Parquet"),
        (b"PAR1" + b"\0" * 50 + b"PAR1", "does not open as Parquet"),
        (as_parquet(COLUMNS)[:-20], "does not open as Parquet"),
        (as_parquet({"x": pa.array([], pa.float64())}), "the table has no row"),
    ],
)
def test_what_is_no_table_is_said(content: bytes, fault: str) -> None:
    error = refusal(content)
    assert isinstance(error, UndecodableMedia)
    assert fault in error.message


WIDE = {f"c{place}": [0.0] for place in range(9)}
LONG = {"x": [0.0] * 101}
MANY = {f"c{place}": [0.0] * 51 for place in range(8)}


@pytest.mark.parametrize("write", [as_csv, as_parquet])
@pytest.mark.parametrize(("columns", "what"), [(WIDE, "9 columns"), (LONG, "101 rows"), (MANY, "408 cells")])
def test_a_table_beyond_the_limits_is_refused(write: Any, columns: Any, what: str) -> None:
    error = refusal(write(columns))
    assert isinstance(error, LimitExceeded)
    assert what in error.message


def test_bytes_are_counted() -> None:
    content = as_csv({"x": ["0" * 500]})
    assert isinstance(refusal(content, Limits(max_table_bytes=len(content) - 1)), LimitExceeded)
    assert isinstance(refusal(content.decode(), Limits(max_table_bytes=len(content) - 1)), LimitExceeded)
    read_table(content, Limits(max_table_bytes=len(content)))


@pytest.mark.parametrize("compression", ["gzip", "zstd", "brotli", "lz4"])
def test_parquet_that_could_grow_without_bound_is_refused_unread(compression: str) -> None:
    bomb = as_parquet({"x": np.zeros(100)}, compression=compression, use_dictionary=False)
    error = refusal(bomb)
    assert isinstance(error, UnsupportedMedia)
    assert compression.upper() in error.message


def test_a_repeated_long_word_is_read_in_one_row_only() -> None:
    words = {"x": ["w" * 1000] * 100}
    assert isinstance(refusal(as_parquet(words)), UnsupportedMedia)
    table = read_table(as_parquet({"x": ["w" * 1000]}), LIMITS, max_rows=1)
    assert isinstance(table, Table)
    assert table.rows == [("w" * 1000,)]
    assert isinstance(refusal(as_parquet(words), max_rows=1), LimitExceeded)


def test_nested_columns_are_refused() -> None:
    for column in ([[1.0, 2.0]], [{"a": 1.0}]):
        assert isinstance(refusal(as_parquet({"x": column}), max_rows=1), UnsupportedMedia)


def test_parquet_that_declares_more_than_it_can_hold_is_refused_unread(monkeypatch: pytest.MonkeyPatch) -> None:
    packed = as_parquet({"x": np.zeros(100_000)}, use_dictionary=False)  # Snappy makes a twentieth of it
    assert isinstance(read_table(packed, Limits()), Table)
    monkeypatch.setattr("handler.parquet_footer.MAX_GROWTH", 10)
    error = refusal(packed, Limits())
    assert isinstance(error, LimitExceeded)
    assert "of Parquet declare to hold" in error.message


SEEDS = [as_csv(COLUMNS), as_parquet(COLUMNS), as_parquet(COLUMNS, compression="none"), b'{"values": [[1, 2], [3, 4]]}']


@given(st.sampled_from(SEEDS), st.data())
def test_no_mutation_escapes_the_errors_of_a_request(seed: bytes, data: st.DataObject) -> None:
    mutant = bytearray(seed)
    for place in data.draw(st.lists(st.integers(0, len(seed) - 1), max_size=8)):
        mutant[place] = data.draw(st.integers(0, 255))
    with suppress(LimitExceeded, UnsupportedMedia, UndecodableMedia):
        read_table(bytes(mutant), LIMITS)


def test_a_header_beyond_the_limit_is_refused_before_its_names_are_compared() -> None:
    names = [f"c{place}" for place in range(200_000)]  # compared one by one they would take an hour
    assert isinstance(refusal(",".join([*names, names[-1]]) + "\n1"), LimitExceeded)


def test_the_name_that_stands_twice_is_said() -> None:
    assert "'b' stands twice" in refusal("a,b,c,b\n1,2,3,4").message
