"""What is wrong with an index."""

from __future__ import annotations


class IndexUnusable(Exception):
    """An index that cannot be searched or added to.

    Args:
        message: what happened.
        remedy: what to do next.
    """

    def __init__(self, message: str, *, remedy: str) -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy
