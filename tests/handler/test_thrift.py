from __future__ import annotations

from contextlib import suppress
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from handler.thrift import ThriftError, ThriftReader
from tests.handler.thrift import BINARY, I32, I64, LIST, STRUCT, Field, struct

LEAVES: Any = st.one_of(
    st.tuples(st.just(I32), st.integers(-(2**31), 2**31 - 1)),
    st.tuples(st.just(I64), st.integers(-(2**63), 2**63 - 1)),
    st.tuples(st.just(BINARY), st.binary(max_size=20)),
    st.tuples(st.just(LIST), st.lists(st.integers(0, 99), max_size=20).map(lambda items: (I32, items))),
)


def fields(inner: Any) -> Any:
    return st.dictionaries(st.integers(1, 2**15 - 1), inner, max_size=5)


def written(values: dict[int, Any]) -> list[Field]:
    return [(number, kind, written(value) if kind == STRUCT else value) for number, (kind, value) in values.items()]


def plain(values: dict[int, Any]) -> dict[int, Any]:
    kinds: dict[int, Any] = {STRUCT: plain, LIST: lambda value: value[1]}
    return {number: kinds.get(kind, lambda it: it)(value) for number, (kind, value) in values.items()}


@given(st.recursive(fields(LEAVES), lambda it: fields(LEAVES | it.map(lambda value: (STRUCT, value))), max_leaves=6))
def test_what_is_written_is_read(values: dict[int, Any]) -> None:
    assert ThriftReader(struct(written(values)), 0, max_values=1000).struct() == plain(values)


@given(st.binary(max_size=200), st.integers(0, 200))
def test_noise_ends_in_an_error_or_within_its_bytes(noise: bytes, max_values: int) -> None:
    reader = ThriftReader(noise, 0, max_values=max_values)
    with suppress(ThriftError):
        reader.struct()
        assert 0 < reader.place <= len(noise)
