"""What the picture, the sound and the table's row of an event show, and how often they mislead."""

from __future__ import annotations

from training.synth.channels import Channel, build_channel, ceilings, join
from training.synth.events.table import CATEGORY_COLUMNS, COLUMNS

EVENTS = ("concert", "lecture", "sporting_event")

PICTURE: Channel = build_channel([[0.66, 0.30, 0.04], [0.24, 0.72, 0.04], [0.05, 0.05, 0.90]])
"""A concert in a hall of seats, a lecture on a stage: a field alone is sure. A view is one of ``EVENTS``."""
SOUND: Channel = build_channel([[0.68, 0.04, 0.28], [0.05, 0.90, 0.05], [0.28, 0.04, 0.68]])
"""Crowds at concerts, music at games: speech alone is sure. A view is one of ``EVENTS``."""


def table_channel() -> Channel:
    """The channel of a row: its columns are independent given the event."""
    return join([column.channel for column in (*COLUMNS, *CATEGORY_COLUMNS)])


def event_ceilings() -> dict[str, float]:
    """The highest accuracy that each subset of the modalities allows."""
    return ceilings({"audio": SOUND, "image": PICTURE, "tabular": table_channel()})
