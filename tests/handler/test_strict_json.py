from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handler.strict_json import JsonError, parse_json

values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.floats(-1e300, 1e300) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


@given(values)
def test_reads_what_json_writes(value: object) -> None:
    text = json.dumps(value)
    assert parse_json(text) == value
    assert parse_json(text.encode()) == value
    assert parse_json(b"\xef\xbb\xbf" + text.encode()) == value


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"a": 1, "b": {"c": 1, "c": 2}}', "the key 'c' stands twice in one object"),
        ('{"a": NaN}', "NaN is no JSON number"),
        ("[-Infinity]", "-Infinity is no JSON number"),
        ("9" * 5000, "a number has too many digits"),
        ("[" * 100_000, "nested too deeply"),
        ('{"a":' * 100_000, "nested too deeply"),
        ('{"a": 1,}', "line 1, column"),
        ("", "line 1, column 1"),
        (b'{"a": "\xff"}', "not UTF-8 at byte 7"),
        (b'{\n"a"}', "line 2, column 4"),
    ],
)
def test_says_what_is_wrong(text: str | bytes, message: str) -> None:
    with pytest.raises(JsonError) as caught:
        parse_json(text)
    assert message in str(caught.value)


@given(st.binary())
def test_raises_nothing_else(text: bytes) -> None:
    try:
        parse_json(text)
    except JsonError:
        return
    json.loads(text.decode("utf-8-sig"))


def test_it_does_not_build_what_it_would_not_take(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("handler.strict_json.MAX_VALUES", 3)
    assert parse_json("[1, 2, 3]") == [1, 2, 3]
    with pytest.raises(JsonError, match="more than 3 values"):
        parse_json(b"[[], [], []]")
