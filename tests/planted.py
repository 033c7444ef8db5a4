"""Pickles whose unpickling leaves a mark, in the forms in which weights are found."""

from __future__ import annotations

import io
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch


class Planted:
    """Unpickled, it makes a folder.

    Args:
        mark: the folder.
    """

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str]]:
        return os.mkdir, (str(self.mark),)


def plain_pickle(mark: Path) -> bytes:
    """As :mod:`pickle` writes it."""
    return pickle.dumps({"weight": Planted(mark)})


def zipped_pickle(mark: Path) -> bytes:
    """As ``torch.save`` writes it."""
    made = io.BytesIO()
    torch.save({"weight": Planted(mark)}, made)
    return made.getvalue()


FORMS = (plain_pickle, zipped_pickle)
