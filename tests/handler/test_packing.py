from __future__ import annotations

import json
import pickle
import struct
import zlib
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from handler.packing import DTYPES, PackingError, pack, unpack

MAX_BYTES = 1_000_000

some_arrays = st.sampled_from(sorted(DTYPES)).flatmap(
    lambda name: arrays(name, array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4))
)
leaves = (
    st.none()
    | st.booleans()
    | st.integers(-(10**30), 10**30)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5)
    | st.binary(max_size=20)
    | some_arrays
)
trees = st.dictionaries(
    st.text(max_size=5),
    st.recursive(leaves, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner)),
    max_size=4,
)


def same(found: Any, expected: Any) -> bool:
    if isinstance(expected, np.ndarray):
        return (
            isinstance(found, np.ndarray)
            and (found.dtype, found.shape, found.tobytes()) == (expected.dtype, expected.shape, expected.tobytes())
            and found.flags.writeable
        )
    if isinstance(expected, dict):
        return list(found) == list(expected) and all(same(found[key], expected[key]) for key in expected)
    if isinstance(expected, list):
        return len(found) == len(expected) and all(map(same, found, expected))
    return type(found) is type(expected) and bool(found == expected)


def made(header: Any, contents: bytes = b"", *, size: int | None = None) -> bytes:
    """Bytes as :func:`pack` lays them out, with anything in them."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    whole = struct.pack("<I", len(text)) + text + contents
    return struct.pack("<I", len(whole) if size is None else size) + zlib.compress(whole)


def test_the_layout() -> None:
    packed = pack({"a": np.array([1, 2], dtype=np.int16), "b": [b"xy", 1.5]})
    whole = zlib.decompress(packed[4:])
    assert struct.unpack("<I", packed[:4]) == (len(whole),)
    (length,) = struct.unpack("<I", whole[:4])
    assert json.loads(whole[4 : 4 + length]) == {
        "values": {"a": None, "b": [None, 1.5]},
        "contents": [[["a"], "int16", [2]], [["b", 0], "bytes", [2]]],
    }
    assert whole[4 + length :] == b"\x01\x00\x02\x00xy"


@given(trees)
def test_there_and_back(values: dict[str, Any]) -> None:
    packed = pack(values)
    assert same(unpack(packed, MAX_BYTES), values)
    assert pack(values) == packed


def test_a_tuple_comes_back_as_a_list_and_order_of_bytes_and_axes_do_not_matter() -> None:
    array = np.arange(6, dtype=">i4").reshape(2, 3).T
    with pytest.raises(TypeError, match=r"array \(3, 2\) of >i4 cannot be packed"):
        pack({"a": array})
    found = unpack(pack({"a": array.astype("<i4"), "t": (1, 2)}), MAX_BYTES)
    assert found["a"].tolist() == [[0, 3], [1, 4], [2, 5]]
    assert found["t"] == [1, 2]


@pytest.mark.parametrize(
    "value",
    [
        np.array(["x"]),
        np.array([{}], dtype=object),
        np.array([1j]),
        np.zeros((1,) * 9, dtype=np.uint8),
        np.int64(1),
        {1: 2},
        {1},
        object(),
    ],
)
def test_other_things_are_not_packed(value: object) -> None:
    with pytest.raises(TypeError):
        pack({"a": value})


def test_numbers_are_finite() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        pack({"a": float("nan")})
    assert np.isnan(unpack(pack({"a": np.array([np.nan])}), MAX_BYTES)["a"])


def test_what_is_too_large_is_not_even_decompressed(monkeypatch: pytest.MonkeyPatch) -> None:
    bomb = pack({"a": bytes(10_000_000)})
    assert len(bomb) < 20_000
    monkeypatch.setattr(zlib, "decompressobj", lambda: pytest.fail("decompressed"))
    with pytest.raises(PackingError, match=r"10000\d+ bytes, at most 1000000 are allowed"):
        unpack(bomb, MAX_BYTES)


def test_the_limit_itself_is_allowed() -> None:
    packed = pack({"a": bytes(100)})
    (size,) = struct.unpack_from("<I", packed)
    assert unpack(packed, size) == {"a": bytes(100)}
    with pytest.raises(PackingError, match=f"{size} bytes, at most {size - 1}"):
        unpack(packed, size - 1)


def test_a_bomb_that_lies_about_its_size_is_stopped_there(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    real = zlib.decompressobj

    class Watched:
        def __init__(self) -> None:
            self.stream = real()

        def decompress(self, packed: bytes, most: int) -> bytes:
            asked.append(most)
            return self.stream.decompress(packed, most)

        def __getattr__(self, name: str) -> Any:
            return getattr(self.stream, name)

    monkeypatch.setattr(zlib, "decompressobj", Watched)
    with pytest.raises(PackingError, match="size is not the one in front"):
        unpack(struct.pack("<I", 50) + zlib.compress(bytes(10_000_000)), MAX_BYTES)
    assert asked == [51]


@pytest.mark.parametrize(
    "packed",
    [
        b"",
        b"\x01\x00\x00",
        struct.pack("<I", 0),
        struct.pack("<I", 0) + zlib.compress(b""),
        struct.pack("<I", 3) + zlib.compress(b"abc"),
        struct.pack("<I", 20) + b"no zlib at all",
        pack({"a": 1}) + b"x",
        pack({"a": 1})[:-1],
        pickle.dumps({"a": 1}),
        made(b"", size=5),
        made(b"\xff"),
        made(b"[" * 100_000),
        made([]),
        made({"values": {}}),
        made({"values": [], "contents": []}),
        made({"values": {"a": None}, "contents": [[["a"], "uint8", [2]]]}, b"x"),
        made({"values": {"a": None}, "contents": [[["a"], "uint8", [2]]]}, b"xyz"),
        made({"values": {"a": None}, "contents": [[["a"], "uint8", [-1]]]}),
        made({"values": {"a": None}, "contents": [[["a"], "uint8", [True]]]}, b"x"),
        made({"values": {"a": None}, "contents": [[["a"], "uint8", [0, 10**30]]]}),
        made({"values": {"a": None}, "contents": [[["a"], "uint8", [0, 2**31, 2**31, 2**31]]]}),
        made({"values": {"a": None}, "contents": [[["a"], "uint8", [1] * 9]]}, b"x"),
        made({"values": {"a": None}, "contents": [[["a"], "object", [1]]]}, bytes(8)),
        made({"values": {"a": None}, "contents": [[["a"], "bool", [1]]]}, b"\x02"),
        made({"values": {"a": None}, "contents": [[["a"], [], [1]]]}, b"x"),
        made({"values": {"a": None}, "contents": [[["b"], "uint8", [1]]]}, b"x"),
        made({"values": {"a": None}, "contents": [[[], "uint8", [1]]]}, b"x"),
        made({"values": {"a": 1}, "contents": [[["a"], "uint8", [1]]]}, b"x"),
        made({"values": {"a": None}, "contents": [[["a"], "uint8", [1]]] * 2}, b"xy"),
        made({"values": {"a": "text"}, "contents": [[["a", 0], "uint8", [1]]]}, b"x"),
    ],
)
def test_what_is_not_packed_is_refused(packed: bytes) -> None:
    with pytest.raises(PackingError):
        unpack(packed, MAX_BYTES)


@given(st.binary(max_size=300))
def test_garbage_is_refused(garbage: bytes) -> None:
    for packed in (garbage, struct.pack("<I", len(garbage)) + zlib.compress(garbage)):
        with pytest.raises(PackingError):
            unpack(packed, MAX_BYTES)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3) | st.sampled_from(["a", "uint8", "bytes"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["a", "b"]), inner, max_size=2),
    max_leaves=8,
)


@given(json_values, st.lists(json_values, max_size=3) | json_values, st.binary(max_size=20))
def test_a_header_of_garbage_is_refused_or_unpacked(values: Any, contents: Any, binary: bytes) -> None:
    try:
        found = unpack(made({"values": values, "contents": contents}, binary), MAX_BYTES)
    except PackingError:
        return
    assert isinstance(found, dict)


@given(trees, st.data())
def test_a_changed_byte_is_refused_or_unpacked(values: dict[str, Any], data: st.DataObject) -> None:
    """zlib's checksum finds it; the token's MAC would have before."""
    packed = bytearray(pack(values))
    packed[data.draw(st.integers(6, len(packed) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises(PackingError):
        unpack(bytes(packed), MAX_BYTES)
