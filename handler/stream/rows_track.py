"""A stream's sequence of vectors, chunk by chunk."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from handler.clip import VectorSequence
from handler.vectors import cut_vectors
from handler.windows import Schedule
from models.encoder_config import VectorConfig


@dataclass(frozen=True)
class RowsState:
    """A stream's vectors up to here."""

    first_seconds: float
    """Of the first one."""
    num_rows: int
    """How many there were."""
    own_period_seconds: float
    """How long a vector holds where no second one says so."""
    seconds: NDArray[np.float64] = field(repr=False)
    """``(T,)``: the times of the last ones, from the last one on that lies before all hops that are not complete."""
    values_by_row: NDArray[np.float64] = field(repr=False)
    """``(T, C)``"""

    @property
    def known_seconds(self) -> float:
        """Up to the last vector nothing can change."""
        return float(self.seconds[-1])

    @property
    def stop_seconds(self) -> float:
        """How long the last vector holds: the mean time from one to the next."""
        elapsed = self.known_seconds - self.first_seconds
        period = elapsed / (self.num_rows - 1) if elapsed > 0 else self.own_period_seconds
        return self.known_seconds + period

    def since(self, seconds: float) -> Self:
        """The state without what no hop from a time on asks for."""
        first = max(0, int(np.searchsorted(self.seconds, seconds, side="right")) - 1)
        return replace(self, seconds=self.seconds[first:].copy(), values_by_row=self.values_by_row[first:].copy())

    def cut(self, schedule: Schedule, config: VectorConfig) -> NDArray[np.float32]:
        """The rows of each hop: ``(N, R, C)`` float32."""
        return cut_vectors(VectorSequence(self.seconds, self.values_by_row, self.own_period_seconds), schedule, config)

    def values(self) -> dict[str, Any]:
        """For the token: JSON values and arrays."""
        return dict(self.__dict__)

    @classmethod
    def of_values(cls, values: Mapping[str, Any]) -> Self:
        """What :meth:`values` gave."""
        return cls(**values)


def continue_rows(sequence: VectorSequence, state: RowsState | None, *, first: float, stop: float) -> RowsState | None:
    """The vectors with those of a chunk.

    Args:
        sequence: on the stream's clock.
        state: up to here; None where there were none.
        first: what lies before is not counted.
        stop: what lies at or after is not counted.

    Returns:
        None where nothing is counted.
    """
    counted = (sequence.seconds >= first) & (sequence.seconds < stop)
    seconds, values = sequence.seconds[counted], sequence.values[counted]
    if not len(seconds):
        return None
    if state is None:
        return RowsState(float(seconds[0]), len(seconds), sequence.period_seconds, seconds, values)
    return RowsState(
        state.first_seconds,
        state.num_rows + len(seconds),
        state.own_period_seconds,
        np.concatenate((state.seconds, seconds)),
        np.concatenate((state.values_by_row, values)),
    )
