from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from handler.errors import ActivityError, LimitExceeded, UndecodableMedia, UnsupportedMedia
from handler.limits import Limits
from handler.parquet_footer import read_footer
from handler.table import Table, read_table
from tests.handler.tables import as_parquet
from tests.handler.thrift import BINARY, I16, I32, I64, LIST, STRUCT, chunk, page, parquet

ONE = page((7).to_bytes(4, "little"))
NUMBER = [("x", 1)]


def refusal(content: bytes) -> ActivityError:
    with pytest.raises(ActivityError) as caught:
        read_table(content, Limits(), max_rows=1)
    return caught.value


def test_what_the_tests_write_is_parquet() -> None:
    table = read_table(parquet(ONE, NUMBER, [chunk("x", 1, 4, len(ONE))]), Limits(), max_rows=1)
    assert isinstance(table, Table)
    assert (table.columns, table.rows) == (("x",), [(7,)])


def test_columns_that_share_bytes_are_refused_unread() -> None:
    """Of 200 kB they would make gigabytes: a thousand columns, each the same page."""
    names = [f"c{number}" for number in range(1000)]
    packed = pa.compress(bytes(4_000_000), codec="snappy", asbytes=True)
    content = page(packed, unpacked=4_000_000, values=1_000_000)
    chunks = [chunk(name, 1, 4, len(content), codec=1) for name in names]
    assert isinstance(refusal(parquet(content, [(name, 1) for name in names], chunks)), UndecodableMedia)


@pytest.mark.parametrize(
    "chunks",
    [
        [chunk("x", 1, 4, len(ONE))] * 2,  # more columns than the schema has
        [[*chunk("x", 1, 4, len(ONE)), (8, STRUCT, [(2, STRUCT, [(1, LIST, (BINARY, [b"x"]))])])]],  # a key of its own
        [chunk("x", 1, 4, len(ONE), codec=55)],
        [chunk("x", 1, 4, len(ONE), codec=-1)],
        [],
        [[(2, I64, 4)]],
        [[(1, BINARY, b"/etc/passwd"), *chunk("x", 1, 4, len(ONE))]],
    ],
)
def test_metadata_at_which_pyarrow_ends_the_process_are_refused(chunks: Any) -> None:
    assert isinstance(refusal(parquet(ONE, NUMBER, chunks)), UndecodableMedia | UnsupportedMedia)


@pytest.mark.parametrize(
    "more",
    [
        [(11, I16, 4)],  # of a width that pyarrow passes over
        [(9, I64, 4)],  # twice
        [(2**16 + 9, I64, 4)],  # 9 to a reader that cuts the number
    ],
)
def test_what_two_readers_would_understand_differently_is_refused(more: Any) -> None:
    assert isinstance(refusal(parquet(ONE, NUMBER, [chunk("x", 1, 4, len(ONE), more=more)])), UndecodableMedia)


@pytest.mark.parametrize(("start", "size"), [(-40, 20), (4, -1), (4, 10**6), (2**63 - 1, 1), (0, len(ONE)), (5, 20)])
def test_places_outside_the_file_are_refused(start: int, size: int) -> None:
    assert isinstance(refusal(parquet(ONE, NUMBER, [chunk("x", 1, start, size)])), UndecodableMedia)


def test_pages_that_declare_too_much_are_refused() -> None:
    content = page(b"\0" * 4, unpacked=2**31 - 1)
    assert isinstance(refusal(parquet(content, NUMBER, [chunk("x", 1, 4, len(content))])), LimitExceeded)
    many = page(b"") * 10_001
    assert isinstance(refusal(parquet(many, NUMBER, [chunk("x", 1, 4, len(many))])), LimitExceeded)


@pytest.mark.parametrize("encoding", ["DELTA_BINARY_PACKED", "BYTE_STREAM_SPLIT"])
def test_pages_of_other_encodings_are_refused(encoding: str) -> None:
    column = {"x": pa.array([1], pa.int32())}
    error = refusal(as_parquet(column, use_dictionary=False, column_encoding={"x": encoding}, version="2.6"))
    assert isinstance(error, UnsupportedMedia)
    assert "encoding" in error.message


def test_metadata_are_bounded() -> None:
    head = b"PAR1" + bytes(3_000_000)
    assert isinstance(refusal(head + (2_500_000).to_bytes(4, "little") + b"PAR1"), LimitExceeded)
    nested: Any = (I32, 1)
    for _ in range(50):
        nested = (STRUCT, [(1, *nested)])
    names = [*chunk("x", 1, 4, len(ONE)), (9, *nested)]
    assert isinstance(refusal(parquet(ONE, NUMBER, [names])), UndecodableMedia)


@pytest.mark.parametrize("version", ["1.0", "2.4", "2.6"])
@pytest.mark.parametrize("pages", ["1.0", "2.0"])
@pytest.mark.parametrize("dictionary", [True, False])
def test_what_is_written_in_earnest_is_read(version: str, pages: str, dictionary: bool) -> None:
    rows = np.arange(30_000.0)
    options = {"version": version, "data_page_version": pages, "use_dictionary": dictionary, "row_group_size": 7000}
    table = read_table(as_parquet({"x": rows, "y": rows.astype(np.int32)}, **options), Limits())
    assert isinstance(table, Table)
    assert len(table.rows) == 30_000
    assert table.rows[-1] == (29_999.0, 29_999)
    wide = as_parquet({f"c{number}": ["w" * 40] for number in range(2000)}, **options)
    assert isinstance(read_table(wide, Limits(), max_rows=1), Table)


@given(st.binary(max_size=80))
def test_noise_is_no_footer(noise: bytes) -> None:
    content = b"PAR1" + noise + len(noise).to_bytes(4, "little") + b"PAR1"
    with pytest.raises(ActivityError):
        read_footer(content, "")
