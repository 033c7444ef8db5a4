from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, get_args

import pytest

from handler.errors import (
    EXCEEDED,
    ActivityError,
    ChunkOutOfOrder,
    DecoderCrashed,
    Exceeded,
    LimitExceeded,
    UnknownPart,
    error_codes,
    error_kinds,
    error_of_values,
)

VALUES: dict[str, Any] = {"code": "limit_frames", "message": "7 of 3", "remedy": "fewer", "details": {}}


def test_every_limit_is_described_and_has_a_code_of_its_own() -> None:
    assert sorted(get_args(Exceeded)) == list(get_args(Exceeded)) == list(EXCEEDED)
    limits = [code for code, kind in error_codes().items() if kind is LimitExceeded]
    assert limits == [f"limit_{what}" for what in EXCEEDED]


def test_the_list_of_codes_is_closed_and_has_each_once() -> None:
    assert len(error_codes()) == sum(len(kind.codes()) for kind in error_kinds())
    assert set(error_codes().values()) == set(error_kinds())


@pytest.mark.parametrize("code", error_codes())
def test_an_error_is_made_again_of_its_values(code: str) -> None:
    details = {"modalities": {"video": {"code": "limit_bytes", "reason": "large"}}}
    values = json.loads(json.dumps({**VALUES, "code": code, "details": details}))
    error = error_of_values(values)
    assert type(error) is error_codes()[code]
    assert error.values == values
    assert error.body == {"status": error.status, "code": code, "message": "7 of 3", "remedy": "fewer", **details}


def test_a_crash_and_a_limit_keep_what_they_are() -> None:
    assert (DecoderCrashed("a", remedy="b").status, DecoderCrashed("a", remedy="b").code) == (422, "decoder_crashed")
    error = error_of_values(LimitExceeded("total_pixels", "a", remedy="b").values)
    assert isinstance(error, LimitExceeded)
    assert (error.what, error.code, error.status) == ("total_pixels", "limit_total_pixels", 413)
    late = ChunkOutOfOrder("a", remedy="b", details={"clock_seconds": 2.0})
    assert error_of_values(late.values).details == {"clock_seconds": 2.0}


@pytest.mark.parametrize(
    ("sent", "shown"),
    [
        ("a\nb\r\t", r"a\nb\r\t"),
        ("\x1b[2J\0\x85", r"\x1b[2J\x00\x85"),
        ("\u202eoediv\u2028\ud800\ufeff", r"\u202eoediv\u2028\ud800\ufeff"),
        ("rühren 搅拌 🍲 don't", "rühren 搅拌 🍲 don't"),
    ],
)
def test_a_message_does_nothing_to_a_terminal_or_a_log(sent: str, shown: str) -> None:
    error = UnknownPart(f"unknown part {sent}", remedy="none")
    assert error.message == str(error) == f"unknown part {shown}"
    assert error_of_values(error.values).message == error.message


@pytest.mark.parametrize(
    "changed",
    [
        {"code": "limit_exceeded"},
        {"code": "limit_"},
        {"code": "limit_beans"},
        {"code": "frames"},
        {"code": None},
        {"code": ["limit_frames"]},
        {"message": 7},
        {"remedy": None},
        {"details": None},
        {"details": []},
    ],
)
def test_values_that_are_no_error_are_refused(changed: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"an error has|is no code"):
        error_of_values({**VALUES, **changed})
    assert isinstance(error_of_values(VALUES), ActivityError)
    for name in VALUES:
        with pytest.raises(ValueError, match="an error has"):
            error_of_values({key: value for key, value in VALUES.items() if key != name})


def test_the_readme_has_every_code_and_no_other() -> None:
    _, text = Path("README.md").read_text(encoding="utf-8").split("\n### Errors\n")
    errors = text.split("\n#", 1)[0]
    assert set(re.findall(r"`((?:limit|state|invalid)_\w+)`", errors)) <= error_codes().keys()
    assert [code for code in error_codes() if f"`{code}`" not in errors] == []
