from __future__ import annotations

from typing import Any

import pytest

from handler.kserve.body import GRPC_BODY
from handler.received import read_body

JSON = "application/json"


@pytest.mark.parametrize(
    ("body", "content_type", "expected"),
    [
        (bytearray(b"stir"), "text/plain", "stir"),
        (bytearray("rühren".encode()), "text/vtt; charset=utf-8", "rühren"),
        (bytearray(b"stir \xff"), "text/plain", b"stir \xff"),
        (bytearray(b'{"text": "stir"}'), JSON, {"text": "stir"}),
        (b'\xef\xbb\xbf[{"text": "stir"}]', JSON, [{"text": "stir"}]),
        (bytearray(b"7"), JSON, 7),
        (bytearray(b'{"text": 1, "text": 2}'), JSON, b'{"text": 1, "text": 2}'),
        (bytearray(b'{"threshold": NaN}'), JSON, b'{"threshold": NaN}'),
        (bytearray(b""), JSON, b""),
        (bytearray(b'{"text": "stir"}'), "video/mp4", b'{"text": "stir"}'),
        (bytearray(b"stir"), "", b"stir"),
        ("stir", "text/plain", "stir"),
        ({"text": "stir"}, JSON, {"text": "stir"}),
    ],
)
def test_a_body_is_what_its_content_type_says(body: Any, content_type: str, expected: Any) -> None:
    assert read_body({"body": body}, content_type, is_rest=True) == {"body": expected}


def test_parts_stay_as_they_are() -> None:
    for item in ({"text": b"stir"}, {"body": b"{}", "text": b"stir"}, {}):
        assert read_body(item, JSON, is_rest=True) is item
        assert read_body(item, "", is_rest=False) is item


@pytest.mark.parametrize("body", [bytearray(b'{"inputs": []}'), {"inputs": []}])
def test_json_that_did_not_come_by_rest_is_the_servers(body: Any) -> None:
    assert read_body({"body": body}, JSON, is_rest=False) == {GRPC_BODY: {"inputs": []}}


def test_a_call_of_grpc_is_answered_in_its_own_form_whatever_is_in_it() -> None:
    assert read_body({"body": b'{"inputs": [NaN]}'}, JSON, is_rest=False) == {GRPC_BODY: {}}


def test_millions_of_values_are_not_built() -> None:
    """The server's own reading would make 290 MB of these 12."""
    item = {"body": b"[" + b"[]," * 4_000_000 + b"[]]"}
    assert read_body(item, JSON, is_rest=True) is item
