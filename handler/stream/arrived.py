"""What has come of each modality with a stream's next chunk."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from handler.clip import Row, Words
from handler.sources import Unused
from handler.stream.picture_track import PicturePart, PictureState
from handler.stream.rows_track import RowsState
from handler.stream.sound_track import SoundState
from models.config import Modality

GAP_SECONDS = 0.02
"""A chunk that begins later than that after the last one's end, and than a frame, leaves a gap."""


@dataclass
class Arrived:
    """What a chunk has of each modality."""

    start_seconds: float = 0.0
    """Of the stream."""
    headers: Mapping[str, bytes] = field(default_factory=dict)
    """Of the recordings that come in fragments, by part."""
    parts: dict[Modality, PicturePart] = field(default_factory=dict)
    """Of the pictures, before they are decoded."""
    pictures: Mapping[Modality, PictureState] = field(default_factory=dict)
    sound: SoundState | None = None
    sound_begins: float = 0.0
    rows: dict[Modality, RowsState] = field(default_factory=dict)
    row_begins: dict[Modality, float] = field(default_factory=dict)
    words: Words | None = None
    image: NDArray[np.uint8] | None = None
    row: Row | None = None
    faults: dict[Modality, Unused] = field(default_factory=dict)
    """Why what was sent of a modality cannot be used."""

    def spans(self) -> dict[Modality, tuple[float, float]]:
        """Start and stop of each modality that has times, in seconds."""
        spans = {name: (part.begin_seconds, part.stop_seconds) for name, part in self.parts.items()}
        if self.sound is not None:
            spans["audio"] = (self.sound_begins, self.sound.stop_seconds)
        spans |= {name: (self.row_begins[name], rows.stop_seconds) for name, rows in self.rows.items()}
        return spans

    @property
    def latest_seconds(self) -> float:
        """When the last thing of all begins: a frame may last long while the sound goes on."""
        begun = [part.last_seconds for part in self.parts.values()]
        begun += [] if self.sound is None else [self.sound.stop_seconds]
        return max(begun + [rows.known_seconds for rows in self.rows.values()], default=self.start_seconds)

    @property
    def tolerance_seconds(self) -> float:
        """What is no gap: rounding, or a frame."""
        frames = [part.own.nominal_ticks * float(part.own.time_base) for part in self.parts.values()]
        return max([GAP_SECONDS, *(1.5 * seconds for seconds in frames)])
