"""What is kept of a stream between two chunks, as far as decoding goes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from handler.clip import Cue, ModalityStatus
from handler.stream.picture_track import PictureState
from handler.stream.rows_track import RowsState
from handler.stream.sound_track import SoundState
from models.config import Modality


@dataclass(frozen=True)
class Presence:
    """When a modality was there."""

    spans: tuple[tuple[float, float], ...]
    """Starts and stops in seconds, in the order of time; those that hops may still ask for."""
    is_open: bool
    """Whether the last chunk had it, so that what the next one has of it goes on."""
    was_seen: bool = False
    """Whether a hop that was given had it."""

    @classmethod
    def begin(cls, start_seconds: float, stop_seconds: float) -> Self:
        """Of a modality that was not there before."""
        return cls(((start_seconds, stop_seconds),), is_open=True)

    def go_on(self, start_seconds: float, stop_seconds: float, *, tolerance: float, has_gap: bool) -> Self:
        """With what a chunk has of it: one span with the last one, if that was open or ends there.

        Args:
            start_seconds: where it begins in the chunk.
            stop_seconds: where it ends.
            tolerance: seconds that are no gap.
            has_gap: nothing of the stream lies before it.
        """
        first, before = self.spans[-1] if self.spans else (start_seconds, start_seconds)
        is_same = bool(self.spans) and ((self.is_open and not has_gap) or start_seconds - before <= tolerance)
        kept = self.spans[:-1] if is_same else self.spans
        start = first if is_same else start_seconds
        return replace(self, spans=(*kept, (start, max(stop_seconds, before if is_same else start))), is_open=True)

    def mask(self, centres_seconds: NDArray[np.float64], *, is_over: bool) -> NDArray[np.bool_]:
        """Which hops have it, by their centres: as :meth:`handler.windows.Schedule.hop_mask` for each span.

        Args:
            centres_seconds: ``(N,)``.
            is_over: no hop after these can have it: then, if none ever had, the nearest one of these does.
        """
        mask = np.zeros(len(centres_seconds), dtype=np.bool_)
        for start, stop in self.spans:
            mask |= (centres_seconds >= start) & (centres_seconds < stop)
        if is_over and self.spans and len(mask) and not mask.any() and not self.was_seen:
            start, stop = self.spans[-1]
            mask[int(np.argmin(np.abs(centres_seconds - (start + stop) / 2)))] = True
        return mask

    def since(self, seconds: float) -> Self:
        """Without the spans that lie before a time; the last one stays."""
        return replace(self, spans=tuple(span for span in self.spans[:-1] if span[1] > seconds) + self.spans[-1:])


@dataclass(frozen=True)
class StreamState:
    """What the decoders of the next chunk go on from."""

    start_seconds: float
    """Where the stream began: its hops are counted from there."""
    clock_seconds: float
    """Up to here the stream is known."""
    stop_seconds: float
    """The end of all that has come; frames and samples after the clock may be among it."""
    next_hop: int
    """The first hop that is not complete."""
    headers: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    """Of the recordings that come in fragments, by part."""
    pictures: Mapping[Modality, PictureState] = field(default_factory=dict)
    sound: SoundState | None = None
    rows: Mapping[Modality, RowsState] = field(default_factory=dict)
    cues: tuple[Cue, ...] = ()
    """Those that reach beyond the hops that are complete."""
    presence: Mapping[Modality, Presence] = field(default_factory=dict)
    statuses: Mapping[Modality, ModalityStatus] = field(default_factory=dict)
    """Of all chunks so far."""

    def values(self) -> dict[str, Any]:
        """For the token: JSON values, bytes and arrays."""
        return {
            "times": [self.start_seconds, self.clock_seconds, self.stop_seconds],
            "next_hop": self.next_hop,
            "headers": dict(self.headers),
            "pictures": {name: each.values() for name, each in self.pictures.items()},
            "sound": None if self.sound is None else self.sound.values(),
            "rows": {name: each.values() for name, each in self.rows.items()},
            "cues": [[cue.start_seconds, cue.stop_seconds, cue.text] for cue in self.cues],
            "presence": {name: asdict(each) for name, each in self.presence.items()},
            "statuses": {name: asdict(each) for name, each in self.statuses.items()},
        }

    @classmethod
    def of_values(cls, values: Mapping[str, Any]) -> Self:
        """What :meth:`values` gave."""
        start, clock, stop = values["times"]
        return cls(
            start_seconds=start,
            clock_seconds=clock,
            stop_seconds=stop,
            next_hop=values["next_hop"],
            headers=values["headers"],
            pictures={name: PictureState.of_values(each) for name, each in values["pictures"].items()},
            sound=None if values["sound"] is None else SoundState.of_values(values["sound"]),
            rows={name: RowsState.of_values(each) for name, each in values["rows"].items()},
            cues=tuple(Cue(*cue) for cue in values["cues"]),
            presence={
                name: Presence(tuple((first, last) for first, last in each["spans"]), each["is_open"], each["was_seen"])
                for name, each in values["presence"].items()
            },
            statuses={name: ModalityStatus(**each) for name, each in values["statuses"].items()},
        )
