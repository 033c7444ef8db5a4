from __future__ import annotations

from cli.printable import printable


def test_names_are_printable() -> None:
    assert printable("ä\x1b[1m\udcff\n") == "ä\\x1b[1m\\udcff\\n"
