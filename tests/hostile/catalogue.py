"""All hostile and odd requests, and what each is answered with by a model of all modalities (:data:`EVERY`)."""

from __future__ import annotations

from functools import lru_cache
from itertools import chain

from tests.hostile.bodies import json_bodies, kserve, names, options
from tests.hostile.item import Item
from tests.hostile.media import broken_media, odd_media
from tests.hostile.words import tables, words


@lru_cache
def catalogue() -> tuple[Item, ...]:
    """Each request once, by a name of its own."""
    found = tuple(
        chain(odd_media(), broken_media(), words(), tables(), json_bodies(), options(), names(), kserve()),
    )
    assert len({item.name for item in found}) == len(found)
    return found
