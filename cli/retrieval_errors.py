"""What the commands of retrieval say of an index that cannot be used, and of names that cannot be printed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from cli.errors import CommandError


@contextmanager
def index_errors() -> Iterator[None]:
    """What is wrong with an index is said without a traceback."""
    from retrieval.errors import IndexUnusable  # noqa: PLC0415 - help must not wait for it

    try:
        yield
    except IndexUnusable as error:
        raise CommandError(error.message, remedy=error.remedy) from error


def printable(name: str) -> str:
    """A file's name as it can be printed: what is no UTF-8, and what would move the cursor, is shown by its number."""
    return "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape", "surrogatepass").decode() for letter in name
    )
