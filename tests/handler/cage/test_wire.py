"""What goes over the wire comes out as it went in; what nobody may say is an error."""

from __future__ import annotations

import json
import os
import socket
import struct
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from handler.cage.wire import Channel, WireError

ENOUGH = 2**20
FRAME = struct.Struct("<IQ")


@contextmanager
def pair(max_bytes: int = ENOUGH) -> Iterator[tuple[Channel, Channel, int]]:
    """Both ends, and the memory that the first one writes."""
    one, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    first, second = os.memfd_create("first"), os.memfd_create("second")
    with closing(one), closing(other):
        try:
            yield Channel(one, first, second, max_bytes), Channel(other, second, first, max_bytes), first
        finally:
            os.close(first)
            os.close(second)


LEAVES = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
PLAIN = st.recursive(
    LEAVES | st.binary(max_size=64),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(st.dictionaries(st.text(), PLAIN, max_size=4))
@settings(max_examples=60, deadline=None)
def test_values_come_out_as_they_went_in(values: dict[str, Any]) -> None:
    with pair() as (mine, its, _):
        mine.send("kind", values)
        assert its.receive(1.0) == ("kind", values)


@pytest.mark.parametrize("dtype", ["bool", "u1", "i2", "i4", "i8", "f4", "f8"])
@pytest.mark.parametrize("shape", [(), (0,), (3,), (2, 0, 3), (2, 3, 4)])
def test_arrays_come_out_as_they_went_in(dtype: str, shape: tuple[int, ...]) -> None:
    array = np.arange(np.prod(shape, dtype=int)).reshape(shape).astype(dtype)
    with pair() as (mine, its, _):
        mine.send("kind", {"array": array, "turned": array.T})
        found = its.receive(1.0)[1]
        assert (found["array"].dtype, found["array"].shape) == (array.dtype, shape)
        assert np.array_equal(found["array"], array)
        assert np.array_equal(found["turned"], array.T)
        assert found["array"].flags.writeable


def test_a_shorter_message_leaves_nothing_of_a_longer_one() -> None:
    with pair() as (mine, its, _):
        for values in ({"data": bytes(9_000), "list": list(range(500))}, {"data": b"x"}):
            mine.send("kind", values)
            assert its.receive(1.0)[1] == values


@given(st.binary(max_size=200), st.integers(0, 300), st.integers(0, 400))
@settings(max_examples=150, deadline=None)
def test_garbage_is_refused(memory: bytes, header_bytes: int, total_bytes: int) -> None:
    with pair() as (mine, its, descriptor):
        os.pwrite(descriptor, memory, 0)
        mine.link.send(FRAME.pack(header_bytes, total_bytes))
        with pytest.raises(WireError):
            its.receive(1.0)


GOOD: dict[str, Any] = {"kind": "kind", "values": {"it": None}, "contents": [[["it"], "uint8", [4]]]}


@pytest.mark.parametrize(
    "changed",
    [
        {"kind": 3},
        {"values": []},
        {"contents": [[["it"], "uint8", [5]]]},
        {"contents": [[["it"], "uint8", [-4]]]},
        {"contents": [[["it"], "uint8", [2**40]]]},
        {"contents": [[["it"], "uint8", [2.0, 2]]]},
        {"contents": [[["it"], "uint8", [1] * 9]]},
        {"contents": [[["it"], "object", [4]]]},
        {"contents": [[["it"], "bool", [4]]]},
        {"contents": [[["other"], "uint8", [4]]]},
        {"contents": [[["it", 0], "uint8", [4]]]},
        {"contents": [[[], "uint8", [4]]]},
        {"contents": [[["it"], "uint8", [2]], [["it"], "uint8", [2]]]},
        {"contents": [3]},
        {"contents": None},
        {"values": {"it": 3}},
    ],
)
def test_a_header_that_says_what_it_must_not_is_refused(changed: dict[str, Any]) -> None:
    def say(header: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        with pair() as (mine, its, descriptor):
            written = json.dumps(header).encode()
            os.pwrite(descriptor, written + bytes((7, 7, 7, 7)), 0)
            mine.link.send(FRAME.pack(len(written), len(written) + 4))
            return its.receive(1.0)

    assert say(GOOD)[1]["it"].tolist() == [7, 7, 7, 7]
    with pytest.raises(WireError):
        say(GOOD | changed)


def test_more_than_is_allowed_is_refused_before_it_is_read() -> None:
    with pair(max_bytes=100) as (mine, its, _):
        mine.send("kind", {"data": bytes(101)})
        with pytest.raises(WireError, match="a message of"):
            its.receive(1.0)


def test_memory_that_shrinks_under_the_reader_is_an_error_and_no_signal() -> None:
    with pair() as (mine, its, descriptor):
        mine.send("kind", {"data": bytes(100_000)})
        os.ftruncate(descriptor, 5_000)
        with pytest.raises(WireError, match="shorter"):
            its.receive(1.0)


def test_silence_and_absence_are_told_apart() -> None:
    with pair() as (mine, its, _):
        with pytest.raises(TimeoutError):
            its.receive(0.01)
        mine.link.send(b"short")
        with pytest.raises(WireError):
            its.receive(1.0)
        mine.link.close()
        with pytest.raises(WireError):
            its.receive(1.0)
        with pytest.raises(WireError):
            its.send("kind", {})
