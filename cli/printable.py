"""Names as they can be printed."""

from __future__ import annotations


def printable(name: str) -> str:
    """A file's name as it can be printed: what is no UTF-8, and what would move the cursor, is shown by its number."""
    return "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape", "surrogatepass").decode() for letter in name
    )
