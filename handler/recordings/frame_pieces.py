"""Frames that come out of a decoder in their order, put where pieces of a recording want them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import av
import numpy as np
from numpy.typing import NDArray

from handler.errors import UndecodableMedia
from handler.packets import REMEDY
from handler.picture import Converter

_MIN_AHEAD = 64
"""Frames of later pieces that may come before a frame of this one, however small the pieces are."""


class FramePieces:
    """Takes decoded frames, converts those that are wanted, once, and gives each piece as soon as it is complete.

    Args:
        keys: for each piece ``(n,)`` int64: which frame is wanted at each of its n places. A key is what tells a frame
            from the others, and later pieces want later frames.
        converter: of the frames.
    """

    def __init__(self, keys: Sequence[NDArray[np.int64]], converter: Converter) -> None:
        self._pieces = keys
        self._converter = converter
        numbers = np.repeat(np.arange(len(keys)), [len(piece) for piece in keys])
        self._keys, places = np.unique(np.concatenate(keys)[::-1], return_index=True)
        self._last_piece = numbers[::-1][places]
        self._ahead: dict[int, NDArray[np.uint8]] = {}
        """Pictures that later pieces want."""
        self._max_ahead = max(_MIN_AHEAD, *map(len, keys))
        self._begin(0)

    @property
    def num_given(self) -> int:
        """Pieces that have been given."""
        return self._number

    @property
    def is_done(self) -> bool:
        """Whether all pieces have been given."""
        return self._number == len(self._pieces)

    def wants(self, key: int) -> bool:
        """Whether this piece or a later one has a place for the frame."""
        return self._last_place(key) >= self._number

    def take(self, frame: av.VideoFrame, key: int) -> None:
        """Look at a decoded frame.

        Raises:
            UndecodableMedia: frames come so far out of order that more than a piece of them would have to wait.
        """
        last = self._last_place(key)
        if last < self._number:
            return
        image = self._converter.convert(frame)
        self._put(key, image)
        if last > self._number:
            self._ahead[key] = image
            if len(self._ahead) > self._max_ahead:
                raise UndecodableMedia("the picture's frames come far from the order of their times", remedy=REMEDY)

    def completed(self) -> Iterator[NDArray[np.uint8]]:
        """Give the pieces of which no frame is missing, in order, each ``(n, 3, size, size)`` uint8."""
        while not self.is_done and not self._missing:
            images = self.images
            self._begin(self._number + 1)
            yield images

    def _last_place(self, key: int) -> int:
        """The last piece that wants a frame; -1 where none does."""
        place = int(np.searchsorted(self._keys, key))
        return int(self._last_piece[place]) if place < len(self._keys) and self._keys[place] == key else -1

    def _put(self, key: int, image: NDArray[np.uint8]) -> None:
        places = self._places.get(key)
        if places is not None:
            self.images[places] = image
            self._missing.discard(key)

    def _begin(self, number: int) -> None:
        self._number = number
        keys = np.zeros(0, dtype=np.int64) if self.is_done else self._pieces[number]
        size = self._converter.size
        self.images = np.zeros((len(keys), 3, size, size), dtype=np.uint8)
        order = np.argsort(keys, kind="stable")
        different, starts = np.unique(keys[order], return_index=True)
        parts = np.split(order, starts[1:])  # one, empty, where there are no keys
        self._places = dict(zip(different.tolist(), parts, strict=False))
        self._missing = set(self._places)
        for key in list(self._ahead):
            self._put(key, self._ahead[key])
            if self._last_place(key) <= number:
                del self._ahead[key]
